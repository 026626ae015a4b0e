"""Studies whose trials only sleep: everything that a search's trials do, except to train and to measure."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
from optuna.storages import RDBStorage

from search import objective
from search.config import DEFAULT_MAX_PARAMS, MAX_EPOCHS, TrialConfig
from search.model import TinyCNN
from search.objective import SearchJob
from search.provenance import code_commit
from search.storage import open_storage
from search.train import EpochResult, Evaluation
from space import suggest_config

STUDY_NAME = "sleep"
ACCURACY = 99.9  # above all that is recorded: no trial is pruned, and the first of a measurement has its model saved


@dataclass(frozen=True, kw_only=True)
class SleepJob(SearchJob):
    """The trials of a search that sleep where a search trains.

    Attributes:
        epoch_seconds: How long each epoch sleeps.
    """

    epoch_seconds: float

    def run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        storage: RDBStorage,
        resources: Any,
        should_stop: Callable[[], bool],
    ) -> None:
        with patch.multiple(objective, train=self._sleep, evaluate=_evaluate):
            super().run(study, trial, storage, resources, should_stop)

    def _sleep(self, config: TrialConfig, *_: Any, epochs: int, **__: Any) -> Iterator[EpochResult]:
        model = TinyCNN(config.model)
        for epoch in range(1, epochs + 1):
            time.sleep(self.epoch_seconds)
            yield EpochResult(epoch=epoch, train_loss=0.1, seconds=self.epoch_seconds, model=model)


def _evaluate(*_: Any) -> Evaluation:
    return Evaluation(errors=round(100 * (100 - ACCURACY)), num_images=10_000, loss=0.1)


def sleep_job(storage_url: str, results_dir: Path, *, dataset: str, data_dir: Path, epoch_seconds: float) -> SleepJob:
    """A job as `search` makes one, with its default sampler and pruner; without tickets yet."""
    return SleepJob(
        storage_url=storage_url,
        study_name=STUDY_NAME,
        sampler="tpe",
        pruner="percentile",
        seed=0,
        tickets=range(0),
        deadline=None,
        dataset=dataset,
        data_dir=data_dir,
        max_params=DEFAULT_MAX_PARAMS,
        epochs=MAX_EPOCHS,
        precision="fp32",
        suggest_config=suggest_config,
        results_dir=results_dir,
        commit=code_commit(),
        epoch_seconds=epoch_seconds,
    )


def build_study(url: str, num_trials: int) -> None:
    """A study with so many complete trials, made without running them."""
    storage = open_storage(url, create=True)
    study = optuna.create_study(storage=storage, study_name=STUDY_NAME, direction="maximize")
    generator = random.Random(0)
    template = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(num_trials):
        drawn = template.ask()
        suggest_config(drawn, DEFAULT_MAX_PARAMS)
        value = 99.0 + generator.random() / 2
        study.add_trial(
            optuna.trial.create_trial(
                params=drawn.params,
                distributions=drawn.distributions,
                value=value,
                intermediate_values={epoch: value - 0.5 / epoch for epoch in range(1, MAX_EPOCHS + 1)},
                user_attrs={"ticket": drawn.number},
            )
        )
    storage.engine.dispose()
