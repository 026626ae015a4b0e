"""Processes that a benchmark starts: they end with it, and tell where they ended before their time."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from search.config import ExplainedError

ROOT = Path(__file__).resolve().parent.parent
TOLD_CHARACTERS = 1_000  # of what a process has printed last


@dataclass(frozen=True, kw_only=True)
class Started:
    """A process, with those that it starts, and what it prints."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def interrupt(self, seconds: float) -> None:
        """Presses Ctrl-C, and waits so long at most. Raises TimeoutExpired."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(seconds)

    def failure(self) -> ExplainedError:
        last = self.log.read_text(encoding="utf-8", errors="replace")[-TOLD_CHARACTERS:].strip()
        return ExplainedError(f"{self.process.args!r} ended with exit code {self.process.poll()}: {last}")

    def family(self) -> list[psutil.Process]:
        """The process and all that it has started, as far as they live."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        return []


@contextlib.contextmanager
def started(words: Sequence[str], log: Path) -> Iterator[Started]:
    """A program that ends here at the latest, with all that it has started.

    Args:
        log: Gets what it prints, behind what is there.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield Started(process=process, log=log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the group lives as long as one of them does
        process.wait()


def light_search(url: str, **options: object) -> list[str]:
    """The words of `benchmarks.light_search`; options that are None are left out."""
    words = [sys.executable, "-m", "benchmarks.light_search", "--storage", url]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    return words


def seconds_of_cores(processes: Sequence[psutil.Process]) -> float:
    """What processes have computed so far, with those children that ended."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def connections_to(port: int, process: psutil.Process) -> int:
    """How many connections a process holds to a port of this machine."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return sum(bool(each.raddr) and each.raddr.port == port for each in process.net_connections("tcp"))
    return 0
