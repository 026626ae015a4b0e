"""A job: what the workers of one command do. `Job(plan, settings, task)`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import optuna

from ..provenance import Code
from .plan import Plan
from .study import StoredStudy

ShouldStop = Callable[[], bool]


class TrialInterruptedError(Exception):
    """The trial was asked to stop; it is to be tried again with the same parameters."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a trial has come to.

    Attributes:
        value: In percent.
        keep: Saves what must be on record before the value counts; given the study. Called while no other process can
            tell a value; called again where the disk or the database failed it.
    """

    value: float
    keep: Callable[[StoredStudy], None] | None = None


class Task(Protocol):
    """Computes one trial. Sent to each worker, so it has to be picklable."""

    def prepare(self, device: str) -> Any:
        """Loads, once per worker, what all its trials share."""

    def run(self, trial: optuna.Trial, resources: Any, should_stop: ShouldStop) -> Result:
        """Computes a trial, and tells Optuna nothing of how it ended: that is the worker's.

        Raises:
            optuna.TrialPruned: If it is not worth going on.
            TrialInterruptedError: Soon after `should_stop` has become true.
        """

    def recover(self) -> None:
        """Gives back what a failed trial has held."""


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Where and how the trials run.

    Attributes:
        epochs: Of a trial that trains to its end.
        pruner: A name in `search.studies.choices.PRUNERS`.
        deadline: Seconds since the epoch after which no trial starts; None for never.
        patience: So many trials in a row that are no better end the job; None for any number.
        code: What the command was started with: a worker that finds another refuses.
        packages: That workers load, and that take long to: never our own modules, which they check against `code`.
    """

    storage_url: str
    study_name: str
    epochs: int
    code: Code
    pruner: str = "none"
    deadline: float | None = None
    patience: int | None = None
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the workers of one command do."""

    plan: Plan
    settings: JobSettings
    task: Task
