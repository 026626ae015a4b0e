"""What a sampler learns from: how good every trial is, or would have been."""

import math

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from search.studies.facts import DIVERGED, TrialFacts
from search.studies.lessons import MOST, WORST, goodness, lessons

SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}


def study(*trials: FrozenTrial) -> list[FrozenTrial]:
    """The trials with their tickets, the first of which was interrupted, and tried again at last."""
    for ticket, each in enumerate(trials):
        each.number = ticket or len(trials)
        each.set_user_attr("ticket", ticket)
    return list(trials)


def trial(x: float, value: float | None, *curve: float, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    return optuna.create_trial(
        params={"x": x},
        distributions=SPACE,
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
    for accuracy, worse in ((99.5, 99.0), (98.0, 96.0)):
        assert goodness(accuracy) - goodness(worse) == pytest.approx(math.log(2))


def test_a_pruned_trial_counts_as_if_its_error_had_shrunk_as_those_of_complete_ones() -> None:
    complete = [trial(0.1, 99.0, 96.0, 98.0), trial(0.2, 98.0, 92.0, 97.0), trial(0.3, 99.0, 98.0, 98.5)]
    told = lessons([*complete, pruned(0.4, 95.0), pruned(0.5, 94.0, 98.2)], SPACE)
    assert errors(told) == pytest.approx([1.0, 2.0, 1.0, 5.0 / 4, 1.8 * 2 / 3])  # to a quarter from the first epoch on
    assert {each.state for each in told} == {TrialState.COMPLETE}
    assert [each.params["x"] for each in told] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_how_bad_a_bad_trial_is_does_not_matter() -> None:
    told = lessons([trial(0.1, 99.0), trial(0.2, 98.0), trial(0.3, 97.0), trial(0.4, 80.0), trial(0.5, 10.0)], SPACE)
    assert errors(told) == pytest.approx([1.0, 2.0, 3.0, 3 * math.exp(WORST), 3 * math.exp(WORST)])


@pytest.mark.parametrize("curve", [(), (98.6,)])
def test_what_diverged_is_bad_however_well_it_began(curve: tuple[float, ...]) -> None:
    diverged = pruned(0.9, *curve)
    diverged.user_attrs = TrialFacts(prune_reason=DIVERGED).as_attributes()
    assert errors(lessons([trial(0.1, 99.0, 98.0), diverged], SPACE)) == pytest.approx([1.0, math.exp(WORST)])
    assert lessons([diverged], SPACE) == []


def test_a_trial_without_an_error_is_not_a_world_apart_from_one_with_one() -> None:
    assert errors(lessons([trial(0.1, 100.0), trial(0.2, 99.0), trial(0.3, 98.0)], SPACE)) == pytest.approx([0.5, 1, 2])
    assert errors(lessons([trial(0.1, 100.0)], SPACE)) == pytest.approx([0.005])


def test_what_has_drawn_something_else_teaches_nothing() -> None:
    wider = optuna.create_trial(params={"x": 0.5}, distributions={"x": FloatDistribution(0, 2)}, value=99.0)
    other = optuna.create_trial(params={"y": 0.5}, distributions={"y": FloatDistribution(0, 1)}, value=99.0)
    assert len(lessons([trial(0.1, 98.0), wider, other], SPACE)) == 1


def test_what_was_pruned_before_any_trial_ended_and_what_failed_or_runs_teaches_nothing() -> None:
    others = [
        trial(0.1, None, 90.0, state=state) for state in (TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING)
    ]
    assert lessons([pruned(0.1, 95.0), pruned(0.2), *others], SPACE) == []


def test_a_neighbour_teaches_as_much_as_is_lacking_scaled_by_the_trial_that_nobody_has_chosen() -> None:
    theirs = study(trial(0.1, 98.0), trial(0.2, 96.0), pruned(0.5, 90.0), trial(0.3, 98.4, 92.0), trial(0.4, 97.0))
    own = study(trial(0.1, 99.0), trial(0.2, 99.0))  # half the errors, as far as the first one tells
    told = lessons(own, SPACE, theirs)
    assert [each.params["x"] for each in told] == [0.1, 0.2, 0.1, 0.2, 0.5]
    assert errors(told) == pytest.approx([1.0, 1.0, 1.0, 2.0, 10.0 / 5 / 2])  # the pruned one's shrinks to a fifth


def test_a_neighbour_whose_first_trial_is_not_known_here_teaches_nothing_nor_does_one_that_knows_no_more() -> None:
    theirs = study(trial(0.1, 98.0), trial(0.2, 96.0))
    assert lessons([], SPACE, theirs) == []
    assert errors(lessons(study(trial(0.2, 99.0)), SPACE, theirs)) == pytest.approx([1.0])
    assert len(lessons(study(trial(0.1, 99.0)), SPACE, theirs)) == 2
    assert len(lessons(study(trial(0.1, 99.0), trial(0.5, 98.0)), SPACE, theirs)) == 2


def test_what_is_told_changes_no_trial_and_has_none_of_its_constraints() -> None:
    own = study(trial(0.1, 99.0, 98.0), pruned(0.2, 97.0))
    theirs = study(trial(0.1, 98.0), trial(0.3, 96.0), trial(0.4, 95.0))
    own[0].system_attrs = {"constraints": [-7]}
    told = lessons(own, SPACE, theirs)
    assert [each.value for each in (*own, *theirs)] == [99.0, None, 98.0, 96.0, 95.0]
    assert own[1].state == TrialState.PRUNED
    assert [each.system_attrs for each in told] == [{}] * 3


def test_of_very_many_trials_the_better_ones_teach_and_the_latest_of_the_others() -> None:
    good = [trial(0.1, 99.5) for _ in range(MOST // 2)]
    bad = [trial(0.2, 99.0), trial(0.2, 99.1), *(trial(0.3, 99.0) for _ in range(MOST // 2))]
    own, theirs = study(*good, *bad), study(trial(0.1, 98.0), *(trial(0.4, 97.0) for _ in range(2 * MOST)))
    assert [each.params["x"] for each in lessons(own, SPACE, theirs)] == [0.1] * (MOST // 2) + [0.3] * (MOST // 2)


def test_a_neighbour_of_very_many_trials_teaches_no_more_than_is_told_in_all() -> None:
    theirs = study(trial(0.1, 98.0), *(trial(0.4, 97.0) for _ in range(2 * MOST)))
    told = lessons(study(trial(0.1, 99.0), trial(0.2, 99.0)), SPACE, theirs)
    assert [each.params["x"] for each in told] == [0.1, 0.2, 0.1] + [0.4] * (MOST - 3)
