"""The rungs of the ladder, and how one is computed with one seed."""

from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from ..config import AugmentConfig, TrialConfig
from ..net.train import evaluate
from ..proof.ledger import LADDER_SEEDS
from ..studies.facts import TrialFacts
from ..studies.job import Result, ShouldStop
from ..studies.plan import GivenPlan
from .looks import record_look
from .testing import LARGEST_SEED, FinalResources, FinalTest

SOME_DROPOUT = 0.05  # where the winner has none, so that the ladder has the rung

RUNGS = {
    "plain": (),
    "+ batch norm": ("norm",),
    "+ dropout": ("norm", "dropout"),
    "+ augmentation (all)": ("norm", "dropout", "augmentation"),
    "all but batch norm": ("dropout", "augmentation"),
    "all but dropout": ("norm", "augmentation"),
    # all but augmentation is the third rung
}


def rung_config(config: TrialConfig, methods: tuple[str, ...]) -> TrialConfig:
    """The configuration with these methods alone, of "norm", "dropout" and "augmentation"."""
    model = replace(
        config.model,
        norm="norm" in methods,
        dropout=(config.model.dropout or SOME_DROPOUT) if "dropout" in methods else 0.0,
    )
    return replace(config, model=model, augment=config.augment if "augmentation" in methods else AugmentConfig())


@dataclass(frozen=True, kw_only=True)
class RungTask:
    """Computes a rung with one seed.

    Attributes:
        folder: Where its looks at the test images are put on record.
    """

    test: FinalTest
    config: TrialConfig
    folder: Path

    def prepare(self, device: str) -> FinalResources:
        return self.test.prepare(device)

    def recover(self) -> None:
        self.test.recover()

    def run(self, trial: optuna.Trial, resources: FinalResources, should_stop: ShouldStop) -> Result:
        rung, seed = trial.suggest_categorical("rung", list(RUNGS)), trial.suggest_int("seed", 0, LARGEST_SEED)
        config = rung_config(self.config, RUNGS[rung])
        TrialFacts(num_params=config.model.num_params).write(trial)
        tested = self.test.run(trial, config, resources, seed=seed, should_stop=should_stop)
        if tested.model is not None:
            on_training = evaluate(tested.model, resources.training, resources.runtime)
            TrialFacts(train_accuracy=on_training.accuracy).write(trial)
        return Result(
            value=tested.evaluation.accuracy, keep=lambda stored: record_look(stored, trial, config, self.folder)
        )


def runs_of(num_seeds: int) -> GivenPlan:
    """Every rung with every seed, each rung once before any again."""
    seeds = range(LADDER_SEEDS, LADDER_SEEDS + num_seeds)
    return GivenPlan(runs=tuple({"rung": rung, "seed": seed} for seed in seeds for rung in RUNGS))
