"""Which trial comes next, exactly as many as planned, and what became of the last one's worker."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from ..config import ExplainedError
from .facts import TrialFacts
from .kinds import KINDS, Kind
from .optuna_private import find_silences, fixed_params, record_heartbeat, start_trial, writable
from .plan import Key, Plan
from .process import Owner, this_process
from .storage import GRACE_PERIOD
from .study import FINISHED, StoredStudy
from .turns import exclusive, patient, reading

HELD = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
MAX_KILLS = 3  # of the workers of one trial, each of which died alone


class KilledError(ExplainedError):
    """A run whose parameters are given kills its workers."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a running trial.

    Attributes:
        owner: None where the claimant died before it was on record.
        silent: Seconds since the last sign of life; None if there was none.
    """

    trial: FrozenTrial
    owner: Owner | None
    silent: float | None

    @property
    def is_dead(self) -> bool:
        """Whether the worker has ended: its process tells, or where it cannot be seen from here, its heartbeat.

        A claim writes its owner and its first heartbeat under the lock: seen under the lock, without one of them, the
        claimant has died.
        """
        if self.owner is None:
            return True
        if self.owner.is_here:
            return self.owner.is_dead
        return self.silent is None or self.silent > GRACE_PERIOD


@patient()
def release_own_trials(stored: StoredStudy) -> None:
    """Fails what this process has left running, so that it is tried again."""
    with exclusive(stored.storage):
        for holder in find_holders(stored):
            if holder.owner == this_process():
                _fail(stored, holder.trial, TrialFacts())


@patient(undo=lambda stored, _plan: release_own_trials(stored))
def claim_trial(stored: StoredStudy, plan: Plan) -> optuna.Trial | None:
    """Starts the first trial that is still to do; None when all are done or under way.

    What was interrupted is tried again with the same parameters.
    """
    stored.trials()  # reads what is new, for a new worker all, before others have to wait for it
    with exclusive(stored.storage):
        trials = stored.trials()
        key = next(_free_keys(trials, plan), None)
        if key is None:
            return None
        others = [trial for trial in trials if trial.state not in HELD]
        failed = [trial for trial in others if trial.state == TrialState.FAIL and plan.key_of(trial) == key]
        # Interruptions do not count; but a configuration that failed by itself must not be drawn again.
        attempt = sum(not was_interrupted(trial) for trial in failed)
        stored.study.sampler = plan.sampler(key, attempt)
        claim = plan.mark(key).model_copy(update={"owner": this_process()})
        params = plan.params_of(key)
        if failed and was_interrupted(failed[-1]):
            kills = TrialFacts.of(failed[-1]).kills
            claim = claim.model_copy(update={"retry_of": failed[-1].number, "kills": kills})
            params = {**(params or {}), **_params_to_repeat(failed[-1])}
        if params is None and any(trial.state == TrialState.WAITING for trial in others):
            trial = _ask(stored.study)
            claim.write(trial)
        else:
            trial = start_trial(stored.study, params, claim.as_attributes())
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


@patient()
def release_dead_trials(stored: StoredStudy, *, killed: bool = False) -> list[int]:
    """Fails the running trials whose worker has ended, so that they are tried again at once.

    Args:
        killed: Whether the caller saw a worker die alone, not with its command or its host. A trial that has killed
            three workers has failed by itself.

    Returns:
        Their numbers.

    Raises:
        KilledError: If such a trial's parameters are given, so that no other can take its place.
    """
    released, hopeless = [], []
    with exclusive(stored.storage):
        for trial in find_dead_trials(stored):
            queued, facts = fixed_params(trial), TrialFacts.of(trial)
            outcome = _outcome(facts, killed)
            if not _fail(stored, trial, outcome):
                continue
            released.append(trial.number)
            if facts.ticket is None and facts.owner is None and queued is not None:
                stored.study.enqueue_trial(queued)  # died before it was on record
            if facts.ticket is None and outcome.fail_reason is not None:
                hopeless.append(f"{KINDS[stored.kind or Kind.SEARCH].label(trial)}: {outcome.fail_reason}")
    if hopeless:
        raise KilledError(f"Study {stored.name!r}, {'; '.join(hopeless)} The same command tries again.")
    return released


def _outcome(facts: TrialFacts, killed: bool) -> TrialFacts:
    """What a dead worker's trial has to carry besides."""
    if not killed or facts.owner is None or not facts.owner.is_dead:
        return TrialFacts()
    kills = facts.kills + 1
    reason = f"Its worker was killed {kills} times. If memory is short, use fewer --workers."
    return TrialFacts(kills=kills, fail_reason=reason) if kills >= MAX_KILLS else TrialFacts(kills=kills)


def _fail(stored: StoredStudy, trial: FrozenTrial, outcome: TrialFacts) -> bool:
    """Fails a running trial; False if it has ended meanwhile: how a trial ended is told once."""
    try:
        outcome.write(writable(stored.study, trial))
        stored.study.tell(trial.number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):  # as told by the database, and by Optuna, which looks before
        return False
    return True


@patient()
def find_holders(stored: StoredStudy, plan: Plan | None = None) -> list[Holder]:
    """Who holds the running trials; with a plan, those of its keys alone."""
    running = stored.trials((TrialState.RUNNING,))  # before the heartbeats: a trial comes into being with one
    with reading(stored.storage):
        silences = find_silences(stored.storage, running)
    keys = set(plan.keys) if plan is not None else set()
    return [
        Holder(trial=trial, owner=TrialFacts.of(trial).owner, silent=silences.get(trial.number))
        for trial in running
        if plan is None or plan.key_of(trial) in keys
    ]


def find_dead_trials(stored: StoredStudy) -> list[FrozenTrial]:
    """The running trials whose worker has ended."""
    return [holder.trial for holder in find_holders(stored) if holder.is_dead]


def keys_left(stored: StoredStudy, plan: Plan) -> list[Key]:
    """The keys of a plan that no trial holds, in order."""
    return list(_free_keys(stored.trials(), plan))


def _free_keys(trials: Iterable[FrozenTrial], plan: Plan) -> Iterator[Key]:
    held = {plan.key_of(trial) for trial in trials if trial.state in HELD}
    return (key for key in plan.keys if key not in held)


def is_finished(stored: StoredStudy, plan: Plan) -> bool:
    """Whether every trial of a plan has ended, and none is under way, here or elsewhere."""
    return {plan.key_of(trial) for trial in stored.trials(FINISHED)} >= set(plan.keys)
