"""The tables of samplers and pruners: what can be chosen, by name. Imports Optuna only when one is made."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..config import ExplainedError

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

# From epoch 5 on, a trial is pruned when its best epoch so far is below that of three quarters of the complete trials
# at the same epoch, those aside that a warm start has brought. Of the pruners replayed on recorded curves, this one
# saved most without losing more than a run's noise; in simulated searches, it earns (results/LOG.md).
PRUNER_PERCENTILE, PRUNER_STARTUP_TRIALS, PRUNER_WARMUP_EPOCHS = 75.0, 4, 5
# Until so many trials are known, it draws at random. In a few simulated searches, 20 were no worse than 10, and what
# they earned differed less from search to search (results/LOG.md).
GP_STARTUP_TRIALS = 20
SEED_RANGE = 2**32  # of a sampler's


class ChoiceError(ExplainedError):
    """There is no sampler or pruner of that name."""


def _tpe(seed: int) -> "BaseSampler":
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _random(seed: int) -> "BaseSampler":
    import optuna

    return optuna.samplers.RandomSampler(seed=seed)


def _gp(seed: int) -> "BaseSampler":
    from .optuna_private import GPSamplerOfAll

    return GPSamplerOfAll(seed=seed, n_startup_trials=GP_STARTUP_TRIALS)


def _percentile() -> "BasePruner":
    from .optuna_private import PercentilePrunerOfDrawn

    return PercentilePrunerOfDrawn(
        PRUNER_PERCENTILE, n_startup_trials=PRUNER_STARTUP_TRIALS, n_warmup_steps=PRUNER_WARMUP_EPOCHS
    )


def _none() -> "BasePruner":
    import optuna

    return optuna.pruners.NopPruner()


SAMPLERS: dict[str, Callable[[int], "BaseSampler"]] = {"tpe": _tpe, "gp": _gp, "random": _random}
PRUNERS: dict[str, Callable[[], "BasePruner"]] = {"percentile": _percentile, "none": _none}


def make_sampler(name: str, seed: int) -> "BaseSampler":
    """The sampler of that name.

    Raises:
        ChoiceError: If there is none.
    """
    if name not in SAMPLERS:
        raise ChoiceError(f"There is no sampler {name!r}. Known are: {', '.join(SAMPLERS)}.")
    return SAMPLERS[name](seed % SEED_RANGE)


def make_pruner(name: str) -> "BasePruner":
    """The pruner of that name.

    Raises:
        ChoiceError: If there is none.
    """
    if name not in PRUNERS:
        raise ChoiceError(f"There is no pruner {name!r}. Known are: {', '.join(PRUNERS)}.")
    return PRUNERS[name]()
