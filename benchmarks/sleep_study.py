"""Studies whose trials only sleep: everything that a search's trials do, except to train and to measure."""

import random
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna

from search.config import MAX_EPOCHS, TrialConfig
from search.net.memory import peak_memory_mb
from search.net.model import TinyCNN, num_params
from search.net.model_file import save_model
from search.proof.records import ModelOrigin
from search.runs.validating import Validation, ValidationResources
from search.settings import BEST_MODEL
from search.studies.facts import TrialFacts
from search.studies.job import Result, ShouldStop, TrialInterruptedError
from search.studies.storage import open_storage
from search.studies.study import StoredStudy, rank
from space import suggest_config

STUDY_NAME = "sleep"
ACCURACY = 99.9  # above all that is recorded: no trial is pruned, and the first of a measurement has its model saved
LOSS = 0.1


@dataclass(frozen=True, kw_only=True)
class SleepTask:
    """Does in a trial what `search.runs.searching.SearchTask` does, but sleeps where that trains and measures.

    Attributes:
        folder: Gets the best model.
        epoch_seconds: How long each epoch sleeps.
    """

    validation: Validation
    folder: Path
    epoch_seconds: float

    def prepare(self, device: str) -> ValidationResources:
        return self.validation.prepare(device)

    def recover(self) -> None:
        self.validation.recover()

    def run(self, trial: optuna.Trial, resources: ValidationResources, should_stop: ShouldStop) -> Result:
        config = suggest_config(trial, self.validation.max_params)
        runtime = resources.runtime
        TrialFacts(seed=trial.number, device=runtime.device.type, precision=runtime.precision).write(trial)
        model = TinyCNN(config.model)
        count = num_params(model)
        TrialFacts(drawn=True, channels=config.model.channels, num_params=count).write(trial)
        trial.set_constraint("num_params", count - self.validation.max_params)
        start = time.monotonic()
        for epoch in range(1, self.validation.epochs + 1):
            time.sleep(self.epoch_seconds)
            _report_epoch(trial, epoch, time.monotonic() - start)
            if epoch == self.validation.epochs:
                break
            if should_stop():
                raise TrialInterruptedError
            if trial.should_prune():
                raise optuna.TrialPruned
        TrialFacts(val_loss=LOSS, seconds=round(time.monotonic() - start, 2)).write(trial)
        return Result(value=ACCURACY, keep=partial(self._keep, trial, config, model))

    def _keep(self, trial: optuna.Trial, config: TrialConfig, model: TinyCNN, stored: StoredStudy) -> None:
        best = stored.best_trial()
        if best is not None and (ACCURACY, -trial.number) <= rank(best):
            return
        facts = TrialFacts.of(trial)
        origin = ModelOrigin(
            study_name=STUDY_NAME,
            trial=trial.number,
            seed=trial.number,
            val_accuracy=ACCURACY,
            num_params=config.model.num_params,
            epochs=self.validation.epochs,
            dataset=self.validation.dataset,
            precision=self.validation.precision,
            commit=facts.commit or "unknown",
            versions=facts.versions,
            config=config,
        )
        save_model(self.folder / BEST_MODEL, model, config.model, origin.model_dump_json())


def _report_epoch(trial: optuna.Trial, epoch: int, seconds: float) -> None:
    trial.report(ACCURACY, step=epoch)
    TrialFacts(
        epochs=epoch,
        seconds=round(seconds, 2),
        train_loss=LOSS,
        val_loss=LOSS,
        worker_peak_memory_mb=peak_memory_mb(),
    ).write(trial)


def build_study(url: str, num_trials: int, max_params: int) -> None:
    """A study with so many complete trials, made without running them."""
    storage = open_storage(url, create=True)
    study = optuna.create_study(storage=storage, study_name=STUDY_NAME, direction="maximize")
    generator = random.Random(0)
    template = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(num_trials):
        drawn = template.ask()
        suggest_config(drawn, max_params)
        value = 99.0 + generator.random() / 2
        study.add_trial(
            optuna.trial.create_trial(
                params=drawn.params,
                distributions=drawn.distributions,
                value=value,
                intermediate_values={epoch: value - 0.5 / epoch for epoch in range(1, MAX_EPOCHS + 1)},
                user_attrs=TrialFacts(ticket=drawn.number).as_attributes(),
            )
        )
    storage.engine.dispose()
