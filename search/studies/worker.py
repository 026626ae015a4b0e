"""A worker: takes trial after trial of a job from the storage until none is left, and tells Optuna how each ended."""

import gc
import time
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState

from search.config import ExplainedError
from search.provenance import versions
from search.studies.choices import make_pruner
from search.studies.facts import TrialFacts
from search.studies.job import Job, Result, ShouldStop, TrialInterruptedError
from search.studies.storage import exclusive, heartbeat, open_storage, patient
from search.studies.study import StoredStudy
from search.studies.tickets import claim_trial

MAX_FAILURES = 3  # trials in a row that may fail before the worker gives up
LONGEST_REASON = 500  # characters


class WorkerError(ExplainedError):
    """The workers cannot go on."""


def run_trials(job: Job, device: str, should_stop: ShouldStop) -> None:
    """Runs what is left of a job in this process.

    Raises:
        CodeError: If the code is not that which the command was started with.
        WorkerError: If trial after trial fails.
    """
    job.settings.code.check()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    resources = job.task.prepare(device)
    stored = StoredStudy.load(open_storage(job.settings.storage_url, wait=True), job.settings.study_name)
    stored.study.pruner = make_pruner(job.settings.pruner)
    num_failures = num_started = 0
    while not should_stop() and not (num_started and expired(job)):  # a short time limit allows a first trial
        trial = claim_trial(stored, job.plan)
        if trial is None:
            return
        num_started += 1
        try:
            with heartbeat(stored.storage, trial):
                _run_trial(job, stored, trial, resources, should_stop)
            num_failures = 0
            continue
        except Exception as error:  # out of memory, say: recorded, and the study goes on
            num_failures += _fail(stored.study, trial, error)
            if num_failures >= MAX_FAILURES:
                raise WorkerError(f"{num_failures} trials in a row failed. The last one: {_reason(error)}") from error
        gc.collect()  # only here, after the handler, has the error let go of the trial's tensors
        job.task.recover()


def expired(job: Job) -> bool:
    """Whether no further trial may start."""
    deadline = job.settings.deadline
    return deadline is not None and time.time() >= deadline


def _run_trial(job: Job, stored: StoredStudy, trial: optuna.Trial, resources: Any, should_stop: ShouldStop) -> None:
    TrialFacts(commit=job.settings.code.commit, versions=versions()).write(trial)
    try:
        result = job.task.run(trial, resources, should_stop)
    except optuna.TrialPruned:
        stored.study.tell(trial, state=TrialState.PRUNED)
    except TrialInterruptedError:
        stored.study.tell(trial, state=TrialState.FAIL)  # without a reason: to be tried again
    except KeyboardInterrupt:  # a second Ctrl-C, where the trials run in the command's own process
        stored.study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        _record(stored, trial, result)


@patient()
def _record(stored: StoredStudy, trial: optuna.Trial, result: Result) -> None:
    with exclusive(stored.storage):
        if result.keep is not None:
            result.keep(stored)
        stored.study.tell(trial, result.value, skip_if_finished=True)


def _fail(study: optuna.Study, trial: optuna.Trial, error: Exception) -> bool:
    """Records why a trial failed; False where another command has taken it for dead and failed it before."""
    if isinstance(error, StorageInternalError):
        raise error
    try:
        TrialFacts(fail_reason=_reason(error)).write(trial)
        study.tell(trial, state=TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    return True


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_REASON]
