"""Which trial comes next, exactly as many as planned, and what became of the last one's worker."""

import warnings
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.studies.facts import TrialFacts
from search.studies.optuna_private import find_silent_trials, fixed_params, record_heartbeat, start_trial
from search.studies.plan import Key, Plan
from search.studies.process import this_process
from search.studies.storage import exclusive
from search.studies.study import FINISHED, StoredStudy

HELD = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


def claim_trial(stored: StoredStudy, plan: Plan) -> optuna.Trial | None:
    """Starts the first trial that is still to do; None when all are done or under way.

    What was interrupted is tried again with the same parameters.
    """
    with exclusive(stored.storage):
        key = next(iter(keys_left(stored, plan)), None)
        if key is None:
            return None
        failed = [trial for trial in stored.trials((TrialState.FAIL,)) if plan.key_of(trial) == key]
        # Interruptions do not count; but a configuration that failed by itself must not be drawn again.
        attempt = sum(not was_interrupted(trial) for trial in failed)
        stored.study.sampler = plan.sampler(key, attempt)
        claim = plan.mark(key).model_copy(update={"owner": this_process()})
        params = plan.params_of(key)
        if failed and was_interrupted(failed[-1]):
            claim = claim.model_copy(update={"retry_of": failed[-1].number})
            params = {**(params or {}), **_params_to_repeat(failed[-1])}
        if params is not None:
            trial = start_trial(stored.study, params, claim.as_attributes())
        else:
            trial = _ask(stored.study)
            claim.write(trial)
        record_heartbeat(stored.storage, trial)
    return trial


def was_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial failed through no fault of its own: Ctrl-C, a killed worker, a host that fell silent."""
    return TrialFacts.of(trial).was_interrupted(trial.state)


def _params_to_repeat(trial: FrozenTrial) -> dict[str, Any]:
    """What an interrupted trial had drawn; where it was cut off while drawing, the same sampler draws again."""
    queued = fixed_params(trial) or {}
    return {**queued, **trial.params} if TrialFacts.of(trial).drawn else queued


def _ask(study: optuna.Study) -> optuna.Trial:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Heartbeat of storage")  # the worker beats it by itself
        return study.ask()


def release_dead_trials(stored: StoredStudy) -> list[int]:
    """Fails the running trials whose worker has ended, so that they are tried again at once.

    Returns:
        Their numbers.
    """
    with exclusive(stored.storage):
        dead = find_dead_trials(stored)
        for trial in dead:
            stored.study.tell(trial.number, state=TrialState.FAIL)
            queued, facts = fixed_params(trial), TrialFacts.of(trial)
            if facts.ticket is None and facts.owner is None and queued is not None:
                stored.study.enqueue_trial(queued)  # died before it was on record
    return [trial.number for trial in dead]


def release_own_trials(stored: StoredStudy) -> None:
    """Fails what this process has left running, so that it is tried again."""
    with exclusive(stored.storage):
        for trial in stored.trials((TrialState.RUNNING,)):
            if TrialFacts.of(trial).owner == this_process():
                stored.study.tell(trial.number, state=TrialState.FAIL)


def find_dead_trials(stored: StoredStudy) -> list[FrozenTrial]:
    """The running trials whose worker has ended.

    On this host a worker's process tells whether it lives; another host's has ended when its heartbeat stops.
    """
    silent = {trial.number for trial in find_silent_trials(stored.storage, stored.study)}
    return [trial for trial in stored.trials((TrialState.RUNNING,)) if _is_dead(trial, trial.number in silent)]


def _is_dead(trial: FrozenTrial, is_silent: bool) -> bool:
    """A claim sets the owner under the lock: without an owner, seen under the lock, the claimant has died."""
    owner = TrialFacts.of(trial).owner
    return owner is None or owner.is_dead or (is_silent and not owner.is_here)


def keys_left(stored: StoredStudy, plan: Plan) -> list[Key]:
    """The keys of a plan that no trial holds, in order."""
    held = {plan.key_of(trial) for trial in stored.trials(HELD)}
    return [key for key in plan.keys if key not in held]


def is_finished(stored: StoredStudy, plan: Plan) -> bool:
    """Whether every trial of a plan has ended, and none is under way, here or elsewhere."""
    return {plan.key_of(trial) for trial in stored.trials(FINISHED)} >= set(plan.keys)
