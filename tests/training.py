"""Quick training: on few digits, and in this process."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from torch import Tensor

from search.net.data import fingerprint, load_search_splits
from search.net.datasets import DATASETS, MNIST_PIXELS
from search.provenance import Code
from search.studies.facts import StudyFacts
from search.studies.job import Job, JobSettings, Result, ShouldStop, Task
from search.studies.plan import Plan
from search.studies.study import StoredStudy
from search.studies.worker import run_trials

EPOCHS = 2


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A task whose resources are there already."""

    task: Task
    resources: Any

    def prepare(self, device: str) -> Any:
        return self.resources

    def run(self, trial: optuna.Trial, resources: Any, should_stop: ShouldStop) -> Result:
        return self.task.run(trial, resources, should_stop)

    def recover(self) -> None:
        self.task.recover()


def work_off(
    stored: StoredStudy,
    plan: Plan,
    task: Task,
    resources: Any,
    code: Code,
    should_stop: ShouldStop = lambda: False,
) -> list[FrozenTrial]:
    """Does what a worker does, on digits and a machine that are handed in; returns the trials that this added."""
    num_before = len(stored.trials())
    settings = JobSettings(storage_url=str(stored.storage.url), study_name=stored.name, epochs=EPOCHS, code=code)
    job = Job(plan=plan, settings=settings, task=Prepared(task=task, resources=resources))
    run_trials(job, "cpu", should_stop)
    return stored.trials()[num_before:]


def after_an_epoch() -> ShouldStop:
    """Lets a trial begin, and stops it after its first epoch."""
    answers = iter([False])
    return lambda: next(answers, True)


class EveryTenth:
    """Every tenth digit of the bundled sample."""

    pixels = MNIST_PIXELS

    def provide(self, data_dir: Path, *, test: bool) -> None:
        pass

    def load(self, data_dir: Path, *, test: bool) -> tuple[Tensor, Tensor]:
        images, labels = DATASETS["sample"].source.load(data_dir, test=test)
        return images[::10], labels[::10]


def shorten(search: StoredStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a search one of an epoch of few digits: what follows it then takes no time in this process."""
    row = replace(DATASETS["sample"], name="few", source=EveryTenth())
    monkeypatch.setitem(DATASETS, "few", row)
    split = fingerprint(*load_search_splits(row, Path("nowhere")))
    StudyFacts(dataset="few", split=split, epochs=1).write(search.study)
