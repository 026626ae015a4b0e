"""A session: what one command works with, from its first moment to its last. Database, devices and arithmetic."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import optuna
from optuna.storages import RDBStorage

from ..config import ExplainedError
from ..files import check_writable
from ..net.device import choose_device, choose_precision, compile_for, undisturbed, worker_devices
from ..proof.parts import Record
from ..provenance import Code
from ..settings import AUTO, RunSettings
from ..show.notes import explain_follower
from ..show.screen import Screen, Stage, Work
from ..show.status import holder_lines, holder_rows
from ..show.words import describe_trials
from ..studies.executors import POLL_SECONDS, Executor, count_interrupts, in_processes, in_this_process
from ..studies.job import Job, JobSettings, Task
from ..studies.kinds import Kind
from ..studies.plan import Plan
from ..studies.space import Space
from ..studies.storage import open_storage
from ..studies.study import StoredStudy
from ..studies.tickets import find_dead_trials, find_holders, keys_left, release_dead_trials
from ..studies.turns import exclusive, patient
from ..studies.worker import expired, is_stalled

CLOCK_RESOLUTION = 1.0  # of a database, in seconds
PACKAGES = ("torch", "optuna", "sqlalchemy", "scipy.stats", "numba")  # seconds each, in each worker
INTERRUPT_MESSAGE = "Stopping after the running epoch. Press Ctrl-C again to stop at once."

RecordType = TypeVar("RecordType", bound=Record)


@dataclass(frozen=True, kw_only=True)
class Ended(Generic[RecordType]):
    """How a command ended.

    Attributes:
        record: What it has found; None if it was interrupted before there was anything to tell.
        files: Where that is written.
    """

    record: RecordType | None
    files: tuple[Path, ...] = ()
    interrupted: bool = False


@dataclass(frozen=True, kw_only=True)
class Session:
    """What one command works with.

    Attributes:
        devices: One for each worker.
        precision: "bf16" or "fp32".
        execute: Runs jobs, in processes or in this one.
        own_kernels: Whether our own kernels compute what they can.
    """

    settings: RunSettings
    space: Space
    storage: RDBStorage
    devices: tuple[str, ...]
    precision: str
    execute: Executor
    screen: Screen
    code: Code
    own_kernels: bool = True

    @classmethod
    def open(cls, settings: RunSettings, space: Space, screen: Screen, *, create: bool) -> "Session":
        """Fails before anything is computed.

        Args:
            create: Whether to make the database where there is none.

        Raises:
            ExplainedError: If results cannot be written, or the device or the database cannot be used.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # it would warn of each try of a database that is away
        try:
            check_writable(settings.results_dir)
        except OSError as error:
            reason = error.strerror or error
            raise ExplainedError(f"--results-dir {settings.results_dir} cannot be written to ({reason}).") from error
        device = choose_device(settings.device)
        here = settings.workers == 0
        return cls(
            settings=settings,
            space=space,
            storage=open_storage(settings.storage, create=create, tell=screen.warn),
            devices=worker_devices(device, 1 if here else settings.workers),
            precision=choose_precision(device) if settings.precision == AUTO else settings.precision,
            execute=in_this_process if here else in_processes,
            screen=screen,
            code=Code.at_hand(space.path),
        )

    def with_precision(self, precision: str) -> "Session":
        return replace(self, precision=precision)

    def compile(self) -> None:
        """Compiles our own kernels, where they compute and are not compiled yet: once, before several workers do."""
        if self.own_kernels:
            compile_for(self.devices[0], self.precision, self.screen.say)

    def job(
        self,
        stored: StoredStudy,
        plan: Plan,
        task: Task,
        *,
        epochs: int,
        pruner: str = "none",
        deadline: float | None = None,
        patience: int | None = None,
    ) -> Job:
        settings = JobSettings(
            storage_url=self.settings.storage,
            study_name=stored.name,
            epochs=epochs,
            code=self.code,
            pruner=pruner,
            deadline=deadline,
            patience=patience,
            packages=PACKAGES,
        )
        return Job(plan=plan, settings=settings, task=task)

    def run(
        self,
        stored: StoredStudy,
        job: Job,
        *,
        then: Stage | None = None,
        on_update: Callable[[], None] = lambda: None,
    ) -> bool:
        """Runs what is left of a job, but for what others hold and live; returns whether it was interrupted."""
        if stored.kind != Kind.SEARCH:
            explain(stored)
        while True:  # a worker of another command may die while this one's are at their last trials
            released = release_dead_trials(stored)
            if released:
                self.screen.say(f"Cut off, and tried again with the same parameters: {describe_trials(released)}.")
            if is_stalled(stored, job):
                return False
            at_work = self.devices[: len(keys_left(stored, job.plan))]
            if not at_work:
                interrupted, more = wait_for_others(stored, job, self.screen)
                if more:
                    continue
                return interrupted
            self.compile()
            work = Work(
                stored=stored,
                plan=job.plan,
                epochs=job.settings.epochs,
                devices=at_work,
                precision=self.precision,
                then=then,
            )
            with self.screen.watch(work) as update_screen:

                def update(update_screen: Callable[[], None] = update_screen) -> None:
                    update_screen()
                    on_update()

                with undisturbed():
                    interrupted = self.execute(
                        job,
                        at_work,
                        stored,
                        on_update=update,
                        on_interrupt=lambda: self.screen.warn(INTERRUPT_MESSAGE),
                        on_note=self.screen.warn,
                    )
            if interrupted or expired(job):
                return interrupted


@patient()
def explain(stored: StoredStudy) -> None:
    """Whoever looks at the dashboard from now on is told how to read a study that follows a search."""
    with exclusive(stored.storage):
        explain_follower(stored)


def wait_for_others(stored: StoredStudy, job: Job, screen: Screen) -> tuple[bool, bool]:
    """Waits while others hold all that is left, and one may be dead: a living host is heard of once a minute.

    Returns:
        Whether it was interrupted, and whether there is work again.
    """
    begun, told = time.monotonic(), False
    with count_interrupts(stored.storage) as num_interrupts:
        while not (num_interrupts() or expired(job)):
            if keys_left(stored, job.plan) or find_dead_trials(stored):
                return False, True
            rows = holder_rows(find_holders(stored, job.plan))
            waited = time.monotonic() - begun - CLOCK_RESOLUTION
            unsure = [row for row in rows if row.released_in_seconds is not None and row.silent_seconds >= waited]
            then = "Waiting to hear more; Ctrl-C ends that." if unsure else "Nothing else is left to start."
            for line in holder_lines(unsure or rows) if not (unsure and told) else ():
                screen.say(f"{line} {then}")
            if not unsure:
                break
            told = True
            time.sleep(POLL_SECONDS)
        return num_interrupts() > 0, False
