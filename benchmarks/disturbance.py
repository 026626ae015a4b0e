"""Commands in a folder of their own: started, hit by a signal at a given moment, and watched until they have ended."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from benchmarks.records import Shot, SignalName, Since, Target
from search.commands.group import EXIT_INTERRUPTED

ROOT = Path(__file__).resolve().parent.parent
MARK = "TINY_SEARCH_PLACE"  # an environment variable, which every process that a command starts inherits
LIMIT = 600.0  # seconds after which a command counts as hung
PATIENCE = 20.0  # seconds in which whatever a command has left has to end
POLL_SECONDS = 0.1
LOOK_SECONDS = 0.5  # between two looks for sockets that listen


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What is to hit a command, and when (`benchmarks.records.Shot`)."""

    signal: SignalName
    target: Target
    since: Since
    delay: float
    seed: int = 0  # decides which worker


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command has ended.

    Attributes:
        first_worker: Seconds from its start to its first worker's; None if it had none.
        shot: What hit it; None without an aim.
        faults: What it did that none may do.
    """

    exit_code: int
    seconds: float
    first_worker: float | None
    shot: Shot | None
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder that commands run in, and the mark of all their processes."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def output(self) -> Path:
        """What the last command has printed."""
        return self.folder.with_name(f"{self.folder.name}.output")

    def run(self, words: Sequence[str], aim: Aim | None = None) -> Ended:
        """Runs a command of the tool until it has ended."""
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "cli.py"), *words],
                cwd=self.folder,
                env={**os.environ, **self.environment, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        watch = _Watch(process, aim)
        try:
            watch.until_it_ends()
        finally:
            if process.poll() is None:  # Ctrl-C at the benchmark
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        printed = self.output.read_text(encoding="utf-8", errors="replace")
        return watch.ended(printed)

    def processes(self) -> list[psutil.Process]:
        """What lives of the commands that ran here."""
        return [process for process in psutil.process_iter() if _is_of(process, self.mark)]

    def end_all(self) -> list[str]:
        """Waits until all has ended by itself; ends what has not, and returns its command lines."""
        deadline = time.monotonic() + PATIENCE
        while (alive := self.processes()) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        left = []
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.append(" ".join(process.cmdline()))
                process.kill()
        return left


def _is_of(process: psutil.Process, mark: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark)
    return False


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """The worker processes of a command, the oldest first: those that its server of forks has started."""
    workers = []
    for child in process.children():
        with contextlib.suppress(psutil.Error):
            if any("multiprocessing.forkserver" in word for word in child.cmdline()):
                workers += child.children()
    return sorted(workers, key=lambda worker: worker.pid)


class _Watch:
    """A command from its start to its end."""

    def __init__(self, process: subprocess.Popen[bytes], aim: Aim | None) -> None:
        self._process = process
        self._aim = aim
        self._begun = time.monotonic()
        self._seconds = 0.0
        self._next_look = 0.0
        self._first_worker: float | None = None
        self._shot: Shot | None = None
        self._faults: dict[str, None] = {}  # each once, in order

    def until_it_ends(self) -> None:
        while self._process.poll() is None:
            self._seconds = time.monotonic() - self._begun
            aims = self._aim is not None and self._shot is None
            if aims or self._first_worker is None or self._seconds >= self._next_look:  # a look costs milliseconds
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._look(psutil.Process(self._process.pid))
            if self._seconds > LIMIT:
                self._faults[f"it had not ended after {LIMIT:.0f} s"] = None
                return
            time.sleep(POLL_SECONDS)
        self._seconds = time.monotonic() - self._begun

    def _look(self, command: psutil.Process) -> None:
        workers = workers_of(command)
        if workers and self._first_worker is None:
            self._first_worker = self._seconds
        if self._aim is not None and self._shot is None and self._is_time(workers):
            self._shot = self._shoot(self._aim, workers)
        if self._seconds >= self._next_look:
            self._next_look = self._seconds + LOOK_SECONDS
            self._faults.update(dict.fromkeys(listening([command, *workers])))

    def _is_time(self, workers: list[psutil.Process]) -> bool:
        assert self._aim is not None
        begun = 0.0 if self._aim.since == "start" else self._first_worker
        there = bool(workers) or self._aim.target != "worker"
        return there and begun is not None and self._seconds >= begun + self._aim.delay

    def _shoot(self, aim: Aim, workers: list[psutil.Process]) -> Shot:
        number, hit = signal.Signals[aim.signal], self._process.poll() is None
        try:
            if aim.target == "group":
                os.killpg(self._process.pid, number)
            elif aim.target == "parent":
                os.kill(self._process.pid, number)
            else:
                os.kill(random.Random(aim.seed).choice(workers).pid, number)
        except ProcessLookupError:
            hit = False
        return _shot(aim, hit=hit, at_work=hit and bool(workers))

    def ended(self, printed: str) -> Ended:
        """How it has ended, and what it did that none may do."""
        exit_code, shot = self._process.wait(), None
        if self._aim is not None:
            too_late = _shot(self._aim, hit=False, at_work=False)
            shot = replace(self._shot or too_late, exit_code=exit_code)
            # Nobody outlives a SIGKILL: one that was sent to a process that had just ended by itself has hit nothing.
            if (shot.signal, shot.target) in {("SIGKILL", "group"), ("SIGKILL", "parent")} and exit_code >= 0:
                shot = replace(too_late, exit_code=exit_code)
        if exit_code not in exit_codes(shot):
            self._faults[f"exit code {exit_code} ({_last_line(printed)})"] = None
        if "Traceback" in printed:
            self._faults[f"a traceback ({_last_line(printed)})"] = None
        return Ended(
            exit_code=exit_code,
            seconds=self._seconds,
            first_worker=self._first_worker,
            shot=shot,
            faults=tuple(self._faults),
        )


def _shot(aim: Aim, *, hit: bool, at_work: bool) -> Shot:
    return Shot(
        signal=aim.signal,
        target=aim.target,
        since=aim.since,
        delay=aim.delay,
        hit=hit,
        at_work=at_work,
        exit_code=0,
    )


def exit_codes(shot: Shot | None) -> set[int]:
    """How a command may end: as documented, or by the signal itself where it had not begun to work."""
    if shot is None or not shot.hit or shot.target == "worker":
        return {0}
    number = signal.Signals[shot.signal]
    if number == signal.SIGKILL:
        return {-number}
    return {0, EXIT_INTERRUPTED} if shot.at_work else {0, EXIT_INTERRUPTED, -number}


def listening(processes: list[psutil.Process]) -> list[str]:
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections():
                bound = connection.status == psutil.CONN_LISTEN or (connection.laddr and not connection.raddr)
                if bound:
                    found.append(f"it listens on {connection.laddr}")
    return found


def _last_line(text: str) -> str:
    return next(reversed(text.splitlines()), "it printed nothing")
