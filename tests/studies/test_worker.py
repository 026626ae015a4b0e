import errno
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna
import pytest
import torch
from fakes import FailingTask, FakeTask, PatientTask, accuracy, claim, draw, drawn, ends, lose, make_job, states
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from search.errors import LONGEST
from search.provenance import Code, CodeError, versions
from search.studies import worker
from search.studies.choices import ChoiceError
from search.studies.facts import TrialFacts
from search.studies.job import Result, ShouldStop, TrialInterruptedError
from search.studies.plan import GivenPlan
from search.studies.space import Space
from search.studies.study import StoredStudy
from search.studies.turns import PatientStorage
from search.studies.urls import StorageError
from search.studies.worker import WorkerError, is_fault_of_the_machine, run_trials

Run = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class NotingTask(FakeTask):
    """Notes what is called."""

    calls: list[str] = field(default_factory=list)

    def prepare(self, device: str) -> str:
        self.calls.append(f"prepare {device}")
        return device

    def run(self, trial: optuna.Trial, resources: str, should_stop: ShouldStop) -> Result:
        self.calls.append(f"run {trial.number} on {resources}")
        return super().run(trial, resources, should_stop)

    def recover(self) -> None:
        self.calls.append("recover")


class UnsteadyTask(NotingTask):
    """Two failures, a success, two failures, and so on."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        if trial.number % 3 < 2:
            raise RuntimeError(f"accident {trial.number}")


class TalkativeTask(FakeTask):
    """Says at length why its first trial failed."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        if trial.number == 0:
            raise RuntimeError("no\n" * 1_000)


class PruningTask(FakeTask):
    """Reports a curve, and does as the pruner says."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        for epoch in range(1, 9):
            trial.report(95.0 - trial.number, step=epoch)
            if trial.should_prune():
                TrialFacts(prune_reason="not promising").write(trial)
                raise optuna.TrialPruned


class HopelessTask(FakeTask):
    """Every trial is over budget, say."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        raise optuna.TrialPruned


class StoppedTask(FakeTask):
    """Is asked to stop in the middle of its first trial."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        if trial.number == 0:
            raise TrialInterruptedError


@dataclass(frozen=True, kw_only=True)
class KeepingTask(FakeTask):
    """Has something to keep, and looks around meanwhile.

    Attributes:
        seen: For each value that was kept: the best trial so far, whether the lock was held, and how the trials stood.
    """

    seen: list[tuple[int | None, bool, list[str]]] = field(default_factory=list)

    def run(self, trial: optuna.Trial, resources: str, should_stop: ShouldStop) -> Result:
        draw(trial)

        def keep(search: StoredStudy) -> None:
            best = search.best_trial()
            assert isinstance(search.storage, PatientStorage)
            self.seen.append((None if best is None else best.number, search.storage.in_turn, states(search)))

        return Result(value=[91.0, 95.0, 93.0][trial.number], keep=keep)


def write(path: Path, text: str) -> None:
    path.write_text(text)


@dataclass(frozen=True, kw_only=True)
class SavingTask(FakeTask):
    """Saves what each trial has come to in a file."""

    folder: Path

    def run(self, trial: optuna.Trial, resources: str, should_stop: ShouldStop) -> Result:
        result = super().run(trial, resources, should_stop)
        path = self.folder / f"{TrialFacts.of(trial).ticket}.txt"
        return Result(value=result.value, keep=lambda _search: write(path, str(result.value)))


@dataclass(frozen=True, kw_only=True)
class LateTask(SavingTask):
    """Another command takes the first trial for dead, and then it ends in one way or another."""

    end: Callable[[optuna.Trial], None]

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        if trial.number == 0:
            trial.study.tell(trial.number, state=TrialState.FAIL)
            self.end(trial)


@dataclass(frozen=True, kw_only=True)
class BrokenTask(FakeTask):
    """Every trial meets the same error."""

    error: Exception

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        raise self.error


@pytest.fixture
def run(search: StoredStudy, storage_url: str, code: Code) -> Run:
    """Runs a task's trials in this process: `run(task, num_trials, should_stop=..., **settings)`."""

    def run_task(
        task: FakeTask,
        num_trials: int,
        *,
        should_stop: ShouldStop = lambda: False,
        tell: Callable[[str], None] = pytest.fail,
        **settings: object,
    ) -> None:
        run_trials(make_job(storage_url, code, task, num_trials, **settings), "cpu", should_stop, tell=tell)

    return run_task


def test_a_worker_ends_when_no_ticket_is_left(search: StoredStudy, run: Run) -> None:
    run(FakeTask(), 3)
    assert ends(search) == [(0, "COMPLETE"), (1, "COMPLETE"), (2, "COMPLETE")]
    assert [trial.value for trial in search.trials()] == [accuracy(trial.params) for trial in search.trials()]


def test_a_worker_prepares_once_and_runs_each_trial_on_what_it_prepared(search: StoredStudy, run: Run) -> None:
    task = NotingTask()
    run(task, 2)
    assert task.calls == ["prepare cpu", "run 0 on cpu", "run 1 on cpu"]


def test_given_runs_are_made_as_they_are_given(search: StoredStudy, run: Run) -> None:
    runs = tuple({"depth": depth, "width": 1.0, "lr": 0.05} for depth in (4, 5))
    run(FakeTask(), 0, plan=GivenPlan(runs=runs))
    assert [trial.params for trial in search.complete_trials()] == list(runs)


def test_failures_that_are_not_in_a_row_are_recorded_and_the_study_goes_on(search: StoredStudy, run: Run) -> None:
    task = UnsteadyTask()
    run(task, 2)
    assert ends(search) == [(0, "FAIL"), (0, "FAIL"), (0, "COMPLETE"), (1, "FAIL"), (1, "FAIL"), (1, "COMPLETE")]
    reason = TrialFacts.of(search.trials()[3]).fail_reason
    assert reason is not None
    assert reason.startswith("RuntimeError: accident 3 (test_worker.py:")
    assert task.calls.count("recover") == 4
    assert task.calls[:4] == ["prepare cpu", "run 0 on cpu", "recover", "run 1 on cpu"]


def test_three_failures_in_a_row_end_it(search: StoredStudy, run: Run) -> None:
    with pytest.raises(WorkerError, match=r"3 trials in a row failed\. The last one: MemoryError: out of memory"):
        run(FailingTask(), 8)
    assert states(search) == ["FAIL"] * 3


def test_a_long_reason_is_cut_off(search: StoredStudy, run: Run) -> None:
    run(TalkativeTask(), 1)
    reason = TrialFacts.of(search.trials()[0]).fail_reason
    assert reason is not None
    assert reason.startswith("RuntimeError: no no no")
    assert len(reason) == LONGEST


def test_a_worker_that_is_to_stop_starts_nothing(search: StoredStudy, run: Run) -> None:
    run(FakeTask(), 3, should_stop=lambda: True)
    assert states(search) == ["WAITING"]


def test_a_worker_that_is_asked_to_stop_takes_no_further_trial(search: StoredStudy, run: Run) -> None:
    answers = iter([False, False, False])
    run(PatientTask(), 3, should_stop=lambda: next(answers, True))
    assert ends(search) == [(0, "COMPLETE")]


def test_a_time_limit_allows_each_worker_a_first_trial_and_no_second(search: StoredStudy, run: Run) -> None:
    run(FakeTask(), 3, deadline=0.0)
    assert ends(search) == [(0, "COMPLETE")]
    run(FakeTask(), 3, deadline=0.0)
    assert ends(search) == [(0, "COMPLETE"), (1, "COMPLETE")]


def test_a_time_limit_that_is_far_off_stops_nothing(search: StoredStudy, run: Run) -> None:
    run(FakeTask(), 3, deadline=time.time() + 3_600)
    assert states(search) == ["COMPLETE"] * 3


def test_a_trial_that_the_pruner_gives_up_is_pruned_and_its_place_taken(search: StoredStudy, run: Run) -> None:
    run(PruningTask(), 6, pruner="percentile")
    assert ends(search) == [*((ticket, "COMPLETE") for ticket in range(4)), (4, "PRUNED"), (5, "PRUNED")]
    assert [len(trial.intermediate_values) for trial in search.trials()] == [8, 8, 8, 8, 5, 5]
    assert TrialFacts.of(search.trials()[5]).prune_reason == "not promising"
    assert TrialFacts.of(search.trials()[5]).fail_reason is None


def test_nothing_is_pruned_unless_a_pruner_is_named(search: StoredStudy, run: Run) -> None:
    run(PruningTask(), 6)
    assert states(search) == ["COMPLETE"] * 6


def test_an_unknown_pruner_is_refused_before_anything_starts(search: StoredStudy, run: Run) -> None:
    with pytest.raises(ChoiceError, match="'median'"):
        run(FakeTask(), 3, pruner="median")
    assert states(search) == ["WAITING"]


def test_pruned_trials_are_no_failures_however_many(search: StoredStudy, run: Run) -> None:
    run(HopelessTask(), 5)
    assert states(search) == ["PRUNED"] * 5


def test_an_interrupted_trial_is_tried_again_with_its_parameters(search: StoredStudy, run: Run) -> None:
    run(StoppedTask(), 2)
    assert ends(search) == [(0, "FAIL"), (0, "COMPLETE"), (1, "COMPLETE")]
    first, second, _ = search.trials()
    assert TrialFacts.of(first).was_interrupted(first.state)
    assert TrialFacts.of(second).retry_of == 0
    assert second.params == first.params


def test_interruptions_are_no_failures_however_many(search: StoredStudy, run: Run) -> None:
    for _ in range(4):
        lose(search, claim(search, drawn(1)))
    run(FakeTask(), 1)
    assert ends(search) == [(0, "FAIL")] * 4 + [(0, "COMPLETE")]


def test_each_trial_says_with_which_code_and_libraries_it_was_made(search: StoredStudy, run: Run, code: Code) -> None:
    run(UnsteadyTask(), 2)
    assert states(search) == ["FAIL", "FAIL", "COMPLETE"] * 2
    for facts in map(TrialFacts.of, search.trials()):
        assert (facts.commit, facts.versions) == (code.commit, versions())


def test_what_is_kept_is_kept_under_the_lock_before_the_value_counts_and_with_the_best_so_far(
    search: StoredStudy, run: Run
) -> None:
    task = KeepingTask()
    run(task, 3)
    assert task.seen == [
        (None, True, ["RUNNING"]),
        (0, True, ["COMPLETE", "RUNNING"]),
        (1, True, ["COMPLETE", "COMPLETE", "RUNNING"]),
    ]
    assert [trial.value for trial in search.trials()] == [91.0, 95.0, 93.0]


@pytest.fixture
def full_disk(tmp_path: Path) -> Path:
    """A folder where there is no room for what the first trial comes to."""
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "0.txt").symlink_to("/dev/full")
    return folder


def test_a_result_waits_for_a_disk_that_is_full_and_says_why_once(
    search: StoredStudy, run: Run, full_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PAUSE", 0.0)
    looks = iter(range(4))  # before the trial, and before each further attempt

    def should_stop() -> bool:
        if next(looks, None) == 3:
            (full_disk / "0.txt").unlink()
        return False

    notes: list[str] = []
    run(SavingTask(folder=full_disk), 1, should_stop=should_stop, tell=notes.append)
    assert ends(search) == [(0, "COMPLETE")]
    assert (full_disk / "0.txt").read_text() == str(search.trials()[0].value)
    full = "A file cannot be used (No space left on device). Make room, or make it writable."
    assert notes == [f"{full} Trial 0 waits for up to 120 seconds."]


@pytest.mark.parametrize("seconds", [0.0, 120.0], ids=["after so long", "after Ctrl-C"])
def test_a_result_that_cannot_be_kept_is_no_failure_and_ends_it_in_one_line(
    seconds: float, search: StoredStudy, run: Run, full_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PATIENCE", seconds)
    answers = iter([False])
    with pytest.raises(WorkerError, match=r"^A file .*No space left on device.* The same command then goes on\.$"):
        run(SavingTask(folder=full_disk), 3, should_stop=lambda: next(answers, bool(seconds)))
    assert ends(search) == [(0, "FAIL")]
    assert TrialFacts.of(search.trials()[0]).was_interrupted(search.trials()[0].state)
    (full_disk / "0.txt").unlink()
    run(SavingTask(folder=full_disk), 3)
    assert ends(search) == [(0, "FAIL"), *((ticket, "COMPLETE") for ticket in range(3))]
    assert search.trials()[1].params == search.trials()[0].params


def prune(_trial: optuna.Trial) -> None:
    raise optuna.TrialPruned


def interrupt(_trial: optuna.Trial) -> None:
    raise TrialInterruptedError


def fail(_trial: optuna.Trial) -> None:
    raise ValueError("an accident")


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda _trial: None, id="complete"),
        pytest.param(lambda trial: trial.report(90.0, step=1), id="in training", marks=pytest.mark.slow),
        pytest.param(prune, id="pruned", marks=pytest.mark.slow),
        pytest.param(interrupt, id="interrupted"),
        pytest.param(fail, id="failed", marks=pytest.mark.slow),
    ],
)
def test_what_comes_too_late_is_dropped_and_the_worker_goes_on(
    end: Callable[[optuna.Trial], None], search: StoredStudy, run: Run, tmp_path: Path
) -> None:
    notes: list[str] = []
    run(LateTask(folder=tmp_path, end=end), 2, tell=notes.append)
    assert ends(search) == [(0, "FAIL"), (0, "COMPLETE"), (1, "COMPLETE")]
    assert TrialFacts.of(search.trials()[0]).fail_reason is None
    kept = {path.name: path.read_text() for path in tmp_path.glob("*.txt")}
    assert kept == {f"{number}.txt": str(search.trials()[number + 1].value) for number in range(2)}
    late = "Trial 0 was taken for dead and is tried again: what it came to here is dropped."
    assert notes == ([] if end in (interrupt, fail) else [late])  # these two are as dead as was thought


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


MACHINE = [
    OSError(errno.ENOSPC, "No space left on device", "results/x/best.safetensors"),
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.EROFS, "Read-only file system"),
    OSError(errno.EIO, "Input/output error"),
    FileNotFoundError(errno.ENOENT, "No such file or directory", "data/x"),
    OperationalError("SELECT 1", {}, Exception("database is locked")),
    StorageInternalError("An exception is raised during the commit."),
    StorageError("study.db was deleted."),
    caused_by(RuntimeError("cannot load"), OSError(errno.EIO, "Input/output error")),
    torch.AcceleratorError("CUDA error: unspecified launch failure"),
]
CONFIGURATION = [
    MemoryError("out of memory"),
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ValueError("Proportions must be positive"),
    ZeroDivisionError("division by zero"),
    caused_by(ValueError("a bad width"), KeyError("width")),
]


def name(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:50]


@pytest.mark.parametrize("error", MACHINE, ids=name)
def test_what_files_database_and_device_fail_is_a_fault_of_the_machine(error: Exception) -> None:
    assert is_fault_of_the_machine(error)


@pytest.mark.parametrize("error", [MACHINE[0], MACHINE[-1]], ids=name)
def test_a_fault_of_the_machine_is_no_result_of_a_configuration(
    error: Exception, search: StoredStudy, run: Run
) -> None:
    with pytest.raises(WorkerError, match=r"The same command then goes on\.$") as caught:
        run(BrokenTask(error=error), 3)
    assert "\n" not in str(caught.value)
    assert ends(search) == [(0, "FAIL")]
    assert TrialFacts.of(search.trials()[0]).was_interrupted(search.trials()[0].state)


def test_a_fault_of_the_database_gives_no_secret_away(code: Code) -> None:
    job = make_job("postgresql://me:hunter2@host/studies?sslkey=s3cret", code, FakeTask(), 1)
    error = OperationalError("SELECT 1", {}, Exception("password hunter2 is wrong, and so is s3cret"))
    assert worker.explain_fault(error, job) == (
        "The storage postgresql://me:***@host/studies?sslkey=hidden cannot be used (password *** is wrong, and so is "
        "***). Check --storage, and that it can be written."
    )


@pytest.mark.parametrize("error", CONFIGURATION, ids=name)
def test_an_error_that_a_configuration_may_have_caused_fails_its_trial(error: Exception) -> None:
    assert not is_fault_of_the_machine(error)


@pytest.fixture
def edited_code(the_space: Space, tmp_path: Path) -> Code:
    """What a command was started with whose search space is edited meanwhile."""
    copy = tmp_path / "space.py"
    shutil.copy(the_space.path, copy)
    started_with = Code.at_hand(copy)
    copy.write_text(copy.read_text().replace("0.7, 2.5", "0.7, 2.6"))
    return started_with


def test_a_worker_that_finds_another_space_refuses_and_starts_nothing(
    search: StoredStudy, storage_url: str, edited_code: Code
) -> None:
    task = NotingTask()
    with pytest.raises(CodeError, match="changed while the command ran") as caught:
        run_trials(make_job(storage_url, edited_code, task, 3), "cpu", lambda: False)
    assert "\n" not in str(caught.value)
    assert (task.calls, states(search)) == ([], ["WAITING"])


def test_a_worker_that_finds_other_code_of_this_tool_refuses(search: StoredStudy, storage_url: str, code: Code) -> None:
    with pytest.raises(CodeError):
        run_trials(make_job(storage_url, replace(code, hash="0123456789abcdef"), FakeTask(), 3), "cpu", lambda: False)


def test_a_space_that_was_put_back_as_it_was_is_accepted(
    search: StoredStudy, storage_url: str, edited_code: Code, the_space: Space
) -> None:
    shutil.copy(the_space.path, edited_code.space)
    run_trials(make_job(storage_url, edited_code, FakeTask(), 1), "cpu", lambda: False)
    assert states(search) == ["COMPLETE"]
