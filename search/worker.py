"""One worker process: takes trial after trial from the storage until none is left."""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage

from search.config import ExplainedError
from search.storage import heartbeat, open_storage
from search.tickets import claim_trial

MAX_FAILURES = 3  # trials in a row that may fail before the worker gives up


class WorkerError(ExplainedError):
    """The workers cannot go on."""


class Job(Protocol):
    """What the workers of one command do. Sent to each of them, so it has to be picklable."""

    @property
    def storage_url(self) -> str: ...
    @property
    def study_name(self) -> str: ...
    @property
    def sampler(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def tickets(self) -> Sequence[int]: ...
    @property
    def epochs(self) -> int: ...
    @property
    def precision(self) -> str: ...

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        """Parameters that a ticket's trial must have; empty where the sampler is free."""

    def expired(self) -> bool:
        """Whether no further trial may start."""

    def prepare(self, device: str) -> Any:
        """Loads, once per worker, what all its trials share."""

    def run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        storage: RDBStorage,
        resources: Any,
        should_stop: Callable[[], bool],
    ) -> None:
        """Runs one trial and tells the study how it ended."""


def work(job: Job, device: str, stop: Any, errors: Any) -> None:
    """The main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Windows, where it is not inherited
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _run_trials(job, device, stop)
    except Exception as error:  # the parent tells it in one line; a worker prints nothing
        errors.put(" ".join(str(error).split()) or type(error).__name__)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_trials(job: Job, device: str, stop: Any) -> None:
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    resources = job.prepare(device)
    storage = open_storage(job.storage_url)
    study = optuna.load_study(storage=storage, study_name=job.study_name)
    num_failures = num_started = 0
    while not stop.is_set() and not (num_started and job.expired()):  # a short time limit allows a first trial
        trial = claim_trial(
            study, storage, job.tickets, sampler=job.sampler, seed=job.seed, fixed_params=job.fixed_params()
        )
        if trial is None:
            return
        num_started += 1
        try:
            with heartbeat(storage, trial._trial_id):
                job.run(study, trial, storage, resources, stop.is_set)
            num_failures = 0
            continue
        except Exception as error:  # out of memory, say: recorded, and the study goes on
            num_failures += _fail(study, trial, error)
            if num_failures >= MAX_FAILURES:
                raise WorkerError(f"{num_failures} trials in a row failed. The last one: {_reason(error)}") from error
        _free_memory()  # only here, after the handler, has the error let go of the trial's tensors


def _fail(study: optuna.Study, trial: optuna.Trial, error: Exception) -> bool:
    """Records why a trial failed; False where another command has taken it for dead and failed it before."""
    if isinstance(error, StorageInternalError):
        raise error
    try:
        trial.set_user_attr("fail_reason", _reason(error))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    return True


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
