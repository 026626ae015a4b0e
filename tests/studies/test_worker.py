import threading
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from test_workers import BINDING, FIRST, NumberJob

from search.study import open_search_study
from search.worker import _run_trials


class RobbedJob(NumberJob):
    """While the first trial runs, another command fails it, as where its host seems to be silent."""

    def befall(self, study: optuna.Study, trial: optuna.Trial, should_stop: Callable[[], bool]) -> None:
        if trial.number == 0:
            study.tell(trial.number, state=TrialState.FAIL)


class UnsteadyJob(NumberJob):
    """Two failures, a success, two failures, and so on."""

    def befall(self, study: optuna.Study, trial: optuna.Trial, should_stop: Callable[[], bool]) -> None:
        if trial.number % 3 < 2:
            raise RuntimeError(f"accident {trial.number}")


class ExpiredJob(NumberJob):
    def expired(self) -> bool:
        return True


@pytest.fixture
def study(storage: RDBStorage) -> optuna.Study:
    return open_search_study(storage, "numbers", BINDING, FIRST)


def run_here(job: NumberJob, stop: threading.Event | None = None) -> None:
    _run_trials(job, "cpu", stop or threading.Event())


def ends(study: optuna.Study) -> list[tuple[Any, str]]:
    return [(trial.user_attrs.get("ticket"), trial.state.name) for trial in study.trials]


def test_a_worker_ends_when_no_ticket_is_left(study: optuna.Study, storage_url: str) -> None:
    run_here(NumberJob(storage_url=storage_url, tickets=range(3)))
    assert ends(study) == [(0, "COMPLETE"), (1, "COMPLETE"), (2, "COMPLETE")]


def test_failures_that_are_not_in_a_row_are_recorded_and_the_study_goes_on(
    study: optuna.Study, storage_url: str
) -> None:
    run_here(UnsteadyJob(storage_url=storage_url, tickets=range(2)))
    assert ends(study) == [(0, "FAIL"), (0, "FAIL"), (0, "COMPLETE"), (1, "FAIL"), (1, "FAIL"), (1, "COMPLETE")]
    assert study.trials[3].user_attrs["fail_reason"] == "RuntimeError: accident 3"


def test_a_worker_whose_trial_was_taken_away_goes_on(study: optuna.Study, storage_url: str) -> None:
    run_here(RobbedJob(storage_url=storage_url, tickets=range(2)))
    assert ends(study) == [(0, "FAIL"), (0, "COMPLETE"), (1, "COMPLETE")]


def test_a_worker_that_is_to_stop_starts_nothing(study: optuna.Study, storage_url: str) -> None:
    stop = threading.Event()
    stop.set()
    run_here(NumberJob(storage_url=storage_url, tickets=range(3)), stop)
    assert [trial.state for trial in study.trials] == [TrialState.WAITING]


def test_a_time_limit_allows_each_worker_a_first_trial_and_no_second(study: optuna.Study, storage_url: str) -> None:
    job = ExpiredJob(storage_url=storage_url, tickets=range(3))
    run_here(job)
    assert ends(study) == [(0, "COMPLETE")]
    run_here(job)
    assert ends(study) == [(0, "COMPLETE"), (1, "COMPLETE")]
