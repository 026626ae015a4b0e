"""What a sampler learns from: how good every trial is, or would have been."""

import math

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from search.studies.lessons import WORST, goodness, lessons


def trial(x: float, value: float | None, *curve: float, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    return optuna.create_trial(
        params={"x": x},
        distributions={"x": FloatDistribution(0, 1)},
        value=value,
        state=state,
        intermediate_values=dict(enumerate(curve, start=1)),
    )


def pruned(x: float, *curve: float) -> FrozenTrial:
    return trial(x, None, *curve, state=TrialState.PRUNED)


def errors(told: list[FrozenTrial]) -> list[float]:
    """In percent, by what is told of each trial."""
    return [math.exp(-each.values[0]) for each in told]


def test_an_error_that_is_half_as_large_is_as_much_better_wherever_it_is() -> None:
    assert (
        goodness(99.5) - goodness(99.0) == pytest.approx(goodness(98.0) - goodness(96.0)) == pytest.approx(math.log(2))
    )
    assert math.isfinite(goodness(100.0))


def test_a_pruned_trial_counts_as_if_its_error_had_shrunk_as_those_of_complete_ones() -> None:
    complete = [trial(0.1, 99.0, 96.0, 98.0), trial(0.2, 98.0, 92.0, 97.0), trial(0.3, 99.0, 98.0, 98.5)]
    told = lessons([*complete, pruned(0.4, 95.0), pruned(0.5, 94.0, 98.2)])
    assert errors(told) == pytest.approx([1.0, 2.0, 1.0, 5.0 / 4, 1.8 * 2 / 3])  # to a quarter from the first epoch on
    assert {each.state for each in told} == {TrialState.COMPLETE}
    assert [each.params["x"] for each in told] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_how_bad_a_bad_trial_is_does_not_matter() -> None:
    told = lessons([trial(0.1, 99.0), trial(0.2, 98.0), trial(0.3, 97.0), trial(0.4, 80.0), trial(0.5, 10.0)])
    assert errors(told) == pytest.approx([1.0, 2.0, 3.0, 3 * math.exp(WORST), 3 * math.exp(WORST)])


def test_what_was_pruned_before_any_trial_ended_and_what_failed_or_runs_teaches_nothing() -> None:
    others = [
        trial(0.1, None, 90.0, state=state) for state in (TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING)
    ]
    assert lessons([pruned(0.1, 95.0), pruned(0.2), *others]) == []


def test_a_neighbour_teaches_what_is_not_known_yet_scaled_by_what_both_have_trained() -> None:
    theirs = [trial(0.1, 98.0), trial(0.2, 96.0), trial(0.3, 98.4), trial(0.4, 97.0)]
    own = [trial(0.2, 98.0), trial(0.1, 99.0)]  # half the errors
    assert errors(lessons(own, theirs)) == pytest.approx([2.0, 1.0, 1.0, 2.0, 0.8, 1.5])


def test_a_neighbour_of_which_nothing_is_known_here_teaches_nothing_nor_does_one_that_knows_no_more() -> None:
    theirs = [trial(0.1, 98.0), trial(0.2, 96.0)]
    assert lessons([], theirs) == []
    assert errors(lessons([trial(0.3, 99.0)], theirs)) == pytest.approx([1.0])
    assert len(lessons([trial(0.1, 99.0)], theirs)) == 3
    assert len(lessons([trial(0.1, 99.0), trial(0.5, 98.0)], theirs)) == 2


def test_what_is_told_changes_no_trial() -> None:
    own, theirs = [trial(0.1, 99.0, 98.0), pruned(0.2, 97.0)], [trial(0.1, 98.0), trial(0.2, 97.0), trial(0.3, 96.0)]
    lessons(own, theirs)
    assert [each.value for each in (*own, *theirs)] == [99.0, None, 98.0, 97.0, 96.0]
    assert own[1].state == TrialState.PRUNED
