"""Studies: what one is bound to, which trial comes next, and what became of the last one's worker."""

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.config import derive_seed
from search.provenance import code_commit, versions
from search.storage import exclusive, is_dead, is_on_this_host, this_process

SAMPLERS = ("tpe", "random")
PRUNERS = ("percentile", "none")
# The quarter of the running trials that is worst is pruned: published comparisons of pruners under TPE rank
# this mild setting first (Optuna issue 2906). Warm-up: the learning rate peaks in epoch 3 of 15.
PRUNER_PERCENTILE, PRUNER_STARTUP_TRIALS, PRUNER_WARMUP_EPOCHS = 75.0, 8, 3
HELD = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class StudyError(Exception):
    """A study is missing, or is not the one that is asked for."""


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What a study cannot change once it exists: results of different ones do not compare."""

    dataset: str
    split: str
    max_params: int
    epochs: int
    space: str

    @classmethod
    def of(cls, study: optuna.Study) -> "Binding":
        try:
            return cls(**{field.name: study.user_attrs[field.name] for field in fields(cls)})
        except KeyError as error:
            raise StudyError(
                f"Study {study.study_name!r} was not made by this tool (no {error}). Choose another --study-name."
            ) from error


BINDING_WORDS = {
    "dataset": "data set",
    "split": "split of the data",
    "max_params": "parameter budget",
    "epochs": "number of epochs",
    "space": "search space (space.py)",
}


def default_name(dataset: str, max_params: int, epochs: int) -> str:
    return f"{dataset}-{max_params}p-{epochs}e"


def open_search_study(storage: RDBStorage, name: str, binding: Binding, first_params: dict[str, Any]) -> optuna.Study:
    """Creates the study, with `first_params` queued as its first trial, or joins it.

    Raises:
        StudyError: If a study of this name is bound to something else.
    """
    with exclusive(storage):
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        if _is_new(study):
            _set_up(study, binding, first_params)
        _refuse_other_binding(study, binding)
        record_use(study)
    return study


def _is_new(study: optuna.Study) -> bool:
    """Whether a study was just created, or its creator was cut off before it was set up."""
    started = any(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))
    return "kind" not in study.user_attrs and not started and study.direction == StudyDirection.MAXIMIZE


def _set_up(study: optuna.Study, binding: Binding, first_params: dict[str, Any]) -> None:
    """Makes a new study a search; its kind comes last, so that what is cut off half-way is done again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["validation accuracy (%)"])
    for key, value in asdict(binding).items():
        study.set_user_attr(key, value)
    study.enqueue_trial(first_params, skip_if_exists=True)
    study.set_user_attr("kind", "search")


def record_use(study: optuna.Study) -> None:
    """Notes when, and with which code and libraries, the study is being worked on."""
    study.set_user_attr("last_active", datetime.now(UTC).isoformat(timespec="milliseconds"))
    study.set_user_attr("versions", versions())
    commits = study.user_attrs.get("commits", [])
    if code_commit() not in commits:
        study.set_user_attr("commits", [*commits, code_commit()])


def find_search_study(storage: RDBStorage, name: str | None) -> optuna.Study:
    """The search study of that name; without one, the last that was active.

    Raises:
        StudyError: If there is none.
    """
    studies = [study for study in load_studies(storage) if study.user_attrs.get("kind") == "search"]
    if name is not None:
        studies = [study for study in studies if study.study_name == name]
    if not studies:
        wanted = f"no search study {name!r}" if name is not None else "no study yet"
        raise StudyError(
            f"There is {wanted} in this storage. Run 'python cli.py search', or see 'python cli.py status'."
        )
    return max(studies, key=lambda study: str(study.user_attrs.get("last_active", "")))


def load_studies(storage: RDBStorage) -> list[optuna.Study]:
    names = optuna.get_all_study_names(storage)
    return [optuna.load_study(storage=storage, study_name=name) for name in names]


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial of highest value, the earliest among equals; None if there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=rank, default=None)


def rank(trial: FrozenTrial) -> tuple[float, int]:
    assert trial.value is not None
    return trial.value, -trial.number


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(seed=seed % 2**32, multivariate=True, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed % 2**32)


def make_pruner(name: str) -> optuna.pruners.BasePruner:
    if name == "percentile":
        return optuna.pruners.PercentilePruner(
            PRUNER_PERCENTILE, n_startup_trials=PRUNER_STARTUP_TRIALS, n_warmup_steps=PRUNER_WARMUP_EPOCHS
        )
    return optuna.pruners.NopPruner()


def claim_trial(
    study: optuna.Study,
    storage: RDBStorage,
    tickets: Iterable[int],
    *,
    sampler: str,
    seed: int,
    fixed_params: dict[int, dict[str, Any]],
) -> optuna.Trial | None:
    """Starts the first trial that is still to do; None when all are done or under way.

    A *ticket* is a trial's place in the plan. It is held by the trial that completed, was pruned, or runs; a
    trial that failed gives it back. All of a trial's randomness derives from (seed, ticket), the sampler's
    too, so an interrupted study that goes on is the study that it would have been. A ticket that was
    interrupted is tried again with the same parameters.

    Args:
        fixed_params: Parameters that a ticket's trial must have.
    """
    with exclusive(storage):
        trials = study.get_trials(deepcopy=False)
        held = {trial.user_attrs.get("ticket") for trial in trials if trial.state in HELD}
        ticket = next((ticket for ticket in tickets if ticket not in held), None)
        if ticket is None:
            return None
        failed = [trial for trial in trials if trial.user_attrs.get("ticket") == ticket and trial.state not in HELD]
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

    Here a worker's process tells whether it lives; another host's has fallen silent when its heartbeat stops.

    Returns:
        Their numbers.
    """
    released = []
    with exclusive(storage):
        silent = set(storage._get_stale_trial_ids(study._study_id))
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if is_orphan(trial) or (trial._trial_id in silent and not is_ours(trial)):
                study.tell(trial.number, state=TrialState.FAIL)
                released.append(trial.number)
                if "ticket" not in trial.user_attrs and "fixed_params" in trial.system_attrs:
                    study.enqueue_trial(trial.system_attrs["fixed_params"])  # died before it was on record
    return released


def is_orphan(trial: FrozenTrial) -> bool:
    """Whether a running trial's worker has ended.

    A claim sets the owner under the lock: without an owner, seen under the lock, the claimant has died.
    """
    owner = trial.user_attrs.get("owner")
    return owner is None or is_dead(owner)


def is_ours(trial: FrozenTrial) -> bool:
    """Whether a trial's worker runs, or ran, on this host."""
    return is_on_this_host(trial.user_attrs.get("owner", {}))


def _refuse_other_binding(study: optuna.Study, binding: Binding) -> None:
    recorded = asdict(Binding.of(study))
    differing = [name for name, value in asdict(binding).items() if recorded[name] != value]
    if differing:
        changes = ", ".join(
            f"{BINDING_WORDS[name]} ({recorded[name]}, now {getattr(binding, name)})" for name in differing
        )
        raise StudyError(
            f"Study {study.study_name!r} was made with another {changes}. "
            f"Go on with what it was made with, or start another with --study-name."
        )
