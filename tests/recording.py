"""Adds what workers would have recorded, without training."""

import optuna
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState

from search.net.crops import ALL_CROPS
from search.runs.standings import NUM_RUNS
from search.runs.tasks import LARGEST_NUMBER
from search.runs.testing import LARGEST_SEED
from search.studies.study import StoredStudy

TRAINED_WITH = {"commit": "0123abc", "versions": {"python": "3.12.3", "torch": "2.14.1"}}


def add_runs(reranking: StoredStudy, trial: FrozenTrial, *accuracies: float) -> None:
    for run, accuracy in enumerate(accuracies):
        reranking.study.add_trial(
            optuna.trial.create_trial(
                value=accuracy,
                params={"trial": trial.number, "run": run},
                distributions={
                    "trial": IntDistribution(0, LARGEST_NUMBER),
                    "run": IntDistribution(0, NUM_RUNS - 1),
                },
                user_attrs={"searched_params": trial.params},
            )
        )


def add_seed(
    verification: StoredStudy, seed: int, state: TrialState = TrialState.COMPLETE, *, errors: int = 60
) -> None:
    """A seed of so many errors, as a worker records it."""
    attributes = {
        "errors": errors,
        "errors_one_view": min(errors + 10, 10_000),
        "num_views": len(ALL_CROPS),
        "num_images": 10_000,
        "device": "cpu",
        "precision": "fp32",
    }
    verification.study.add_trial(
        optuna.trial.create_trial(
            state=state,
            value=100 * (10_000 - errors) / 10_000 if state == TrialState.COMPLETE else None,
            params={"seed": seed},
            distributions={"seed": IntDistribution(0, LARGEST_SEED)},
            user_attrs={**attributes, **TRAINED_WITH},
        )
    )
