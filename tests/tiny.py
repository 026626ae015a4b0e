"""A search of a space of one tiny network, whose trials run one at a time, in this process, on few digits."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from training import Prepared

from search.config import AugmentConfig, ModelConfig, TrialConfig
from search.provenance import Code
from search.runs.tasks import SearchTask
from search.runs.validating import Validation, ValidationResources
from search.settings import BEST_MODEL
from search.show.screen import Work
from search.studies.job import Job, JobSettings, ShouldStop, Task
from search.studies.opening import open_search_study
from search.studies.plan import DrawnPlan
from search.studies.space import Space
from search.studies.study import Binding, StoredStudy
from search.studies.tickets import keys_left
from search.studies.worker import run_trials

BINDING = Binding(dataset="sample", split="few", max_params=1_000, epochs=3, space="tiny")
FIRST: dict[str, int | float] = {"lr": 0.02}
CHANNELS = (2,), (3,), (4,)
NUM_PARAMS = 246  # 18 + 54 + 108 weights, 2 of the first bias, 14 of norms, 50 of the head


def suggest_tiny(trial: optuna.trial.BaseTrial, max_params: int) -> TrialConfig:
    lr = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    augment = AugmentConfig(rotation=10.0, shift=1.0)
    return TrialConfig(model=ModelConfig(channels=CHANNELS), augment=augment, lr=lr, weight_decay=0.01)


def suggest_over_budget(trial: optuna.trial.BaseTrial, max_params: int) -> TrialConfig:
    return replace(suggest_tiny(trial, max_params), model=ModelConfig(channels=((8,), (8,), (8,))))


def suggest_diverging(trial: optuna.trial.BaseTrial, max_params: int) -> TrialConfig:
    return replace(suggest_tiny(trial, max_params), lr=1e38)


TINY_SPACE = Space(suggest_config=suggest_tiny, reference=FIRST, path=Path(__file__))


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A screen that remembers what it was told."""

    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    watched: list[Work] = field(default_factory=list)

    def say(self, message: str) -> None:
        self.said.append(message)

    def warn(self, message: str) -> None:
        self.warned.append(message)

    @contextlib.contextmanager
    def watch(self, work: Work) -> Iterator[Callable[[], None]]:
        self.watched.append(work)
        yield lambda: None


@dataclass(frozen=True, kw_only=True)
class TinySearch:
    """The search "tiny", and what its workers need."""

    stored: StoredStudy
    task: SearchTask
    resources: ValidationResources
    code: Code

    @classmethod
    def open(cls, storage: RDBStorage, resources: ValidationResources, code: Code, folder: Path) -> "TinySearch":
        validation = Validation(
            dataset="sample",
            data_dir=folder / "there-is-no-data",
            precision="fp32",
            max_params=BINDING.max_params,
            epochs=BINDING.epochs,
        )
        task = SearchTask(
            validation=validation,
            suggest_config=suggest_tiny,
            seed=0,
            search_name="tiny",
            folder=folder / "results" / "tiny",
        )
        search = open_search_study(storage, "tiny", BINDING, FIRST)
        return cls(stored=search, task=task, resources=resources, code=code)

    @property
    def model_path(self) -> Path:
        return self.task.folder / BEST_MODEL

    def changed(self, **changes: Any) -> "TinySearch":
        """With another task: `changes` are those of its fields, and of those of its `Validation`."""
        own = {name: value for name, value in changes.items() if name in SearchTask.__dataclass_fields__}
        validation = replace(
            self.task.validation, **{name: value for name, value in changes.items() if name not in own}
        )
        return replace(self, task=replace(self.task, validation=validation, **own))

    def under_name(self, name: str) -> "TinySearch":
        """A new search of the same digits, in the same database."""
        stored = open_search_study(self.stored.storage, name, BINDING, FIRST)
        return replace(self, stored=stored).changed(search_name=name, folder=self.task.folder.with_name(name))

    def run_next(
        self, *, should_stop: ShouldStop = lambda: False, pruner: str = "none", task: Task | None = None
    ) -> FrozenTrial:
        """Runs the next trial as a worker does."""
        num_trials = 1
        while not keys_left(self.stored, self._plan(num_trials)):
            num_trials += 1
        settings = JobSettings(
            storage_url=str(self.stored.storage.url),
            study_name=self.stored.name,
            epochs=self.task.validation.epochs,
            code=self.code,
            pruner=pruner,
        )
        prepared = Prepared(task=task or self.task, resources=self.resources)
        run_trials(Job(plan=self._plan(num_trials), settings=settings, task=prepared), "cpu", should_stop)
        return max(self.stored.trials(), key=lambda trial: trial.datetime_start)

    def _plan(self, num_trials: int) -> DrawnPlan:
        return DrawnPlan(num_trials=num_trials, sampler_name="random", seed=0)
