"""A pool of worker processes, watched by the command that started them.

Processes, never threads: training holds Python's lock. The parent only watches the storage, so what a worker
does is never lost with the parent, and the other way round.
"""

import contextlib
import ctypes
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from .job import Job
from .starting import start_worker, worker_context
from .tickets import MAX_KILLS
from .worker import WorkerError, explain_fault, run_trials

LONGEST_POLL = 2.0  # seconds; when the machine or the command was stopped for longer, so were the workers
SILENCE = 1_800.0  # seconds without an epoch or another sign of progress after which a worker hangs


class Board(ctypes.Structure):
    """What a command and one of its workers show each other, in memory that both see.

    Each field is written by one of the two, and nothing is ever locked: whoever dies leaves nobody waiting.
    """

    _fields_ = [("stop", ctypes.c_bool), ("num_signs", ctypes.c_uint64), ("num_ended", ctypes.c_uint64)]


def work(job: Job, device: str, board: Any, messages: Connection) -> None:
    """The main function of a worker process. It sends messages: whether it gave up, and what to tell."""

    def should_stop() -> bool:
        board.num_signs += 1
        return bool(board.stop)

    def count_trial() -> None:
        board.num_ended += 1

    try:
        run_trials(
            job,
            device,
            should_stop,
            is_interrupted=lambda: bool(board.stop),
            tell=lambda note: messages.send((False, note)),
            on_end=count_trial,
        )
    except KeyboardInterrupt:  # a database was awaited
        return
    except Exception as error:  # the parent tells it in one line; a worker prints nothing
        messages.send((True, explain_fault(error, job)))


@dataclass(kw_only=True)
class Worker:
    """A process, the device it computes on, and how it stood when its command last looked.

    Attributes:
        silent: Seconds for which its command has seen no sign of progress.
    """

    process: BaseProcess
    device: str
    board: Any
    messages: Connection
    num_signs: int = 0
    num_ended: int = 0
    silent: float = 0.0


class WorkerPool:
    """The worker processes of one command.

    Attributes:
        stopping: Whether the workers were asked to end.
    """

    def __init__(self, job: Job, devices: Sequence[str], on_note: Callable[[str], None]) -> None:
        """Prepares one worker per entry of `devices`; starts none."""
        self.stopping = False
        self._job = job
        self._devices = devices
        self._on_note = on_note
        self._context = worker_context(job.settings.packages)
        self._errors: list[str] = []
        self._workers: list[Worker] = []
        self._num_deaths = 0  # since a trial last ended
        self._looked = time.monotonic()

    def start(self) -> None:
        self._workers = [self._start_worker(device) for device in self._devices]

    def wait(self, seconds: float) -> bool:
        """Waits until a worker ends or the time is up; returns whether there are workers left to look after."""
        if self._workers:
            wait([worker.process.sentinel for worker in self._workers], timeout=seconds)
        ended = [worker for worker in self._workers if worker.process.exitcode == 0]
        self._look()
        self._workers = [worker for worker in self._workers if worker not in ended]
        return bool(self._workers)

    def replace_lost(self) -> bool:
        """Replaces the workers that died without saying why (killed for want of memory, say).

        Returns:
            Whether any had died.

        Raises:
            WorkerError: If a worker gave up with an error, or they keep dying and no trial ends.
        """
        self.raise_error()
        lost = [worker for worker in self._workers if worker.process.exitcode not in (None, 0)]
        self._workers = [worker for worker in self._workers if worker not in lost]
        for worker in [] if self.stopping else lost:
            self._num_deaths += 1
            exit_code = worker.process.exitcode
            if exit_code == -getattr(signal, "SIGBUS", 0):
                raise WorkerError("A file was cut off while it was read (SIGBUS). See to --data-dir, and to its disk.")
            if self._num_deaths > MAX_KILLS * len(self._devices):
                raise WorkerError(f"Workers keep dying ({exit_code=}). If memory is short, use fewer --workers.")
            self._workers.append(self._start_worker(worker.device))
        return bool(lost)

    def raise_error(self) -> None:
        if self._errors:
            raise WorkerError(self._errors[0])

    def stop(self) -> None:
        """Asks the workers to end after the running epoch."""
        self.stopping = True
        for worker in self._workers:
            worker.board.stop = True

    def kill(self) -> None:
        """Ends the workers at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
        self._workers = []

    def _look(self) -> None:
        """Sees what the workers show and say, and ends those that hang."""
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, LONGEST_POLL), now
        for worker in self._workers:
            with contextlib.suppress(EOFError, OSError):  # it has ended
                while worker.messages.poll():
                    gave_up, message = worker.messages.recv()
                    self._errors.append(message) if gave_up else self._on_note(message)
            if worker.board.num_ended != worker.num_ended:
                self._num_deaths = 0
            worker.silent = 0.0 if worker.board.num_signs != worker.num_signs else worker.silent + passed
            worker.num_signs, worker.num_ended = worker.board.num_signs, worker.board.num_ended
            if worker.silent > SILENCE:
                worker.silent = 0.0
                self._on_note(
                    f"A worker hung: no progress for {SILENCE:.0f} s. It is ended, and its trial tried again."
                )
                worker.process.kill()

    def _start_worker(self, device: str) -> Worker:
        board = self._context.RawValue(Board)
        messages, sender = self._context.Pipe(duplex=False)
        with sender:
            process = start_worker(self._context, work, (self._job, device, board, sender), f"worker-{device}")
        return Worker(process=process, device=device, board=board, messages=messages)
