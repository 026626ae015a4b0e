"""What workers did between their trials: from the times that the trials carry."""

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise

from optuna.trial import FrozenTrial, TrialState

from search.studies.facts import TrialFacts
from search.studies.process import LINUX, Owner


def seconds_to_first_trial(trials: Iterable[FrozenTrial]) -> list[float]:
    """For each worker: the time from the start of its process to the beginning of its first trial."""
    firsts = [own[0] for own in _by_worker(trials)]
    return [_start(first).timestamp() - _seconds_since_epoch(_owner(first).started) for first in firsts]


def seconds_outside(trials: Iterable[FrozenTrial], slept: float) -> list[float]:
    """For each trial but a worker's first: the time from the end of the worker's trial before, less the sleep.

    A worker's first trial is left out: before it lies the worker's start.
    """
    return [
        (_end(trial) - _end(before)).total_seconds() - slept
        for own in _by_worker(trials)
        for before, trial in pairwise(own)
    ]


def _seconds_since_epoch(started: float) -> float:
    """When a process of this machine was started, of what its trials say (`Owner.started`)."""
    if not LINUX:
        return started
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + started / os.sysconf("SC_CLK_TCK")


def _by_worker(trials: Iterable[FrozenTrial]) -> list[list[FrozenTrial]]:
    """Each worker's trials, in order."""
    by_worker = defaultdict(list)
    for trial in sorted(trials, key=lambda trial: trial.number):
        assert trial.state == TrialState.COMPLETE, trial
        by_worker[_owner(trial).pid].append(trial)
    return list(by_worker.values())


def _owner(trial: FrozenTrial) -> Owner:
    owner = TrialFacts.of(trial).owner
    assert owner is not None, trial
    return owner


def _start(trial: FrozenTrial) -> datetime:
    assert trial.datetime_start is not None
    return trial.datetime_start


def _end(trial: FrozenTrial) -> datetime:
    assert trial.datetime_complete is not None
    return trial.datetime_complete
