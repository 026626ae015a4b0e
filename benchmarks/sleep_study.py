"""Studies whose trials only sleep: everything that a search's trials do, except to train and to measure."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna

from benchmarks.light_study import ACCURACY, STUDY_NAME, sleep_epochs
from search.config import TrialConfig
from search.net.model import TinyCNN, num_params
from search.net.model_file import save_model
from search.proof.summaries import ModelOrigin
from search.runs.validating import Validation, ValidationResources
from search.settings import BEST_MODEL
from search.studies.facts import TrialFacts, network_facts
from search.studies.job import Result, ShouldStop
from search.studies.study import StoredStudy, rank
from space import suggest_config


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
        TrialFacts(drawn=True, num_params=count, **network_facts(config.model)).write(trial)
        trial.set_constraint("num_params", count - self.validation.max_params)
        sleep_epochs(trial, self.validation.epochs, self.epoch_seconds, should_stop)
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
