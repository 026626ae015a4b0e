"""A space without networks, and tasks that compute next to nothing of it."""

import dataclasses
import mmap
import os
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

import space
from search.provenance import Code
from search.studies.executors import in_processes
from search.studies.facts import TrialFacts
from search.studies.job import Job, JobSettings, Result, ShouldStop, Task, TrialInterruptedError
from search.studies.plan import DrawnPlan, Params, Plan
from search.studies.process import Owner, this_process
from search.studies.starting import WORKER_ENVIRONMENT
from search.studies.storage import open_storage
from search.studies.study import Binding, StoredStudy
from search.studies.tickets import claim_trial, release_dead_trials

BINDING = Binding(dataset="sample", split="5f3e", max_params=7_999, epochs=15, space="90ab")
PACKAGES = ("optuna", "sqlalchemy")
REFERENCE: dict[str, int | float] = {"depth": 2, "width": 1.5, "lr": 0.01}
DISTRIBUTIONS = {
    "depth": optuna.distributions.IntDistribution(1, 9),
    "width": optuna.distributions.FloatDistribution(0.5, 2.5),
    "lr": optuna.distributions.FloatDistribution(1e-3, 1e-1, log=True),
}


def dead_process() -> Owner:
    """A process of this host that has ended: another has its number now."""
    return this_process().model_copy(update={"started": 0.0})


def drawn(num_trials: int, *, sampler_name: str = "random", seed: int = 0) -> DrawnPlan:
    return DrawnPlan(num_trials=num_trials, sampler_name=sampler_name, seed=seed)


def claim(stored: StoredStudy, plan: Plan) -> optuna.Trial:
    trial = claim_trial(stored, plan)
    assert trial is not None
    return trial


def draw(trial: optuna.Trial, num_params: int = len(DISTRIBUTIONS)) -> Params:
    """The parameters of a trial, of which a worker that dies sees only the first.

    As in a search, what was drawn to its end says so.
    """
    draws: list[Callable[[], int | float]] = [
        lambda: trial.suggest_int("depth", 1, 9),
        lambda: trial.suggest_float("width", 0.5, 2.5),
        lambda: trial.suggest_float("lr", 1e-3, 1e-1, log=True),
    ]
    for suggest in draws[:num_params]:
        suggest()
    if num_params == len(draws):
        TrialFacts(drawn=True).write(trial)
    return trial.params


def accuracy(params: Params) -> float:
    return float(90 + params["depth"] - (params["width"] - 1.7) ** 2 - params["lr"])


def lose(stored: StoredStudy, trial: optuna.Trial) -> None:
    """What `kill -9` and the next command make of a trial."""
    TrialFacts(owner=dead_process()).write(trial)
    assert release_dead_trials(stored) == [trial.number]


def fail(stored: StoredStudy, trial: optuna.Trial) -> None:
    """What an error of its own makes of a trial."""
    TrialFacts(fail_reason="MemoryError").write(trial)
    stored.study.tell(trial, state=TrialState.FAIL)


def states(stored: StoredStudy) -> list[str]:
    return [trial.state.name for trial in stored.trials()]


def ticket_of(trial: FrozenTrial | optuna.Trial) -> int | None:
    return TrialFacts.of(trial).ticket


def ends(stored: StoredStudy) -> list[tuple[int | None, str]]:
    """The ticket of each trial, and how it ended."""
    return [(ticket_of(trial), trial.state.name) for trial in stored.trials()]


def let_heartbeats_age(storage: RDBStorage, seconds: int = 3_600) -> None:
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE trial_heartbeats SET heartbeat = datetime('now', '-{seconds} seconds')")


@dataclass(frozen=True, kw_only=True)
class FakeTask:
    """Draws, and tells what it has drawn; subclasses add an accident."""

    def prepare(self, device: str) -> str:
        return device

    def run(self, trial: optuna.Trial, resources: str, should_stop: ShouldStop) -> Result:
        value = accuracy(draw(trial))
        trial.set_user_attr("pid", os.getpid())
        self.befall(trial, should_stop)
        return Result(value=value)

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        """Nothing, as a rule."""

    def recover(self) -> None:
        """Nothing is held."""


class FailingTask(FakeTask):
    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        raise MemoryError("out of\nmemory")


class DyingTask(FakeTask):
    """The first attempt at ticket 1 is killed, as for want of memory."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        facts = TrialFacts.of(trial)
        if facts.ticket == 1 and facts.retry_of is None:
            os.kill(os.getpid(), signal.SIGKILL)


class OrphaningTask(FakeTask):
    """The first trial's attempt kills the process that workers are forked from, and would go on for ever."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        if trial.number == 0:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)


class DeadlyTask(FakeTask):
    """Ticket 1's first configuration, and what has no ticket, kills every worker."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        facts = TrialFacts.of(trial)
        if facts.ticket is None or (facts.ticket == 1 and (facts.retry_of is not None or trial.number == 1)):
            os.kill(os.getpid(), signal.SIGKILL)


class CutOffTask(FakeTask):
    """Reads a file that was mapped into memory, and is cut off meanwhile."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(8192))
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0)
            file.truncate(0)
            mapped.read(1)


class HangingTask(FakeTask):
    """The first attempt at ticket 1 hangs, as if it were stopped for good."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        facts = TrialFacts.of(trial)
        if facts.ticket == 1 and facts.retry_of is None:
            os.kill(os.getpid(), signal.SIGSTOP)


class RestlessTask(FakeTask):
    """Looks all the time whether it is to stop."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        while not should_stop():
            pass


class PatientTask(FakeTask):
    """A trial that runs until it is asked to stop."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        while not should_stop():
            time.sleep(0.02)


class StubbornTask(FakeTask):
    """A trial that runs until it is killed."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        time.sleep(600)


class StillbornTask(FakeTask):
    """Kills every worker that receives it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (7,)


class FragileTask(FakeTask):
    """Every trial is killed twice before it completes."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        earlier = [each for each in trial.study.trials if ticket_of(each) == ticket_of(trial)]
        if len(earlier) < 3:
            os.kill(os.getpid(), signal.SIGKILL)


class LookingTask(FakeTask):
    """Notes what its process is like."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        import torch

        trial.set_user_attr("environment", {name: os.environ.get(name) for name in WORKER_ENVIRONMENT})
        trial.set_user_attr("num_threads", torch.get_num_threads())


@dataclass(frozen=True, kw_only=True)
class EpochsTask(FakeTask):
    """Trains for five epochs, as it were; in some of the first trial's, Ctrl-C is pressed here so many times."""

    presses: dict[int, int]

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        for epoch in range(1, 6):
            trial.report(90.0 + epoch, step=epoch)
            for _ in range(self.presses.get(epoch, 0) if trial.number == 0 else 0):
                os.kill(os.getpid(), signal.SIGINT)
            TrialFacts(epochs=epoch).write(trial)
            if epoch < 5 and should_stop():
                raise TrialInterruptedError


def make_job(url: str, code: Code, task: Task, num_trials: int, **settings: Any) -> Job:
    """A job of a search "small"; `settings` may name a plan, too."""
    plan = settings.pop("plan", drawn(num_trials))
    known = JobSettings(storage_url=url, study_name="small", epochs=BINDING.epochs, code=code, packages=PACKAGES)
    return Job(plan=plan, settings=dataclasses.replace(known, **settings), task=task)


def run_for_ever(url: str) -> None:
    """The main function of a command whose trial never ends."""
    stored = StoredStudy.load(open_storage(url), "small")
    job = make_job(url, Code.at_hand(Path(space.__file__)), StubbornTask(), 2)
    in_processes(job, ["cpu"], stored, on_update=lambda: None, on_interrupt=lambda: None, on_note=print)
