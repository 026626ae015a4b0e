"""The search space: the one file to edit between studies.

Every point is feasible: a trial draws the *shape* of a network (how many convolutions in each stage, of which
kind, how their widths relate), and `fit_channels` scales that shape to the largest network within the budget.
A study remembers a hash of this file's code and refuses to go on with another space.
"""

from dataclasses import replace

import optuna

from search.config import (
    DEFAULT_MAX_PARAMS,
    MAX_STAGE_BLOCKS,
    AugmentConfig,
    Block,
    ModelConfig,
    TrialConfig,
    fit_channels,
)

# The shape of the hand-tuned reference net, here 9,10 / 12,14 / 15,17 channels, and its recipe: every study's first
# trial.
REFERENCE: dict[str, int | float] = {
    "convs_1": 2,
    "convs_2": 2,
    "convs_3": 2,
    "separable_1": False,
    "separable_2": False,
    "separable_3": False,
    "residual": False,
    "widening_2": 1.45,
    "widening_3": 1.2,
    "growth": 1.15,
    "dropout": 0.0,
    "rotation": 10.0,
    "shift": 2.0,
    "distortion": 0.1,
    "lr": 0.015,
    "weight_decay": 0.01,
}


def suggest_config(trial: optuna.trial.BaseTrial, max_params: int = DEFAULT_MAX_PARAMS) -> TrialConfig:
    """Draws one configuration of at most `max_params` parameters.

    Every parameter is drawn in every trial, before anything else happens: samplers model parameters jointly
    only over those that all past trials have.
    """
    convs = [
        trial.suggest_int("convs_1", 1, MAX_STAGE_BLOCKS),
        trial.suggest_int("convs_2", 1, MAX_STAGE_BLOCKS),
        trial.suggest_int("convs_3", 1, MAX_STAGE_BLOCKS),
    ]
    separable = [
        trial.suggest_categorical("separable_1", [False, True]),
        trial.suggest_categorical("separable_2", [False, True]),
        trial.suggest_categorical("separable_3", [False, True]),
    ]
    residual = trial.suggest_categorical("residual", [False, True])
    widenings = [  # the mean width of a stage over that of the stage before
        1.0,
        trial.suggest_float("widening_2", 0.7, 2.5, log=True),
        trial.suggest_float("widening_3", 0.6, 3.0, log=True),
    ]
    growth = trial.suggest_float("growth", 0.6, 1.7, log=True)  # the last width of a stage over its first
    dropout = trial.suggest_float("dropout", 0.0, 0.15, step=0.025)
    rotation = trial.suggest_float("rotation", 0.0, 20.0)  # degrees
    shift = trial.suggest_float("shift", 0.0, 3.0)  # pixels
    distortion = trial.suggest_float("distortion", 0.0, 0.25)  # scale and shear alike
    lr = trial.suggest_float("lr", 3e-3, 0.1, log=True)
    weight_decay = trial.suggest_float("weight_decay", 1e-3, 1e-1, log=True)
    separable[0] &= convs[0] > 1  # the very first convolution is dense
    blocks: tuple[Block, ...] = tuple("separable" if drawn else "dense" for drawn in separable)
    channels = fit_channels(_proportions(convs, widenings, growth), max_params, blocks)
    model = ModelConfig(channels=channels, blocks=blocks, dropout=dropout)
    return TrialConfig(
        model=replace(model, residual=residual and model.has_inner_blocks),
        augment=AugmentConfig(rotation=rotation, shift=shift, scale=distortion, shear=distortion),
        lr=lr,
        weight_decay=weight_decay,
    )


def reference_config(max_params: int = DEFAULT_MAX_PARAMS) -> TrialConfig:
    """The configuration that every study tries first."""
    return suggest_config(optuna.trial.FixedTrial(REFERENCE), max_params)


def _proportions(convs: list[int], widenings: list[float], growth: float) -> list[list[float]]:
    """Relative widths: stages widen by `widenings`, and each grows geometrically from first to last."""
    shape, level = [], 1.0
    for num_convs, widening in zip(convs, widenings, strict=True):
        level *= widening
        positions = [index / (num_convs - 1) if num_convs > 1 else 0.5 for index in range(num_convs)]
        shape.append([level * growth ** (position - 0.5) for position in positions])
    return shape
