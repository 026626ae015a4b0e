"""What a worker computes: a trial of a search, a further run, a seed of a proof."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from search.config import TrialConfig, derive_seed
from search.net.model_file import save_model
from search.runs.models import BEST_MODEL, model_path
from search.runs.standings import NUM_RUNS
from search.runs.testing import LARGEST_SEED, FinalResources, FinalResult, FinalTest
from search.runs.validating import Validated, Validation, ValidationResources
from search.studies.facts import TrialFacts
from search.studies.job import Result, ShouldStop
from search.studies.plan import GivenPlan
from search.studies.space import SuggestConfig
from search.studies.study import rank

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

        def keep(best: FrozenTrial | None) -> None:
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
    seed: int  # of the searched run
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
        number, run = trial.suggest_int("trial", 0, LARGEST_NUMBER), trial.suggest_int("run", 0, NUM_RUNS - 1)
        candidate = self.candidates[number]
        TrialFacts(searched_params=candidate.params).write(trial)
        seed = derive_seed(candidate.seed, "rerank", run)
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


@dataclass(frozen=True, kw_only=True)
class SeedTask:
    """Computes a seed of a verification or a reproduction.

    Attributes:
        kept_seed: The seed whose model is kept, whatever it reaches; None for none.
        model_path: Where.
    """

    test: FinalTest
    config: TrialConfig
    study_name: str
    kept_seed: int | None = None
    model_path: Path | None = None

    def prepare(self, device: str) -> FinalResources:
        return self.test.prepare(device)

    def recover(self) -> None:
        self.test.recover()

    def run(self, trial: optuna.Trial, resources: FinalResources, should_stop: ShouldStop) -> Result:
        seed = trial.suggest_int("seed", 0, LARGEST_SEED)
        result = self.test.run(trial, self.config, resources, seed=seed, should_stop=should_stop)
        value = result.evaluation.accuracy
        if seed != self.kept_seed or result.model is None:
            return Result(value=value)
        return Result(value=value, keep=lambda _: self._save(seed, result, TrialFacts.of(trial)))

    def _save(self, seed: int, result: FinalResult, facts: TrialFacts) -> None:
        assert self.model_path is not None
        assert result.model is not None
        origin = self.test.origin(
            self.config,
            seed,
            facts,
            study_name=self.study_name,
            test_accuracy=result.evaluation.accuracy,
        )
        save_model(self.model_path, result.model, self.config.model, origin)


def seeds_plan(seeds: range) -> GivenPlan:
    """A run for each of these seeds."""
    return GivenPlan(runs=tuple({"seed": seed} for seed in seeds))
