"""Totals of a study's trials: by outcome, in epochs, and in time."""

from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from search.show.totals import busy_seconds, count_epochs, count_trials, seconds_left
from search.studies.facts import DIVERGED, OVER_BUDGET
from search.studies.study import StoredStudy

MIDNIGHT = datetime(2026, 1, 1)
STATES = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
NUMBERS = count()


def make_trial(state: TrialState, start: float = 0, wall: float = 0, **user_attrs: object) -> FrozenTrial:
    """A trial that started `start` seconds after midnight, and whose end was noted `wall` seconds later."""
    begun = MIDNIGHT + timedelta(seconds=start)
    number = next(NUMBERS)
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=98.0 if state == TrialState.COMPLETE else None,
        datetime_start=begun,
        datetime_complete=begun + timedelta(seconds=wall) if state.is_finished() else None,
        params={},
        distributions={},
        user_attrs=user_attrs,
        system_attrs={},
        intermediate_values={},
    )


def trained(state: TrialState, epochs: int, seconds: float) -> FrozenTrial:
    return make_trial(state, epochs=epochs, seconds=seconds)


# Trials and epochs


def test_the_total_counts_trials_that_reached_an_outcome(search_study: StoredStudy) -> None:
    counts = count_trials(search_study.trials())
    assert (counts.total, counts.complete, counts.pruned) == (3, 2, 1)
    assert (counts.interrupted, counts.failed) == (1, 0)


def test_what_was_interrupted_is_counted_apart_from_what_failed() -> None:
    trials = [make_trial(TrialState.FAIL), make_trial(TrialState.FAIL, fail_reason="OutOfMemoryError: 12 GB")]
    trials += [make_trial(TrialState.FAIL, fail_reason="RuntimeError: no")]
    counts = count_trials(trials)
    assert (counts.interrupted, counts.failed, counts.total) == (1, 2, 0)


def test_trials_of_another_tool_that_failed_are_no_interruptions_of_ours() -> None:
    counts = count_trials([make_trial(TrialState.FAIL, epochs="many")])
    assert (counts.interrupted, counts.failed) == (0, 1)


def test_only_pruned_trials_save_epochs(search_study: StoredStudy) -> None:
    counts = count_epochs(search_study.trials(), epochs=4)
    assert (counts.trained, counts.saved_by_pruning) == (4 + 1 + 4 + 1 + 2, 3)


@pytest.mark.parametrize(("reason", "saved"), [(DIVERGED, 15), (OVER_BUDGET, 0)])
def test_a_trial_pruned_untrained_saves_all_its_epochs_unless_it_could_not_begin(reason: str, saved: int) -> None:
    counts = count_epochs([make_trial(TrialState.PRUNED, 0, 1, prune_reason=reason)], epochs=15)
    assert (counts.trained, counts.saved_by_pruning) == (0, saved)


# The time that has passed


def test_parallel_trials_are_busy_once() -> None:
    trials = [make_trial(TrialState.COMPLETE, 0, 10), make_trial(TrialState.PRUNED, 4, 8)]
    assert busy_seconds(trials) == 12


def test_pauses_between_commands_are_not_busy() -> None:
    trials = [make_trial(TrialState.COMPLETE, 5_000, 10), make_trial(TrialState.COMPLETE, 0, 10)]
    assert busy_seconds(trials) == 20


def test_an_interrupted_trial_is_busy_for_what_it_trained_not_until_it_was_noticed() -> None:
    assert busy_seconds([make_trial(TrialState.FAIL, 0, 86_400, seconds=7.0)]) == 7
    assert busy_seconds([make_trial(TrialState.FAIL, 0, 86_400)]) == 0


def test_nothing_run_is_zero_seconds() -> None:
    waiting = make_trial(TrialState.RUNNING, 0, 0)
    waiting.state, waiting.datetime_start = TrialState.WAITING, None
    assert busy_seconds([]) == busy_seconds([waiting]) == 0


@given(st.lists(st.tuples(st.sampled_from(STATES), st.integers(0, 60), st.integers(0, 20), st.integers(0, 20))))
def test_busy_seconds_are_those_in_which_any_trial_runs(plan: list[tuple[TrialState, int, int, int]]) -> None:
    trials = [make_trial(state, start, wall, seconds=seconds) for state, start, wall, seconds in plan]
    busy = {
        second
        for state, start, wall, seconds in plan
        for second in range(start, start + (wall if state in (TrialState.COMPLETE, TrialState.PRUNED) else seconds))
    }
    assert busy_seconds(trials) == len(busy)


# The time that is left


def test_time_left_is_unknown_before_the_first_epoch() -> None:
    assert seconds_left([], 10, 15, num_workers=1) is None
    assert seconds_left([make_trial(TrialState.RUNNING)], 10, 15, num_workers=1, num_later_runs=10) is None


def test_time_left_is_known_from_the_first_epoch_on() -> None:
    running = trained(TrialState.RUNNING, 1, 3.0)
    # 10 trials of 15 epochs of 3 seconds, but for the epoch that is done
    assert seconds_left([running], 10, 15, num_workers=1) == 3 * 149
    assert seconds_left([running], 10, 15, num_workers=2) == 3 * 149 / 2


def test_time_left_expects_trials_to_be_pruned_as_they_were() -> None:
    complete, pruned = trained(TrialState.COMPLETE, 15, 30.0), trained(TrialState.PRUNED, 5, 10.0)
    assert seconds_left([complete, pruned], 4, 15, num_workers=1) == 2 * 10 * 2


def test_a_running_trial_is_expected_to_go_on_to_its_end() -> None:
    pruned, running = trained(TrialState.PRUNED, 5, 10.0), trained(TrialState.RUNNING, 14, 28.0)
    assert seconds_left([pruned, running], 2, 15, num_workers=1) == 2  # it has outlived the pruned one


def test_no_time_is_left_at_the_end() -> None:
    assert seconds_left([trained(TrialState.COMPLETE, 15, 30.0)], 1, 15, num_workers=1) == 0


def test_the_last_trial_takes_as_long_however_many_workers_have_nothing_to_do() -> None:
    trials = [trained(TrialState.COMPLETE, 15, 30.0), trained(TrialState.RUNNING, 5, 10.0)]
    assert seconds_left(trials, 2, 15, num_workers=4) == 20


def test_the_measuring_after_the_last_epoch_is_part_of_a_run() -> None:
    complete = trained(TrialState.COMPLETE, 15, 30.0 + 6)  # two seconds an epoch, and six to measure all views
    assert seconds_left([complete], 2, 15, num_workers=1) == 36
    assert seconds_left([complete, trained(TrialState.RUNNING, 10, 20.0)], 2, 15, num_workers=1) == 10 + 6
    measuring = trained(TrialState.RUNNING, 15, 30.0)
    assert seconds_left([complete, measuring], 2, 15, num_workers=1) == 6
    many = [trained(TrialState.COMPLETE, 15, 36.0) for _ in range(9)]
    assert seconds_left([*many, measuring], 10, 15, num_workers=1) == pytest.approx(6)


def test_runs_that_follow_are_whole_ones() -> None:
    complete, pruned = trained(TrialState.COMPLETE, 15, 36.0), trained(TrialState.PRUNED, 5, 10.0)
    assert seconds_left([complete, pruned], 2, 15, num_workers=1, num_later_runs=10) == 360
    assert seconds_left([complete, pruned], 2, 15, num_workers=2, num_later_runs=10) == 180
    assert seconds_left([complete, pruned], 3, 15, num_workers=1, num_later_runs=10) == 360 + 23


@pytest.mark.parametrize("seconds", [20.0, 28.0, 300.0], ids=["faster than others", "as fast", "much slower"])
@pytest.mark.parametrize("num_workers", [1, 4])
def test_time_is_left_while_a_trial_still_trains(seconds: float, num_workers: int) -> None:
    trials = [trained(TrialState.COMPLETE, 15, 30.0), trained(TrialState.RUNNING, 14, seconds)]
    left = seconds_left(trials, 2, 15, num_workers)
    assert left is not None
    assert left >= seconds / 14  # its last epoch, at its own pace


SECONDS = st.floats(0.1, 1_000)


@given(
    complete=st.lists(SECONDS, max_size=4),
    pruned=st.lists(st.tuples(st.integers(1, 14), SECONDS), max_size=4),
    running=st.lists(st.tuples(st.integers(1, 14), SECONDS), min_size=1, max_size=4),
    num_not_begun=st.integers(0, 5),
    num_later_runs=st.integers(0, 5),
)
def test_time_left_is_never_less_than_the_slowest_running_trial_needs_nor_more_for_more_workers(
    complete: list[float],
    pruned: list[tuple[int, float]],
    running: list[tuple[int, float]],
    num_not_begun: int,
    num_later_runs: int,
) -> None:
    trials = [trained(TrialState.COMPLETE, 15, 15 * pace) for pace in complete]
    trials += [trained(TrialState.PRUNED, epochs, epochs * pace) for epochs, pace in pruned]
    trials += [trained(TrialState.RUNNING, epochs, epochs * pace) for epochs, pace in running]
    planned = len(trials) + num_not_begun
    alone, together, without_more = (
        seconds_left(trials, planned, 15, num_workers=1, num_later_runs=num_later_runs),
        seconds_left(trials, planned, 15, num_workers=4, num_later_runs=num_later_runs),
        seconds_left(trials, planned, 15, num_workers=1),
    )
    assert alone is not None
    assert together is not None
    assert without_more is not None
    assert max((15 - epochs) * pace for epochs, pace in running) <= together * (1 + 1e-9)
    assert together <= alone
    assert without_more <= alone
