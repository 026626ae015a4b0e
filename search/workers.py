"""Worker processes: each takes trial after trial from the storage until none is left.

Processes, never threads: training holds Python's lock. The parent only watches the storage, so what a worker
does is never lost with the parent, and the other way round.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from typing import Any, Protocol

import optuna
from optuna.storages import RDBStorage

from search.storage import heartbeat, open_storage
from search.study import claim_trial, release_dead_trials

MAX_FAILURES = 3  # trials in a row that may fail in one worker before it gives up
MAX_LOST_WORKERS = 3  # workers that may die before the command gives up
POLL_SECONDS = 0.25

# One thread computes: two would slow each other down on nets this small, and their sums would not repeat. glibc
# keeps the pages of freed blocks instead of returning them and paying for zeroed ones again in each step.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
    "MALLOC_TOP_PAD_": str(2**26),
}


class WorkerError(Exception):
    """The workers cannot go on."""


class Job(Protocol):
    """What the workers of one command do. Sent to each of them, so it has to be picklable."""

    @property
    def storage_url(self) -> str: ...
    @property
    def study_name(self) -> str: ...
    @property
    def sampler(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def tickets(self) -> range: ...
    @property
    def epochs(self) -> int: ...
    @property
    def precision(self) -> str: ...

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        """Parameters that a ticket's trial must have; empty where the sampler is free."""

    def expired(self) -> bool:
        """Whether no further trial may start."""

    def prepare(self, device: str) -> Any:
        """Loads, once per worker, what all its trials share."""

    def run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        storage: RDBStorage,
        resources: Any,
        should_stop: Callable[[], bool],
    ) -> None:
        """Runs one trial and tells the study how it ended."""


def run_workers(
    job: Job,
    devices: list[str],
    study: optuna.Study,
    storage: RDBStorage,
    *,
    on_update: Callable[[], None],
    on_interrupt: Callable[[], None],
) -> bool:
    """Runs a job to its end, with one worker per entry of `devices`.

    The first Ctrl-C (or SIGTERM) lets the running epochs end; a second ends the workers at once.

    Args:
        on_update: Called a few times a second.
        on_interrupt: Called once, after the first Ctrl-C.

    Returns:
        Whether it was interrupted.

    Raises:
        WorkerError: If the workers cannot go on.
    """
    pool = WorkerPool(job, devices)
    stopping = False
    with _count_interrupts() as num_interrupts:
        try:
            pool.start()
            while pool.wait(POLL_SECONDS):
                if num_interrupts() > 0 and not stopping:
                    stopping = True
                    pool.stop()
                    on_interrupt()
                if num_interrupts() > 1:
                    pool.kill()
                elif pool.replace_lost(restart=not stopping):
                    release_dead_trials(study, storage)
                on_update()
            pool.raise_error()
        finally:
            pool.kill()
            release_dead_trials(study, storage)
            on_update()
    return stopping


class WorkerPool:
    """The worker processes of one command."""

    def __init__(self, job: Job, devices: list[str]) -> None:
        """Prepares one worker per entry of `devices`; starts none."""
        self._job = job
        self._devices = devices
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._errors = self._context.SimpleQueue()
        self._workers: list[tuple[str, Any]] = []
        self._num_lost = 0

    def start(self) -> None:
        self._workers = [(device, self._start_worker(device)) for device in self._devices]

    def wait(self, seconds: float) -> bool:
        """Waits until a worker ends or the time is up; returns whether there are workers left to look after."""
        if self._workers:
            wait([process.sentinel for _, process in self._workers], timeout=seconds)
        self._workers = [(device, process) for device, process in self._workers if process.exitcode != 0]
        return bool(self._workers)

    def replace_lost(self, *, restart: bool) -> bool:
        """Replaces the workers that died without saying why (killed for want of memory, say).

        Returns:
            Whether any had died.

        Raises:
            WorkerError: If a worker gave up with an error, or too many died.
        """
        self.raise_error()
        lost = [(device, process) for device, process in self._workers if process.exitcode is not None]
        self._workers = [worker for worker in self._workers if worker not in lost]
        for device, process in lost:
            self._num_lost += 1
            if self._num_lost > MAX_LOST_WORKERS:
                raise WorkerError(
                    f"Workers keep dying (exit code {process.exitcode}). If memory is short, use fewer --workers."
                )
            if restart:
                self._workers.append((device, self._start_worker(device)))
        return bool(lost)

    def raise_error(self) -> None:
        if not self._errors.empty():
            raise WorkerError(self._errors.get())

    def stop(self) -> None:
        """Asks the workers to end after the running epoch."""
        self._stop.set()

    def kill(self) -> None:
        """Ends the workers at once."""
        for _, process in self._workers:
            process.kill()
        for _, process in self._workers:
            process.join()
        self._workers = []

    def _start_worker(self, device: str) -> Any:
        with _environment(WORKER_ENVIRONMENT):
            process = self._context.Process(
                target=_work, args=(self._job, device, self._stop, self._errors), name=f"worker-{device}"
            )
            process.start()
        return process


@contextlib.contextmanager
def _count_interrupts() -> Iterator[Callable[[], int]]:
    """Counts Ctrl-C and SIGTERM instead of raising: the loop above acts on them where it is safe to."""
    count = 0

    def handle(_signal: int, _frame: Any) -> None:
        nonlocal count
        count += 1

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: count
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Sets variables for the processes started meanwhile; what the user has set stays."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _work(job: Job, device: str, stop: Any, errors: Any) -> None:
    """The main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends Ctrl-C to all; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _run_trials(job, device, stop)
    except Exception as error:  # the parent tells it in one line; a worker prints nothing
        errors.put(" ".join(str(error).split()) or type(error).__name__)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_trials(job: Job, device: str, stop: Any) -> None:
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    resources = job.prepare(device)
    storage = open_storage(job.storage_url)
    study = optuna.load_study(storage=storage, study_name=job.study_name)
    num_failures = 0
    while not stop.is_set() and not job.expired():
        trial = claim_trial(
            study, storage, job.tickets, sampler=job.sampler, seed=job.seed, fixed_params=job.fixed_params()
        )
        if trial is None:
            return
        try:
            with heartbeat(storage, trial._trial_id):
                job.run(study, trial, storage, resources, stop.is_set)
            num_failures = 0
        except Exception as error:  # out of memory, say: recorded, and the study goes on
            num_failures += 1
            _fail(study, trial, error)
            if num_failures == MAX_FAILURES:
                raise WorkerError(f"{num_failures} trials in a row failed. The last one: {_reason(error)}") from error
            del error
            _free_memory()


def _fail(study: optuna.Study, trial: optuna.Trial, error: Exception) -> None:
    if isinstance(error, optuna.exceptions.StorageInternalError):
        raise error
    trial.set_user_attr("fail_reason", _reason(error))
    study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
