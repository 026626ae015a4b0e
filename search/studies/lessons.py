"""What a sampler that models all of a search learns from: how good each of its trials is, or would have been.

Optuna's Gaussian process knows complete trials alone, by their accuracies. Here it is told of more:

- How good a trial is, is minus the logarithm of its error: a run's noise is about the same share of that everywhere,
  and the differences among good trials are not lost beside those among bad ones. How bad a bad one is does not matter.
- What was pruned counts as if its error had shrunk from then on as those of complete trials have on median.
- What the study that this one was warm-started from knows, as long as that is more. Its errors are scaled by those of
  the configurations that both have trained.
"""

import copy
import math
import statistics
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState

LEAST_ERROR = 0.005  # percent: the logarithm needs one
WORST = 1.0  # the most by which a trial counts as worse than the median: 2.7 times its error


def lessons(trials: Sequence[FrozenTrial], neighbours: Sequence[FrozenTrial] = ()) -> list[FrozenTrial]:
    """Complete trials whose values say how good they are.

    Args:
        trials: Of the study itself.
        neighbours: Of the study that it was warm-started from.
    """
    own, theirs = _ended(trials), _ended(neighbours)
    if len(own) < len(theirs):
        own += _scaled(theirs, own)
    if own:
        floor = statistics.median(trial.values[0] for trial in own) - WORST
        for trial in own:
            trial.value = max(floor, trial.values[0])
    return own


def goodness(accuracy: float) -> float:
    """Of an accuracy in percent."""
    return -math.log(max(LEAST_ERROR, 100 - accuracy))


def _ended(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Copies of the complete trials, and of those pruned, as they would have ended."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    ended = [_told(trial, goodness(trial.values[0])) for trial in complete]
    for trial in trials:
        epoch = trial.last_step if trial.state == TrialState.PRUNED else None
        gains = [
            goodness(each.values[0]) - goodness(each.intermediate_values[epoch])
            for each in complete
            if epoch is not None and epoch in each.intermediate_values
        ]
        if epoch is not None and gains:
            ended.append(_told(trial, goodness(trial.intermediate_values[epoch]) + statistics.median(gains)))
    return ended


def _scaled(theirs: Sequence[FrozenTrial], own: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """As they would do here; none, as long as no configuration is known in both studies."""
    known = [(trial.params, trial.values[0]) for trial in theirs]
    offsets = [trial.values[0] - value for trial in own for params, value in known if params == trial.params]
    if not offsets:
        return []
    return [_told(trial, trial.values[0] + statistics.median(offsets)) for trial in theirs]


def _told(trial: FrozenTrial, value: float) -> FrozenTrial:
    told = copy.copy(trial)
    told.state, told.value = TrialState.COMPLETE, value
    return told
