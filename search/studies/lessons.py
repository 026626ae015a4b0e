"""What a sampler that models all of a search learns from: how good each of its trials is, or would have been.

Optuna's Gaussian process knows complete trials alone, by their accuracies. Here it is told of more:

- How good a trial is, is minus the logarithm of its error: a run's noise is about the same share of that everywhere,
  and the differences among good trials are not lost beside those among bad ones. How bad a bad one is does not matter.
- What was pruned counts as if its error had shrunk from then on as those of complete trials have on median; what
  diverged, as bad.
- What the study that this one was warm-started from knew: of its trials the first, as many as this one lacks of its
  own. Their errors are scaled by those of the first trial, which both have and nobody has chosen.

It is told of so many trials at most, for its time grows with the cube of their number.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import cache

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from .facts import DIVERGED

LEAST_ERROR = 0.005  # percent: the logarithm needs one
MOST = 200  # trials: a model of them takes a second, one of 1,000 ten (results/LOG.md)
WORST = 1.0  # the most by which a trial counts as worse than the median: 2.7 times its error


def lessons(
    trials: Sequence[FrozenTrial],
    space: Mapping[str, BaseDistribution],
    neighbours: Sequence[FrozenTrial] = (),
) -> list[FrozenTrial]:
    """Complete trials whose values say how good they are.

    Args:
        trials: Of the study itself.
        space: What is to be drawn: a trial that has drawn something else teaches nothing.
        neighbours: Of the study that it was warm-started from.
    """
    own, theirs = (_those_in(space, some) for some in (trials, neighbours))
    least = _least_error([*own, *theirs])
    known, foreign = _judged(own, least), _judged(theirs, least)
    lacking = max(0, min(len(foreign), MOST) - len(known))
    known = _most_telling(known) + _scaled(foreign, known)[:lacking]
    finite = [value for _, value in known if math.isfinite(value)]
    if not finite:
        return []
    floor = statistics.median(finite) - WORST
    return [
        optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=max(floor, value))
        for trial, value in known
    ]


def goodness(accuracy: float, least_error: float = LEAST_ERROR) -> float:
    """Of an accuracy in percent."""
    return -math.log(max(least_error, 100 - accuracy))


def _those_in(space: Mapping[str, BaseDistribution], trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [
        trial
        for trial in trials
        if all(trial.distributions.get(name) == distribution for name, distribution in space.items())
    ]


def _least_error(trials: Sequence[FrozenTrial]) -> float:
    """Of a trial without errors: half of the least that any other has, for a set of few images knows no less."""
    errors = (100 - trial.values[0] for trial in _complete(trials))
    return min((error for error in errors if error > 0), default=2 * LEAST_ERROR) / 2


def _complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value)
    ]


def _judged(trials: Sequence[FrozenTrial], least_error: float) -> list[tuple[FrozenTrial, float]]:
    """How good the complete trials are, and those that were pruned would have been."""
    complete = _complete(trials)

    @cache  # most trials are pruned at one of few epochs
    def gain(epoch: int) -> float | None:
        """How much better than at this epoch complete trials have become, on median."""
        gains = [
            goodness(each.values[0], least_error) - goodness(each.intermediate_values[epoch], least_error)
            for each in complete
            if epoch in each.intermediate_values
        ]
        return statistics.median(gains) if gains else None

    judged = [(trial, goodness(trial.values[0], least_error)) for trial in complete]
    for trial in trials:
        if trial.state != TrialState.PRUNED:
            continue
        epoch = trial.last_step
        if trial.user_attrs.get("prune_reason") == DIVERGED:
            judged.append((trial, -math.inf))
        elif epoch is not None and (gained := gain(epoch)) is not None:
            judged.append((trial, goodness(trial.intermediate_values[epoch], least_error) + gained))
    return judged


def _scaled(
    theirs: Sequence[tuple[FrozenTrial, float]], own: Sequence[tuple[FrozenTrial, float]]
) -> list[tuple[FrozenTrial, float]]:
    """As they would do here; none, as long as their first trial has not ended here."""
    first = min(theirs, key=_place, default=None)
    if first is None:
        return []
    here = [value - first[1] for trial, value in own if trial.params == first[0].params]
    if not here or not math.isfinite(here[0]):
        return []
    return sorted(((trial, value + here[0]) for trial, value in theirs), key=_place)


def _most_telling(judged: list[tuple[FrozenTrial, float]]) -> list[tuple[FrozenTrial, float]]:
    """The better half of as many as are told, and the latest of the others."""
    if len(judged) <= MOST:
        return judged
    ranked = sorted(judged, key=lambda each: -each[1])
    return [*ranked[: MOST // 2], *sorted(ranked[MOST // 2 :], key=_place)[-(MOST - MOST // 2) :]]


def _place(judged: tuple[FrozenTrial, float]) -> int:
    """A trial's ticket: one that was interrupted and tried again has a later number, and the same place."""
    place: int = judged[0].user_attrs.get("ticket", judged[0].number)
    return place
