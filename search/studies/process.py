"""Who works on a trial: this process among all hosts' processes, past ones included."""

import functools
import os
import socket
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict

START_TOLERANCE = 30.0  # seconds by which a process's recorded start may differ, as clocks are adjusted


class Owner(BaseModel):
    """A process, as trials record it; `started` is in seconds since the epoch."""

    model_config = ConfigDict(frozen=True)

    host: str
    pid: int
    started: float

    @property
    def is_here(self) -> bool:
        """Whether the process runs, or ran, on this host."""
        return self.host == this_host()

    @property
    def is_dead(self) -> bool:
        """Whether the process has ended; False for another host's, of which nothing is known here."""
        if not self.is_here:
            return False
        try:
            process = psutil.Process(self.pid)
            reused = abs(process.create_time() - self.started) > START_TOLERANCE
            return bool(reused or process.status() == psutil.STATUS_ZOMBIE)  # a zombie: killed, and nobody took note
        except psutil.NoSuchProcess:
            return True


def this_process() -> Owner:
    return Owner(host=this_host(), pid=os.getpid(), started=psutil.Process().create_time())


@functools.cache
def this_host() -> str:
    """This machine, the same after a reboot. Its name alone would not do: many are called "localhost"."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except OSError:  # not on Linux, or a container without one, which has a name of its own
        machine = ""
    return f"{socket.gethostname()} {machine}".strip()
