"""Adds what workers would have recorded, without training."""

from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from search.net.crops import ALL_CROPS
from search.runs.reranking import open_rerank_study
from search.runs.rungs import RUNGS
from search.runs.standings import trials_to_rerank
from search.runs.tasks import LARGEST_NUMBER
from search.runs.testing import LARGEST_SEED
from search.studies.study import StoredStudy

TRAINED_WITH = {"commit": "0123abc", "versions": {"python": "3.12.3", "torch": "2.14.1"}}


def open_reranking(search: StoredStudy, num_leading: int) -> StoredStudy:
    """The study of its leading trials' further runs, of which there are none yet."""
    return open_rerank_study(search, num_leading, trials_to_rerank(search, num_leading))


def add_runs(reranking: StoredStudy, trial: FrozenTrial, *accuracies: float) -> None:
    for run, accuracy in enumerate(accuracies):
        reranking.study.add_trial(
            optuna.trial.create_trial(
                value=accuracy,
                params={"trial": trial.number, "run": run},
                distributions={
                    "trial": IntDistribution(0, LARGEST_NUMBER),
                    "run": IntDistribution(0, LARGEST_NUMBER),
                },
                user_attrs={"searched_params": trial.params},
            )
        )


def add_seed(
    stored: StoredStudy,
    seed: int,
    state: TrialState = TrialState.COMPLETE,
    *,
    errors: int | None = 60,
    rung: str | None = None,
) -> None:
    """A seed of so many errors, as a worker records it in its study.

    Args:
        errors: None where it was cut off before it was measured.
        rung: Of a ladder.
    """
    attributes: dict[str, Any] = {"device": "cpu", "precision": "fp32", **TRAINED_WITH}
    if errors is not None:
        one_view = min(errors + 10, 10_000)
        attributes |= {"errors": errors, "errors_one_view": one_view, "num_views": len(ALL_CROPS), "num_images": 10_000}
    distributions = {"seed": IntDistribution(0, LARGEST_SEED), "rung": CategoricalDistribution(tuple(RUNGS))}
    params = {"seed": seed} if rung is None else {"rung": rung, "seed": seed}
    stored.study.add_trial(
        optuna.trial.create_trial(
            state=state,
            value=100 * (10_000 - (errors or 0)) / 10_000 if state == TrialState.COMPLETE else None,
            params=params,
            distributions={name: distributions[name] for name in params},
            user_attrs=attributes,
        )
    )
