"""A worker: takes trial after trial of a job from the storage until none is left, and tells Optuna how each ended."""

import contextlib
import gc
import time
from collections.abc import Callable
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from ..config import ExplainedError
from ..errors import describe_error
from ..provenance import versions
from .choices import make_pruner
from .facts import TrialFacts
from .job import Job, Result, ShouldStop, TrialInterruptedError
from .optuna_private import read_again
from .process import this_process
from .storage import heartbeat, open_storage
from .study import StoredStudy, count_since_best
from .tickets import claim_trial, keys_left, was_interrupted
from .turns import DATABASE_ERRORS, exclusive, patient, wait_unless
from .urls import explain

MAX_FAILURES = 3  # trials in a row that may fail before the worker gives up
PATIENCE = 120.0  # seconds that a result waits for a disk that cannot be written: it took longer to compute
PAUSE = 1.0  # seconds between two attempts
FAULTS = (OSError, ExplainedError, *DATABASE_ERRORS)  # of the machine, or such as a person has to mend


class WorkerError(ExplainedError):
    """The workers cannot go on."""


def run_trials(
    job: Job,
    device: str,
    should_stop: ShouldStop,
    *,
    is_interrupted: ShouldStop = lambda: False,
    tell: Callable[[str], None] = lambda _message: None,
    on_end: Callable[[], None] = lambda: None,
) -> None:
    """Runs what is left of a job in this process.

    Args:
        is_interrupted: Whether a person has asked to stop: then a database that is away is not awaited.
        tell: Told what a person should know meanwhile.
        on_end: Called after each trial.

    Raises:
        CodeError: If the code is not that which the command was started with.
        WorkerError: If trial after trial fails, or the machine does.
        KeyboardInterrupt: If it was interrupted while the database was away.
    """
    job.settings.code.check()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    resources = job.task.prepare(device)
    stored = StoredStudy.load(open_storage(job.settings.storage_url, wait=True, tell=tell), job.settings.study_name)
    wait_unless(stored.storage, is_interrupted)
    stored.study.pruner = make_pruner(job.settings.pruner)
    num_failures = num_started = 0
    while not should_stop() and not (num_started and expired(job)):  # a short time limit allows a first trial
        if is_stalled(stored, job):
            return
        trial = claim_trial(stored, job.plan)
        if trial is None:
            return
        num_started += 1
        try:
            with heartbeat(stored.storage, trial):
                state, result = _run_trial(job, trial, resources, should_stop)
                _record_patiently(job, stored, trial, state, result, should_stop, tell)
            num_failures = 0
            continue
        except UpdateFinishedTrialError:
            tell(f"Trial {trial.number} was taken for dead and is tried again: what it came to here is dropped.")
        except Exception as error:
            is_fault = is_fault_of_the_machine(error)
            reason = None if is_fault else describe_error(error, within=True)  # without one, the trial is tried again
            with contextlib.suppress(UpdateFinishedTrialError, *FAULTS):
                _record(stored, trial, TrialState.FAIL, reason=reason)
            num_failures += 1
            if is_fault:
                raise WorkerError(f"{explain_fault(error, job)} The same command then goes on.") from error
            if num_failures >= MAX_FAILURES:
                raise WorkerError(f"{num_failures} trials in a row failed. The last one: {reason}") from error
        finally:
            on_end()
        gc.collect()  # only here, after the handler, has the error let go of the trial's tensors
        job.task.recover()


def expired(job: Job) -> bool:
    """Whether no further trial may start."""
    deadline = job.settings.deadline
    return deadline is not None and time.time() >= deadline


def is_stalled(stored: StoredStudy, job: Job) -> bool:
    """Whether so many trials in a row were no better that none is to follow, but for those that were interrupted."""
    if job.settings.patience is None or count_since_best(stored) < job.settings.patience:
        return False
    left = set(keys_left(stored, job.plan))
    failed = [trial for trial in stored.trials((TrialState.FAIL,)) if job.plan.key_of(trial) in left]
    return not any(was_interrupted(trial) for trial in failed)


def is_fault_of_the_machine(error: BaseException) -> bool:
    """Whether files, disk, database or device failed a trial: then nothing is known of its configuration.

    Memory is not among them: how much of it a run takes is up to its configuration, so that fails the trial.
    """
    of_device = type(error).__name__ == "AcceleratorError"  # PyTorch's, which is not known here
    cause = error.__cause__
    return isinstance(error, FAULTS) or of_device or (cause is not None and is_fault_of_the_machine(cause))


def explain_fault(error: BaseException, job: Job) -> str:
    """An error in one line, with what to do about a fault of the machine."""
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename or 'A file'} cannot be used ({error.strerror}). Make room, or make it writable."
    if isinstance(error, DATABASE_ERRORS):
        return explain(error, job.settings.storage_url)
    return " ".join(str(error).split()) or type(error).__name__


def _run_trial(
    job: Job, trial: optuna.Trial, resources: Any, should_stop: ShouldStop
) -> tuple[TrialState, Result | None]:
    TrialFacts(commit=job.settings.code.commit, versions=versions()).write(trial)
    try:
        return TrialState.COMPLETE, job.task.run(trial, resources, should_stop)
    except optuna.TrialPruned:
        return TrialState.PRUNED, None
    except TrialInterruptedError:
        return TrialState.FAIL, None  # without a reason: to be tried again


def _record_patiently(
    job: Job,
    stored: StoredStudy,
    trial: optuna.Trial,
    state: TrialState,
    result: Result | None,
    should_stop: ShouldStop,
    tell: Callable[[str], None],
) -> None:
    """Waits a while where a disk is full or away, without the lock, so that others go on."""
    begun, told = time.monotonic(), False
    while True:
        try:
            return _record(stored, trial, state, result)
        except OSError as error:
            if should_stop() or time.monotonic() - begun >= PATIENCE:
                raise
            if not told:
                tell(f"{explain_fault(error, job)} Trial {trial.number} waits for up to {PATIENCE:.0f} seconds.")
            told = True
        time.sleep(PAUSE)


@patient()
def _record(
    stored: StoredStudy, trial: optuna.Trial, state: TrialState, result: Result | None = None, reason: str | None = None
) -> None:
    """Records how a trial ended, while no other process can; may be done twice.

    Raises:
        UpdateFinishedTrialError: If it is not this process's any more: then nothing is kept.
    """
    with exclusive(stored.storage):
        now = read_again(stored.storage, trial)
        if now.state == state:  # recorded before, and only the answer was lost
            return
        if now.state != TrialState.RUNNING or TrialFacts.of(now).owner != this_process():
            raise UpdateFinishedTrialError
        if result is not None and result.keep is not None:
            result.keep(stored)
        if reason is not None:
            TrialFacts(fail_reason=reason).write(trial)
        stored.study.tell(trial, result.value if result is not None else None, state=state)
