"""Totals of a study's trials: by outcome, in epochs, and in time."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from optuna.trial import FrozenTrial, TrialState

from ..proof.summaries import EpochCounts, TrialCounts
from ..studies.facts import OVER_BUDGET, FactsError, TrialFacts
from ..studies.study import FINISHED


def count_trials(trials: Sequence[FrozenTrial]) -> TrialCounts:
    """Trials by outcome."""
    states = [trial.state for trial in trials]
    num_interrupted = sum(_was_interrupted(trial) for trial in trials)
    return TrialCounts(
        complete=states.count(TrialState.COMPLETE),
        pruned=states.count(TrialState.PRUNED),
        failed=states.count(TrialState.FAIL) - num_interrupted,
        interrupted=num_interrupted,
    )


def _was_interrupted(trial: FrozenTrial) -> bool:
    if trial.state != TrialState.FAIL:
        return False
    try:
        return TrialFacts.of(trial).was_interrupted(trial.state)
    except FactsError:  # another tool's
        return False


def count_epochs(trials: Iterable[FrozenTrial], epochs: int) -> EpochCounts:
    """Epochs trained, and those that pruned trials did not train, networks over the budget aside.

    Args:
        epochs: Of a trial that trains to its end.
    """
    trained = [(trial, TrialFacts.of(trial)) for trial in trials]
    return EpochCounts(
        trained=sum(facts.epochs for _, facts in trained),
        saved_by_pruning=sum(
            epochs - facts.epochs
            for trial, facts in trained
            if trial.state == TrialState.PRUNED and facts.prune_reason != OVER_BUDGET
        ),
    )


def busy_seconds(trials: Iterable[FrozenTrial]) -> float:
    """For how long at least one trial was running: the study's wall time, pauses between commands left out."""
    spans = sorted((trial.datetime_start, _end(trial)) for trial in trials if trial.datetime_start is not None)
    total, covered_to = timedelta(), datetime.min
    for start, end in spans:
        total += max(end - max(start, covered_to), timedelta())
        covered_to = max(covered_to, end)
    return total.total_seconds()


def _end(trial: FrozenTrial) -> datetime:
    assert trial.datetime_start is not None
    if trial.state in FINISHED and trial.datetime_complete is not None:
        return trial.datetime_complete
    # A dead worker's trial is failed whenever that is noticed; what it trained says how long it lived.
    return trial.datetime_start + timedelta(seconds=TrialFacts.of(trial).seconds)


def seconds_left(
    trials: Sequence[FrozenTrial], num_planned: int, epochs: int, num_workers: int, num_later_runs: int = 0
) -> float | None:
    """An estimate from the pace so far, for the whole command. None before any epoch.

    A run takes as long as complete ones took, what follows their last epoch (all views are measured) included; before
    there is one, as long as the epochs so far suggest. One that is under way takes no less than its own pace says.

    Args:
        num_planned: Trials in all.
        epochs: Of a trial that trains to its end.
        num_later_runs: Whole runs that follow these trials.
    """
    facts = {trial.number: TrialFacts.of(trial) for trial in trials}
    num_epochs = sum(each.epochs for each in facts.values())
    if num_epochs == 0:
        return None
    runs = [facts[trial.number] for trial in trials if trial.state == TrialState.COMPLETE]
    complete = [each for each in runs if each.epochs]
    whole_run = epochs * sum(each.seconds for each in facts.values()) / num_epochs
    if complete:
        whole_run = epochs * sum(each.seconds / each.epochs for each in complete) / len(complete)
    finished = [facts[trial.number] for trial in trials if trial.state in FINISHED]
    per_trial = sum(each.seconds for each in finished) / len(finished) if finished else whole_run
    # A running trial has outlived some that were pruned: it may well go on to the end.
    running = [facts[trial.number] for trial in trials if trial.state == TrialState.RUNNING]
    under_way = [_rest_of_run(each, epochs, whole_run) for each in running]
    not_begun = max(0, num_planned - len(finished) - len(running))
    work = sum(under_way) + not_begun * per_trial + num_later_runs * whole_run
    return max(work / max(1, num_workers), *under_way, 0.0)


def _rest_of_run(facts: TrialFacts, epochs: int, whole_run: float) -> float:
    """The seconds that a running trial still takes: it may be slower than others were."""
    of_own_pace = facts.seconds / facts.epochs * (epochs - facts.epochs) if facts.epochs else 0.0
    return max(whole_run - facts.seconds, of_own_pace)
