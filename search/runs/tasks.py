"""What a worker computes of a search: a trial, and a further run of a leading one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from ..config import TrialConfig, derive_seed
from ..net.model_file import save_model
from ..settings import BEST_MODEL
from ..studies.facts import TrialFacts
from ..studies.job import Result, ShouldStop
from ..studies.space import SuggestConfig
from ..studies.study import StoredStudy, rank
from .models import model_path
from .validating import Validated, Validation, ValidationResources

LARGEST_NUMBER = 2**31 - 1  # of a trial


@dataclass(frozen=True, kw_only=True)
class SearchTask:
    """Computes a trial of a search.

    Attributes:
        seed: The search's.
        folder: Its results.
    """

    validation: Validation
    suggest_config: SuggestConfig
    seed: int
    search_name: str
    folder: Path

    def prepare(self, device: str) -> ValidationResources:
        return self.validation.prepare(device)

    def recover(self) -> None:
        self.validation.recover()

    def run(self, trial: optuna.Trial, resources: ValidationResources, should_stop: ShouldStop) -> Result:
        config = self.suggest_config(trial, self.validation.max_params)
        facts = TrialFacts.of(trial)
        assert facts.ticket is not None
        seed = derive_seed(self.seed, "trial", facts.ticket)
        validated = self.validation.run(trial, config, resources, seed=seed, should_stop=should_stop)

        def keep(search: StoredStudy) -> None:
            best = search.best_trial()
            if best is None or (validated.accuracy, -trial.number) > rank(best):
                self._save(trial.number, seed, config, validated, facts)

        return Result(value=validated.accuracy, keep=keep)

    def _save(self, number: int, seed: int, config: TrialConfig, validated: Validated, facts: TrialFacts) -> None:
        origin = self.validation.origin(
            config, seed, facts, study_name=self.search_name, trial=number, val_accuracy=validated.accuracy
        )
        save_model(self.folder / BEST_MODEL, validated.model, config.model, origin)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A leading trial, as its further runs need it."""

    config: TrialConfig
    params: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RerankTask:
    """Computes a further run of a leading trial.

    Attributes:
        candidates: By trial number.
        folder: The results of the search.
    """

    validation: Validation
    candidates: dict[int, Candidate]
    search_name: str
    folder: Path

    def prepare(self, device: str) -> ValidationResources:
        return self.validation.prepare(device)

    def recover(self) -> None:
        self.validation.recover()

    def run(self, trial: optuna.Trial, resources: ValidationResources, should_stop: ShouldStop) -> Result:
        number, run = trial.suggest_int("trial", 0, LARGEST_NUMBER), trial.suggest_int("run", 0, LARGEST_NUMBER)
        candidate = self.candidates[number]
        TrialFacts(searched_params=candidate.params).write(trial)
        seed = derive_seed(self.search_name, "rerank", run)  # all candidates' alike: they are compared in pairs
        try:
            validated = self.validation.run(trial, candidate.config, resources, seed=seed, should_stop=should_stop)
        except optuna.TrialPruned:  # it diverged: a result like any other, and the worst
            return Result(value=0.0)
        if run > 0:
            return Result(value=validated.accuracy)
        return Result(
            value=validated.accuracy, keep=lambda _: self._keep(number, seed, validated, TrialFacts.of(trial))
        )

    def _keep(self, number: int, seed: int, validated: Validated, facts: TrialFacts) -> None:
        """Saves the first further run's model, whatever it reached: the winner's is the one to use."""
        config = self.candidates[number].config
        origin = self.validation.origin(
            config, seed, facts, study_name=self.search_name, trial=number, val_accuracy=validated.accuracy
        )
        save_model(model_path(self.folder, number), validated.model, config.model, origin)
