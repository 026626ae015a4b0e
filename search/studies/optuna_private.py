"""Every use that this tool makes of what Optuna does not promise to keep. Hence `optuna<6`, and a test per function."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState


def start_trial(study: optuna.Study, params: Mapping[str, Any], user_attrs: Mapping[str, Any]) -> optuna.Trial:
    """Starts a trial that draws the given parameters, ahead of all that is queued: `ask` would take the queue's first.

    Trial and attributes come into being in one transaction.
    """
    template = optuna.trial.create_trial(
        state=TrialState.RUNNING, system_attrs={"fixed_params": dict(params)}, user_attrs=dict(user_attrs)
    )
    return optuna.Trial(study, study._storage.create_new_trial(study._study_id, template))


def fixed_params(trial: FrozenTrial) -> dict[str, Any] | None:
    """The parameters that a trial was started or queued with; None where the sampler is free."""
    params: dict[str, Any] | None = trial.system_attrs.get("fixed_params")
    return params


def writable(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A trial that was read, as one whose attributes and notes can be written."""
    return optuna.Trial(study, trial._trial_id)


def record_heartbeat(storage: RDBStorage, trial: optuna.Trial) -> None:
    """Tells the database that a running trial is alive."""
    storage.record_heartbeat(trial._trial_id)


def find_silent_trials(storage: RDBStorage, study: optuna.Study) -> list[FrozenTrial]:
    """The running trials whose heartbeat has stopped for longer than the storage's grace period."""
    silent = set(storage._get_stale_trial_ids(study._study_id))
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if trial._trial_id in silent]
