"""Studies whose trials only sleep: everything that a search does, except to train."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from search.config import DEFAULT_MAX_PARAMS, MAX_EPOCHS
from search.data import Split, load_search_splits
from search.storage import open_storage
from search.study import make_pruner
from space import suggest_config

STUDY_NAME = "sleep"


@dataclass(frozen=True, kw_only=True)
class SleepJob:
    """Trials that do everything that a search's trials do, except to train.

    Attributes:
        epoch_seconds: How long each epoch sleeps.
    """

    storage_url: str
    study_name: str
    tickets: range
    epoch_seconds: float
    dataset: str
    data_dir: Path
    sampler: str = "tpe"
    seed: int = 0
    epochs: int = MAX_EPOCHS
    precision: str = "fp32"

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        return {}

    def expired(self) -> bool:
        return False

    def prepare(self, device: str) -> tuple[Split, Split]:
        return load_search_splits(self.dataset, self.data_dir)

    def run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        storage: RDBStorage,
        resources: tuple[Split, Split],
        should_stop: Callable[[], bool],
    ) -> None:
        study.pruner = make_pruner("percentile")
        suggest_config(trial, DEFAULT_MAX_PARAMS)
        slept = 0.0
        for epoch in range(1, self.epochs + 1):
            start = time.monotonic()
            time.sleep(self.epoch_seconds)
            slept += time.monotonic() - start
            trial.report(99.0 + epoch / 100, step=epoch)
            for key in ("epochs", "seconds", "train_loss", "val_loss"):
                trial.set_user_attr(key, epoch)
            trial.should_prune()  # asked as a search asks; the sleep goes on, so that all trials are as long
        trial.set_user_attr("slept", slept)
        study.tell(trial, 99.0)


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
