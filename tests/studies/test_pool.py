import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
from fakes import (
    CutOffTask,
    DeadlyTask,
    DyingTask,
    EpochsTask,
    FailingTask,
    FakeTask,
    FragileTask,
    HangingTask,
    LookingTask,
    OrphaningTask,
    PatientTask,
    RestlessTask,
    StillbornTask,
    StubbornTask,
    ends,
    make_job,
    states,
    ticket_of,
)
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.provenance import Code, CodeError
from search.studies import pool as pool_module
from search.studies.executors import Executor, in_processes, in_this_process
from search.studies.facts import TrialFacts
from search.studies.job import Job
from search.studies.plan import GivenPlan
from search.studies.pool import WorkerPool
from search.studies.starting import WORKER_ENVIRONMENT
from search.studies.study import StoredStudy
from search.studies.tickets import KilledError, keys_left, release_dead_trials
from search.studies.worker import WorkerError

RUN_IN_A_PARENT = "import sys, fakes; fakes.run_for_ever(sys.argv[1])"
HANDLED = (signal.SIGINT, signal.SIGTERM)

MakeJob = Callable[[FakeTask, int], Job]


@pytest.fixture
def job(search: StoredStudy, storage_url: str, code: Code) -> MakeJob:
    """A task as a job of so many trials of the search."""
    return lambda task, num_trials: make_job(storage_url, code, task, num_trials)


def run(
    execute: Executor,
    job: Job,
    search: StoredStudy,
    num_workers: int = 1,
    on_update: Callable[[], None] = lambda: None,
    on_interrupt: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = print,
) -> bool:
    return execute(job, ["cpu"] * num_workers, search, on_update=on_update, on_interrupt=on_interrupt, on_note=on_note)


def pid_of(trial: FrozenTrial) -> int:
    pid = trial.user_attrs["pid"]
    assert isinstance(pid, int)
    return pid


def running(search: StoredStudy) -> list[FrozenTrial]:
    """The trials that are under way."""
    return [trial for trial in search.trials((TrialState.RUNNING,)) if "pid" in trial.user_attrs]


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


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in HANDLED]


def test_two_workers_complete_every_ticket_exactly_once(search: StoredStudy, job: MakeJob) -> None:
    updates: list[None] = []
    before = handlers()
    assert not run(in_processes, job(FakeTask(), 8), search, 2, on_update=lambda: updates.append(None))
    assert states(search) == ["COMPLETE"] * 8
    assert sorted(ticket_of(trial) or 0 for trial in search.trials()) == list(range(8))
    assert os.getpid() not in set(map(pid_of, search.trials()))
    assert updates
    assert handlers() == before


@pytest.mark.slow
def test_a_worker_has_its_own_environment_and_one_thread_heeds_no_signal_and_ends_once_done(
    search: StoredStudy, job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in WORKER_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1234567")  # what the user has set stays
    before = dict(os.environ)
    pool = WorkerPool(job(LookingTask(), 1), ["cpu"], print)
    pool.start()
    assert dict(os.environ) == before
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    for number in HANDLED:  # from birth: it has not begun to run Python yet
        os.kill(worker.pid, number)
    worker.join()
    assert not pool.replace_lost()  # it was not lost: there was nothing left to do
    assert not pool.wait(0)
    recorded = search.trials()[0].user_attrs
    assert recorded["environment"] == {**WORKER_ENVIRONMENT, "MALLOC_TOP_PAD_": "1234567"}
    assert recorded["num_threads"] == 1


@pytest.mark.slow
def test_three_failures_in_a_row_end_it_with_the_reason(search: StoredStudy, job: MakeJob) -> None:
    with pytest.raises(WorkerError, match="MemoryError: out of memory") as caught:
        run(in_processes, job(FailingTask(), 8), search)
    assert "\n" not in str(caught.value)
    assert states(search) == ["FAIL"] * 3
    [reason] = {TrialFacts.of(trial).fail_reason for trial in search.trials()}
    assert (reason or "").startswith("MemoryError: out of memory (fakes.py:")
    assert len({trial.params["lr"] for trial in search.trials()}) == 3


def test_a_worker_that_is_killed_is_replaced_and_its_trial_tried_again(search: StoredStudy, job: MakeJob) -> None:
    assert not run(in_processes, job(DyingTask(), 3), search)
    assert ends(search) == [(0, "COMPLETE"), (1, "FAIL"), (1, "COMPLETE"), (2, "COMPLETE")]
    assert search.trials()[2].params == search.trials()[1].params
    assert len(set(map(pid_of, search.trials()))) == 2


@pytest.mark.slow
def test_a_trial_that_kills_every_worker_fails_and_another_is_drawn(search: StoredStudy, job: MakeJob) -> None:
    assert not run(in_processes, job(DeadlyTask(), 2), search)
    assert ends(search) == [(0, "COMPLETE"), *[(1, "FAIL")] * 3, (1, "COMPLETE")]
    reasons = [TrialFacts.of(trial).fail_reason for trial in search.trials()]
    assert [reason is not None and "killed 3 times" in reason for reason in reasons] == [False] * 3 + [True, False]


@pytest.mark.slow
def test_a_given_run_that_kills_every_worker_ends_it_with_the_reason(
    search: StoredStudy, storage_url: str, code: Code
) -> None:
    plan = GivenPlan(runs=({"depth": 4, "width": 1.0, "lr": 0.05},))
    with pytest.raises(KilledError, match="killed 3 times"):
        run(in_processes, make_job(storage_url, code, DeadlyTask(), 1, plan=plan), search)
    assert states(search) == ["WAITING", *["FAIL"] * 3]


def let_workers_end() -> None:
    for process in multiprocessing.active_children():
        process.join(60)  # its exit code is known only a moment after the pool's `wait` sees it end


@pytest.mark.slow
def test_workers_that_keep_dying_end_it_after_three_deaths_of_each(
    search: StoredStudy, job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    start_worker = WorkerPool._start_worker
    monkeypatch.setattr(WorkerPool, "_start_worker", lambda *args: started.append(args) or start_worker(*args))
    with pytest.raises(WorkerError, match=r"dying \(exit_code=7\)"):
        run(in_processes, job(StillbornTask(), 3), search)
    assert len(started) == 4


@pytest.mark.slow
def test_deaths_count_only_while_no_trial_ends(search: StoredStudy, job: MakeJob) -> None:
    assert not run(in_processes, job(FragileTask(), 2), search)
    deaths = [(0, "FAIL")] * 2, [(1, "FAIL")] * 2  # four, which in a row would be one too many
    assert ends(search) == [*deaths[0], (0, "COMPLETE"), *deaths[1], (1, "COMPLETE")]


def test_a_worker_that_dies_when_all_are_to_end_is_not_replaced(job: MakeJob) -> None:
    pool = WorkerPool(job(StillbornTask(), 3), ["cpu"], print)
    pool.start()
    pool.stop()
    assert pool.stopping
    let_workers_end()
    assert pool.wait(0)
    assert pool.replace_lost()
    assert not pool.wait(0)  # nobody took its place


@pytest.mark.slow
def test_a_worker_whose_data_file_is_cut_off_ends_it_and_its_trial_is_tried_again(
    search: StoredStudy, job: MakeJob
) -> None:
    with pytest.raises(WorkerError, match=r"SIGBUS.*--data-dir"):
        run(in_processes, job(CutOffTask(), 3), search)
    assert TrialFacts.of(search.trials()[0]).was_interrupted(search.trials()[0].state)


def is_stopped(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    return False


@pytest.mark.slow
def test_a_worker_that_makes_no_progress_is_ended_and_its_trial_tried_again(
    search: StoredStudy, job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []

    def look() -> None:  # nobody waits for half an hour once it hangs, and no worker is hurried before or after
        hangs = any(map(is_stopped, map(pid_of, running(search))))
        monkeypatch.setattr(pool_module, "SILENCE", 0.5 if hangs and not notes else 1_800.0)

    assert not run(in_processes, job(HangingTask(), 2), search, on_update=look, on_note=notes.append)
    assert ends(search) == [(0, "COMPLETE"), (1, "FAIL"), (1, "COMPLETE")]
    assert search.trials()[2].params == search.trials()[1].params
    assert len(notes) == 1
    assert notes[0].startswith("A worker hung: no progress for ")


@pytest.mark.slow
def test_workers_are_not_taken_to_hang_because_their_command_was_stopped_for_long(
    search: StoredStudy, job: MakeJob
) -> None:
    pool = WorkerPool(job(StubbornTask(), 1), ["cpu"], pytest.fail)
    pool.start()
    try:
        wait_until(lambda: len(running(search)) == 1)
        pool.wait(0)
        pool._looked -= 36_000  # as after a night's Ctrl-Z, or with the lid closed
        pool.wait(0)
        assert pool._workers[0].process.exitcode is None
    finally:
        pool.kill()


@pytest.mark.slow
def test_workers_killed_while_they_look_whether_to_stop_keep_nobody_from_stopping(
    search: StoredStudy, job: MakeJob
) -> None:
    pool = WorkerPool(job(RestlessTask(), 4), ["cpu"] * 3, print)

    def is_over() -> bool:
        pool.replace_lost()
        return not pool.wait(0.1)

    pool.start()
    try:
        wait_until(lambda: len(running(search)) == 3)
        for victim in map(pid_of, running(search)[:2]):
            os.kill(victim, signal.SIGKILL)
        pool.stop()
        wait_until(is_over)
    finally:
        pool.kill()
    assert states(search).count("COMPLETE") == 1


def test_ctrl_c_while_workers_start_is_heeded(
    search: StoredStudy, job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = BaseProcess.start

    def press_and_start(process: BaseProcess) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        start(process)

    monkeypatch.setattr(BaseProcess, "start", press_and_start)
    assert run(in_processes, job(PatientTask(), 5), search)
    assert set(states(search)) <= {"WAITING", "COMPLETE"}  # what was begun was let end


def test_ctrl_c_lets_the_trial_end(search: StoredStudy, job: MakeJob) -> None:
    told: list[str] = []
    press = press_ctrl_c_when(lambda: len(running(search)) == 1)
    assert run(in_processes, job(PatientTask(), 5), search, 1, press, lambda: told.append("stopping"))
    assert told == ["stopping"]
    assert states(search) == ["COMPLETE"]


@pytest.mark.slow
def test_a_second_signal_ends_at_once_and_leaves_nothing_running(search: StoredStudy, job: MakeJob) -> None:
    press = press_ctrl_c_when(lambda: len(running(search)) == 1)
    before = handlers()
    assert run(
        in_processes,
        job(StubbornTask(), 5),
        search,
        on_update=press,
        on_interrupt=lambda: os.kill(os.getpid(), signal.SIGTERM),
    )
    assert states(search) == ["FAIL"]
    assert not psutil.pid_exists(pid_of(search.trials()[0]))
    assert handlers() == before


@pytest.mark.slow
def test_workers_end_with_their_parent(search: StoredStudy, storage: RDBStorage, storage_url: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    parent = subprocess.Popen([sys.executable, "-c", RUN_IN_A_PARENT, storage_url], env=environment)
    wait_until(lambda: len(running(search)) == 1)
    worker = psutil.Process(pid_of(search.trials()[0]))
    parent.kill()
    parent.wait()
    psutil.wait_procs([worker], timeout=30)
    assert not worker.is_running()
    assert release_dead_trials(search) == [0]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there are workers forked")
def test_workers_end_with_what_they_were_forked_from_and_their_trials_are_tried_again(
    search: StoredStudy, job: MakeJob
) -> None:
    work = job(OrphaningTask(), 2)
    while keys_left(search, work.plan):  # as a session looks: the orphan lives for a moment, and may hold its trial
        assert not run(in_processes, work, search)
    assert sorted(ends(search)) == [(0, "COMPLETE"), (0, "FAIL"), (1, "COMPLETE")]


def test_a_worker_process_that_finds_other_code_ends_the_command_in_one_line(
    search: StoredStudy, storage_url: str, code: Code
) -> None:
    changed = replace(code, hash="0123456789abcdef")
    with pytest.raises(WorkerError, match="changed while the command ran") as caught:
        run(in_processes, make_job(storage_url, changed, FakeTask(), 3), search)
    assert "\n" not in str(caught.value)
    assert states(search) == ["WAITING"]


def test_all_trials_run_in_this_process_on_the_first_device(search: StoredStudy, job: MakeJob) -> None:
    updates: list[None] = []
    before = handlers()
    assert not run(in_this_process, job(FakeTask(), 3), search, 2, on_update=lambda: updates.append(None))
    assert ends(search) == [(0, "COMPLETE"), (1, "COMPLETE"), (2, "COMPLETE")]
    assert set(map(pid_of, search.trials())) == {os.getpid()}
    assert len(updates) >= 3
    assert handlers() == before


def test_in_this_process_ctrl_c_ends_after_the_running_epoch_and_the_trial_is_tried_again(
    search: StoredStudy, job: MakeJob
) -> None:
    told: list[str] = []
    before = handlers()
    task = EpochsTask(presses={2: 1})
    assert run(in_this_process, job(task, 3), search, on_interrupt=lambda: told.append("stopping"))
    assert told == ["stopping"]
    assert ends(search) == [(0, "FAIL")]
    assert TrialFacts.of(search.trials()[0]).epochs == 2
    assert handlers() == before
    assert not run(in_this_process, job(task, 2), search)
    assert ends(search) == [(0, "FAIL"), (0, "COMPLETE"), (1, "COMPLETE")]
    assert search.trials()[1].params == search.trials()[0].params
    assert TrialFacts.of(search.trials()[1]).retry_of == 0


def test_in_this_process_a_second_ctrl_c_ends_at_once_and_the_trial_is_tried_again(
    search: StoredStudy, job: MakeJob
) -> None:
    before = handlers()
    task = EpochsTask(presses={2: 2})
    assert run(in_this_process, job(task, 3), search)
    assert ends(search) == [(0, "FAIL")]
    assert TrialFacts.of(search.trials()[0]).epochs == 1  # not even this epoch was ended
    assert handlers() == before
    assert not run(in_this_process, job(task, 1), search)
    assert search.trials()[1].params == search.trials()[0].params


def test_in_this_process_ctrl_c_in_the_last_epoch_lets_the_trial_count_and_starts_no_other(
    search: StoredStudy, job: MakeJob
) -> None:
    assert run(in_this_process, job(EpochsTask(presses={5: 1}), 3), search)
    assert ends(search) == [(0, "COMPLETE")]


def test_in_this_process_an_error_is_raised_as_it_is_and_ctrl_c_means_what_it_did(
    search: StoredStudy, job: MakeJob, storage_url: str, code: Code
) -> None:
    before = handlers()
    with pytest.raises(WorkerError, match="MemoryError: out of memory"):
        run(in_this_process, job(FailingTask(), 8), search)
    assert handlers() == before
    with pytest.raises(CodeError):
        run(in_this_process, make_job(storage_url, replace(code, hash="0123456789abcdef"), FakeTask(), 3), search)
    assert handlers() == before


def test_trials_can_run_outside_the_main_thread_which_alone_handles_signals(search: StoredStudy, job: MakeJob) -> None:
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(run(in_this_process, job(FakeTask(), 2), search)))
    thread.start()
    thread.join()
    assert ended == [False]
    assert states(search) == ["COMPLETE"] * 2
