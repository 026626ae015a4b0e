"""Executors: a job's trials in a pool of worker processes, or in this process; and what Ctrl-C means to them."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from optuna.storages import RDBStorage

from .job import Job
from .pool import WorkerPool
from .starting import INTERRUPTS
from .study import StoredStudy
from .tickets import release_dead_trials, release_own_trials
from .turns import wait_unless
from .worker import run_trials

POLL_SECONDS = 0.5


class Executor(Protocol):
    """Runs a job to its end.

    The first Ctrl-C (or SIGTERM) lets the running epochs end; a second ends the trials at once.

    Args:
        devices: One for each worker.
        on_update: Called about twice a second, or, in one process, as often as the task looks whether to stop.
        on_interrupt: Called once, after the first Ctrl-C.
        on_note: Told what a person should know meanwhile.

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
        on_note: Callable[[str], None],
    ) -> bool: ...


def in_processes(
    job: Job,
    devices: Sequence[str],
    stored: StoredStudy,
    *,
    on_update: Callable[[], None],
    on_interrupt: Callable[[], None],
    on_note: Callable[[str], None],
) -> bool:
    """Runs a job with a process for each device (`Executor`)."""
    pool = WorkerPool(job, devices, on_note)
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
    on_note: Callable[[str], None],
) -> bool:
    """Runs a job in this process, on the first device (`Executor`): for debuggers, notebooks and tests."""
    with count_interrupts(stored.storage, on_first=on_interrupt) as num_interrupts:

        def should_stop() -> bool:
            on_update()
            return num_interrupts() > 0

        try:
            run_trials(job, devices[0], should_stop, is_interrupted=lambda: num_interrupts() > 0, tell=on_note)
        except KeyboardInterrupt:  # the second Ctrl-C: this process lives on, so nobody would take its trial for dead
            release_own_trials(stored)
        on_update()
        return num_interrupts() > 0


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
