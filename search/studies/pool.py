"""Executors: a job's trials in a pool of worker processes, watched by the command that started it, or in this process.

Processes, never threads: training holds Python's lock. The parent only watches the storage, so what a worker
does is never lost with the parent, and the other way round.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

from optuna.storages import RDBStorage

from search.studies.job import Job
from search.studies.storage import wait_unless
from search.studies.study import StoredStudy
from search.studies.tickets import release_dead_trials, release_own_trials
from search.studies.worker import WorkerError, run_trials

MAX_LOST_WORKERS = 3  # workers that may die young before the command gives up
YOUNG_SECONDS = 600
POLL_SECONDS = 0.5
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)

# One thread computes: the cores are better used by a worker each, and a sum that is split over threads may come out
# different. glibc keeps the pages of freed blocks instead of returning them and paying for zeroed ones in each step.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
    "MALLOC_TOP_PAD_": str(2**26),
}


class Executor(Protocol):
    """Runs a job to its end.

    The first Ctrl-C (or SIGTERM) lets the running epochs end; a second ends the trials at once.

    Args:
        devices: One for each worker.
        on_update: Called about twice a second, or, in one process, as often as the task looks whether to stop.
        on_interrupt: Called once, after the first Ctrl-C.

    Returns:
        Whether it was interrupted.

    Raises:
        WorkerError, CodeError: If the workers cannot go on.
    """

    def __call__(
        self,
        job: Job,
        devices: Sequence[str],
        stored: StoredStudy,
        *,
        on_update: Callable[[], None],
        on_interrupt: Callable[[], None],
    ) -> bool: ...


def in_processes(
    job: Job,
    devices: Sequence[str],
    stored: StoredStudy,
    *,
    on_update: Callable[[], None],
    on_interrupt: Callable[[], None],
) -> bool:
    """Runs a job with a process for each device (`Executor`)."""
    pool = WorkerPool(job, devices)
    with count_interrupts(stored.storage) as num_interrupts:
        try:
            pool.start()
            while pool.wait(POLL_SECONDS):
                if num_interrupts() > 0 and not pool.stopping:
                    pool.stop()
                    on_interrupt()
                if num_interrupts() > 1:
                    pool.kill()
                elif pool.replace_lost():
                    release_dead_trials(stored, killed=True)
                on_update()
            pool.raise_error()
        finally:
            pool.kill()
            release_dead_trials(stored)
            on_update()
    return pool.stopping


def in_this_process(
    job: Job,
    devices: Sequence[str],
    stored: StoredStudy,
    *,
    on_update: Callable[[], None],
    on_interrupt: Callable[[], None],
) -> bool:
    """Runs a job in this process, on the first device (`Executor`): for debuggers, notebooks and tests."""
    with count_interrupts(stored.storage, on_first=on_interrupt) as num_interrupts:

        def should_stop() -> bool:
            on_update()
            return num_interrupts() > 0

        try:
            run_trials(job, devices[0], should_stop)
        except KeyboardInterrupt:  # the second Ctrl-C: this process lives on, so nobody would take its trial for dead
            release_own_trials(stored)
        on_update()
        return num_interrupts() > 0


def work(job: Job, device: str, stop: Any, errors: Any) -> None:
    """The main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Windows, where it is not inherited
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run_trials(job, device, stop.is_set)
    except Exception as error:  # the parent tells it in one line; a worker prints nothing
        errors.put(" ".join(str(error).split()) or type(error).__name__)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A process, the device it computes on, and when it was started (monotonic seconds)."""

    process: SpawnProcess
    device: str
    started: float


class WorkerPool:
    """The worker processes of one command.

    Attributes:
        stopping: Whether the workers were asked to end.
    """

    def __init__(self, job: Job, devices: Sequence[str]) -> None:
        """Prepares one worker per entry of `devices`; starts none."""
        self.stopping = False
        self._job = job
        self._devices = devices
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._errors = self._context.SimpleQueue()
        self._workers: list[Worker] = []
        self._num_died_young = 0

    def start(self) -> None:
        self._workers = [self._start_worker(device) for device in self._devices]

    def wait(self, seconds: float) -> bool:
        """Waits until a worker ends or the time is up; returns whether there are workers left to look after."""
        if self._workers:
            wait([worker.process.sentinel for worker in self._workers], timeout=seconds)
        self._workers = [worker for worker in self._workers if worker.process.exitcode != 0]
        return bool(self._workers)

    def replace_lost(self) -> bool:
        """Replaces the workers that died without saying why (killed for want of memory, say).

        Returns:
            Whether any had died.

        Raises:
            WorkerError: If a worker gave up with an error, or too many died young.
        """
        self.raise_error()
        lost = [worker for worker in self._workers if worker.process.exitcode not in (None, 0)]
        self._workers = [worker for worker in self._workers if worker not in lost]
        for worker in [] if self.stopping else lost:
            self._num_died_young += time.monotonic() - worker.started < YOUNG_SECONDS
            if self._num_died_young > MAX_LOST_WORKERS:
                exit_code = worker.process.exitcode
                raise WorkerError(f"Workers keep dying ({exit_code=}). If memory is short, use fewer --workers.")
            self._workers.append(self._start_worker(worker.device))
        return bool(lost)

    def raise_error(self) -> None:
        if not self._errors.empty():
            raise WorkerError(self._errors.get())

    def stop(self) -> None:
        """Asks the workers to end after the running epoch."""
        self.stopping = True
        self._stop.set()

    def kill(self) -> None:
        """Ends the workers at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
        self._workers = []

    def _start_worker(self, device: str) -> Worker:
        process = self._context.Process(
            target=work, args=(self._job, device, self._stop, self._errors), name=f"worker-{device}"
        )
        with environment(WORKER_ENVIRONMENT), _ignored_interrupts():
            process.start()
        return Worker(process=process, device=device, started=time.monotonic())


@contextlib.contextmanager
def count_interrupts(storage: RDBStorage, *, on_first: Callable[[], None] | None = None) -> Iterator[Callable[[], int]]:
    """Counts Ctrl-C and SIGTERM instead of raising: the caller acts on them where it is safe to.

    Outside the main thread, which alone may handle signals, none is counted.

    Args:
        on_first: For a caller that is too busy to look: called at once, and a second interrupt is raised.
    """
    count = 0

    def handle(_signal: int, _frame: Any) -> None:
        nonlocal count
        count += 1
        if on_first is not None:
            if count > 1:
                raise KeyboardInterrupt
            on_first()

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    wait_unless(storage, lambda: count > 0)
    before = {number: signal.signal(number, handle) for number in INTERRUPTS}
    try:
        yield lambda: count
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """What is ignored here is ignored from birth by a process started meanwhile.

    A terminal sends Ctrl-C, and `timeout` SIGTERM, to all processes, but only the parent decides what it means.
    """
    before = {number: signal.signal(number, signal.SIG_IGN) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Sets variables for the processes started meanwhile; what the user has set stays."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]
