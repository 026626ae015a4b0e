"""What a worker computes of a proof or its repetition: a configuration with one seed, on the test images."""

from dataclasses import dataclass
from pathlib import Path

import optuna

from ..config import TrialConfig
from ..net.model_file import save_model
from ..studies.facts import TrialFacts
from ..studies.job import Result, ShouldStop
from ..studies.plan import GivenPlan
from ..studies.study import StoredStudy
from .looks import record_look
from .testing import LARGEST_SEED, FinalResources, FinalResult, FinalTest


@dataclass(frozen=True, kw_only=True)
class SeedTask:
    """Computes a seed of a verification or a reproduction.

    Attributes:
        folder: Where its looks at the test images are put on record.
        kept_seed: The seed whose model is kept, whatever it reaches; None for none.
        model_path: Where.
    """

    test: FinalTest
    config: TrialConfig
    study_name: str
    folder: Path
    kept_seed: int | None = None
    model_path: Path | None = None

    def prepare(self, device: str) -> FinalResources:
        return self.test.prepare(device)

    def recover(self) -> None:
        self.test.recover()

    def run(self, trial: optuna.Trial, resources: FinalResources, should_stop: ShouldStop) -> Result:
        seed = trial.suggest_int("seed", 0, LARGEST_SEED)
        result = self.test.run(trial, self.config, resources, seed=seed, should_stop=should_stop)

        def keep(stored: StoredStudy) -> None:
            record_look(stored, trial, self.config, self.folder)
            if seed == self.kept_seed and result.model is not None:
                self._save(seed, result, TrialFacts.of(trial))

        return Result(value=result.evaluation.accuracy, keep=keep)

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
