"""Who works on a trial: this process among all hosts' processes, past ones included."""

import functools
import hashlib
import os
import socket
import sys
import uuid
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

LINUX = sys.platform == "linux"
SALT = "the owner of a trial"


class Owner(BaseModel):
    """A process, as trials record it.

    Attributes:
        host: The name of its machine, for people to read: clones and containers may share one.
        place: Where its number counts (`this_place`). None: recorded by an earlier version, and not to be seen.
        pid: Its number there.
        started: In ticks since the machine's start, which no set clock changes; other than on Linux, in seconds since
            the epoch.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    place: str | None = None
    pid: int
    started: float

    @property
    def is_here(self) -> bool:
        """Whether this process would see it. One of before the machine's last start, it would not."""
        return self.place == this_place()

    @property
    def is_dead(self) -> bool:
        """Whether the process has ended; False for one that cannot be seen, of which nothing is known here."""
        return self.is_here and _start_of(self.pid) != self.started


def this_process() -> Owner:
    # The number in /proc, where it is looked up: a namespace may have been given none of its own.
    return process_here(int(os.readlink("/proc/self")) if LINUX else os.getpid())


def process_here(pid: int) -> Owner:
    """A living process of this place."""
    started = _start_of(pid)
    assert started is not None, pid
    return Owner(host=socket.gethostname(), place=this_place(), pid=pid, started=started)


@functools.cache
def this_place() -> str:
    """Where process numbers count and are seen alike: one start of one machine, one container on it, and one user.

    Hashed, for databases get around: what the kernel says of a machine is nobody else's business. A machine's lasting
    number would not do: clones of one machine share it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        words = f"{SALT} {boot} {os.readlink('/proc/self/ns/pid')} {os.getuid()}"
    except OSError:  # not on Linux
        words = f"{SALT} {socket.gethostname()} {uuid.getnode()}"
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _start_of(pid: int) -> float | None:
    """When a process of this place was started (`Owner.started`); None if it has ended."""
    try:
        if not LINUX:
            return float(psutil.Process(pid).create_time())
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (OSError, psutil.NoSuchProcess):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # after its name, which may hold anything
    return None if state in "ZX" else float(fields[18])  # a zombie: killed, and nobody took note
