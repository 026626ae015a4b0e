import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.storage import open_storage
from search.study import Binding, open_search_study
from search.tickets import release_dead_trials
from search.worker import WorkerError
from search.workers import WORKER_ENVIRONMENT, WorkerPool, run_workers

BINDING = Binding(dataset="sample", split="none", max_params=1_000, epochs=1, space="numbers")
FIRST = {"x": 0.5}
RUN_IN_A_PARENT = "import sys, test_workers; test_workers.run_for_ever(sys.argv[1])"


@dataclass(frozen=True, kw_only=True)
class NumberJob:
    """Trials that compute next to nothing; subclasses add an accident."""

    storage_url: str
    tickets: range
    study_name: str = "numbers"
    sampler: str = "random"
    seed: int = 0
    epochs: int = 1
    precision: str = "fp32"

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        return {}

    def expired(self) -> bool:
        return False

    def prepare(self, device: str) -> str:
        return device

    def run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        storage: RDBStorage,
        resources: str,
        should_stop: Callable[[], bool],
    ) -> None:
        value = trial.suggest_float("x", 0.0, 1.0)
        trial.set_user_attr("pid", os.getpid())
        self.befall(study, trial, should_stop)
        study.tell(trial, value)

    def befall(self, study: optuna.Study, trial: optuna.Trial, should_stop: Callable[[], bool]) -> None:
        import torch

        trial.set_user_attr("environment", {name: os.environ.get(name) for name in WORKER_ENVIRONMENT})
        trial.set_user_attr("num_threads", torch.get_num_threads())


class FailingJob(NumberJob):
    def befall(self, study: optuna.Study, trial: optuna.Trial, should_stop: Callable[[], bool]) -> None:
        raise MemoryError("out of\nmemory")


class DyingJob(NumberJob):
    """The first attempt at ticket 1 is killed, as for want of memory."""

    def befall(self, study: optuna.Study, trial: optuna.Trial, should_stop: Callable[[], bool]) -> None:
        if trial.user_attrs["ticket"] == 1 and "retry_of" not in trial.user_attrs:
            os.kill(os.getpid(), signal.SIGKILL)


class PatientJob(NumberJob):
    """A trial that runs until it is asked to stop."""

    def befall(self, study: optuna.Study, trial: optuna.Trial, should_stop: Callable[[], bool]) -> None:
        while not should_stop():
            time.sleep(0.02)


class StubbornJob(NumberJob):
    """A trial that runs until it is killed."""

    def befall(self, study: optuna.Study, trial: optuna.Trial, should_stop: Callable[[], bool]) -> None:
        time.sleep(600)


class StillbornJob(NumberJob):
    """Kills every worker that receives it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (7,)


@pytest.fixture
def study(storage: RDBStorage) -> optuna.Study:
    return open_search_study(storage, "numbers", BINDING, FIRST)


def run(
    job: NumberJob,
    study: optuna.Study,
    num_workers: int = 1,
    on_update: Callable[[], None] = lambda: None,
    on_interrupt: Callable[[], None] = lambda: None,
) -> bool:
    storage = open_storage(job.storage_url)
    devices = ["cpu"] * num_workers
    return run_workers(job, devices, study, storage, on_update=on_update, on_interrupt=on_interrupt)


def run_for_ever(url: str) -> None:
    storage = open_storage(url)
    study = optuna.load_study(study_name="numbers", storage=storage)
    run(StubbornJob(storage_url=url, tickets=range(2)), study)


def running(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """The trials that are under way."""
    return [trial for trial in study.get_trials(states=(TrialState.RUNNING,)) if "pid" in trial.user_attrs]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def press_ctrl_c_when(condition: Callable[[], bool]) -> Callable[[], None]:
    pressed = []

    def press() -> None:
        if not pressed and condition():
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    return press


def test_two_workers_complete_every_ticket_exactly_once(study: optuna.Study, storage_url: str) -> None:
    updates: list[None] = []
    before = signal.getsignal(signal.SIGINT)
    job = NumberJob(storage_url=storage_url, tickets=range(8))
    assert not run(job, study, num_workers=2, on_update=lambda: updates.append(None))
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8
    assert sorted(trial.user_attrs["ticket"] for trial in study.trials) == list(range(8))
    assert os.getpid() not in {trial.user_attrs["pid"] for trial in study.trials}
    assert updates
    assert signal.getsignal(signal.SIGINT) is before


def test_a_worker_has_its_own_environment_and_one_thread_heeds_no_signal_and_ends_once_done(
    study: optuna.Study, storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in WORKER_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1234567")  # what the user has set stays
    before = dict(os.environ)
    pool = WorkerPool(NumberJob(storage_url=storage_url, tickets=range(1)), ["cpu"])
    pool.start()
    assert dict(os.environ) == before
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    for number in (signal.SIGINT, signal.SIGTERM):  # from birth: it has not begun to run Python yet
        os.kill(worker.pid, number)
    worker.join()
    assert not pool.replace_lost()  # it was not lost: there was nothing left to do
    assert not pool.wait(0)
    recorded = study.trials[0].user_attrs
    assert recorded["environment"] == {**WORKER_ENVIRONMENT, "MALLOC_TOP_PAD_": "1234567"}
    assert recorded["num_threads"] == 1


def test_three_failures_in_a_row_end_it_with_the_reason(study: optuna.Study, storage_url: str) -> None:
    with pytest.raises(WorkerError, match="MemoryError: out of memory") as caught:
        run(FailingJob(storage_url=storage_url, tickets=range(8)), study)
    assert "\n" not in str(caught.value)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 3
    assert {trial.user_attrs["fail_reason"] for trial in study.trials} == {"MemoryError: out of memory"}
    assert len({trial.params["x"] for trial in study.trials}) == 3


def test_a_worker_that_is_killed_is_replaced_and_its_trial_tried_again(study: optuna.Study, storage_url: str) -> None:
    assert not run(DyingJob(storage_url=storage_url, tickets=range(3)), study)
    ends = [(trial.user_attrs["ticket"], trial.state.name) for trial in study.trials]
    assert ends == [(0, "COMPLETE"), (1, "FAIL"), (1, "COMPLETE"), (2, "COMPLETE")]
    assert study.trials[2].params == study.trials[1].params
    assert len({trial.user_attrs["pid"] for trial in study.trials}) == 2


def let_workers_end() -> None:
    for process in multiprocessing.active_children():
        process.join(60)  # its exit code is known only a moment after the pool's `wait` sees it end


def test_workers_that_keep_dying_end_it(study: optuna.Study, storage_url: str) -> None:
    with pytest.raises(WorkerError, match=r"dying \(exit_code=7\)"):
        run(StillbornJob(storage_url=storage_url, tickets=range(3)), study)


def test_a_worker_that_dies_old_is_replaced_without_being_counted_unless_all_are_to_end(
    storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.workers.MAX_LOST_WORKERS", 0)
    monkeypatch.setattr("search.workers.YOUNG_SECONDS", 0)
    pool = WorkerPool(StillbornJob(storage_url=storage_url, tickets=range(3)), ["cpu"])
    pool.start()
    let_workers_end()
    assert pool.wait(0)
    assert pool.replace_lost()
    assert not pool.stopping
    pool.stop()
    assert pool.stopping
    let_workers_end()
    assert pool.wait(0)
    assert pool.replace_lost()
    assert not pool.wait(0)  # nobody took its place


def test_ctrl_c_lets_the_trial_end(study: optuna.Study, storage_url: str) -> None:
    told: list[str] = []
    job = PatientJob(storage_url=storage_url, tickets=range(5))
    press = press_ctrl_c_when(lambda: len(running(study)) == 1)
    assert run(job, study, 1, press, lambda: told.append("stopping"))
    assert told == ["stopping"]
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]


def test_a_second_signal_ends_at_once_and_leaves_nothing_running(study: optuna.Study, storage_url: str) -> None:
    job = StubbornJob(storage_url=storage_url, tickets=range(5))
    press = press_ctrl_c_when(lambda: len(running(study)) == 1)
    assert run(job, study, 1, press, on_interrupt=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]
    assert not psutil.pid_exists(study.trials[0].user_attrs["pid"])


def test_workers_end_with_their_parent(study: optuna.Study, storage: RDBStorage, storage_url: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    parent = subprocess.Popen([sys.executable, "-c", RUN_IN_A_PARENT, storage_url], env=environment)
    wait_until(lambda: len(running(study)) == 1)
    worker = psutil.Process(study.trials[0].user_attrs["pid"])
    parent.kill()
    parent.wait()
    psutil.wait_procs([worker], timeout=30)
    assert not worker.is_running()
    assert release_dead_trials(study, storage) == [0]
