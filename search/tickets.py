"""Tickets: which trial comes next, exactly as many as planned, and what became of the last one's worker.

A *ticket* is a trial's place in a command's plan. It is held by the trial that completed, was pruned, or runs; a
trial that failed gives it back.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.config import derive_seed
from search.storage import exclusive, is_dead, is_on_this_host, this_process
from search.study import FINISHED, make_sampler

HELD = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


def claim_trial(
    study: optuna.Study,
    storage: RDBStorage,
    tickets: Sequence[int],
    *,
    sampler: str,
    seed: int,
    fixed_params: dict[int, dict[str, Any]],
) -> optuna.Trial | None:
    """Starts the first trial that is still to do; None when all are done or under way.

    All of a trial's randomness derives from (seed, ticket), the sampler's too, so an interrupted study that
    goes on is the study that it would have been. A ticket that was interrupted is tried again with the same
    parameters.

    Args:
        fixed_params: Parameters that a ticket's trial must have.
    """
    with exclusive(storage):
        left = tickets_left(study, tickets)
        if not left:
            return None
        ticket = left[0]
        trials = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        failed = [trial for trial in trials if trial.user_attrs.get("ticket") == ticket]
        # Interruptions do not count; but a configuration that failed by itself must not be drawn again.
        attempt = sum(not was_interrupted(trial) for trial in failed)
        study.sampler = make_sampler(sampler, derive_seed(seed, "sampler", ticket, attempt))
        claim: dict[str, Any] = {"ticket": ticket, "owner": this_process()}
        if failed and was_interrupted(failed[-1]):
            trial = _start(study, _params_to_repeat(failed[-1]), {**claim, "retry_of": failed[-1].number})
        elif ticket in fixed_params:
            trial = _start(study, fixed_params[ticket], claim)
        else:
            trial = _ask(study)
            for key, value in claim.items():
                trial.set_user_attr(key, value)
        storage.record_heartbeat(trial._trial_id)
    return trial


def was_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial failed through no fault of its own: Ctrl-C, a killed worker, a host that fell silent."""
    return trial.state == TrialState.FAIL and "fail_reason" not in trial.user_attrs


def _params_to_repeat(trial: FrozenTrial) -> dict[str, Any]:
    """What an interrupted trial had drawn; where it was cut off while drawing, the same sampler draws again."""
    queued = trial.system_attrs.get("fixed_params", {})
    return {**queued, **trial.params} if "channels" in trial.user_attrs else queued


def _start(study: optuna.Study, params: dict[str, Any], user_attrs: dict[str, Any]) -> optuna.Trial:
    """Starts a trial of given parameters, ahead of all that is queued: `ask` would take the queue's first."""
    template = optuna.trial.create_trial(
        state=TrialState.RUNNING, system_attrs={"fixed_params": params}, user_attrs=user_attrs
    )
    return optuna.Trial(study, study._storage.create_new_trial(study._study_id, template))


def _ask(study: optuna.Study) -> optuna.Trial:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Heartbeat of storage")  # the worker beats it by itself
        return study.ask()


def release_dead_trials(study: optuna.Study, storage: RDBStorage) -> list[int]:
    """Fails the running trials whose worker has ended, so that their tickets are tried again at once.

    Returns:
        Their numbers.
    """
    with exclusive(storage):
        dead = find_dead_trials(study, storage)
        for trial in dead:
            study.tell(trial.number, state=TrialState.FAIL)
            if "ticket" not in trial.user_attrs and "fixed_params" in trial.system_attrs:
                study.enqueue_trial(trial.system_attrs["fixed_params"])  # died before it was on record
    return [trial.number for trial in dead]


def find_dead_trials(study: optuna.Study, storage: RDBStorage) -> list[FrozenTrial]:
    """The running trials whose worker has ended.

    On this host a worker's process tells whether it lives; another host's has ended when its heartbeat stops.
    """
    silent = set(storage._get_stale_trial_ids(study._study_id))
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if is_orphan(trial) or (trial._trial_id in silent and not is_ours(trial))]


def tickets_left(study: optuna.Study, tickets: Sequence[int]) -> list[int]:
    """The tickets of a plan that no trial holds, in order."""
    held = {trial.user_attrs.get("ticket") for trial in study.get_trials(deepcopy=False, states=HELD)}
    return [ticket for ticket in tickets if ticket not in held]


def is_finished(study: optuna.Study, tickets: Sequence[int]) -> bool:
    """Whether every ticket of a plan was used, and none is under way, here or elsewhere."""
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    return {trial.user_attrs.get("ticket") for trial in finished} >= set(tickets)


def is_orphan(trial: FrozenTrial) -> bool:
    """Whether a running trial's worker has ended.

    A claim sets the owner under the lock: without an owner, seen under the lock, the claimant has died.
    """
    owner = trial.user_attrs.get("owner")
    return owner is None or is_dead(owner)


def is_ours(trial: FrozenTrial) -> bool:
    """Whether a trial's worker runs, or ran, on this host."""
    return is_on_this_host(trial.user_attrs.get("owner", {}))
