"""Studies: what one is bound to, which trial comes next, and what became of the last one's worker."""

import json
import warnings
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.config import RECIPE, ExplainedError, TrialConfig
from search.provenance import code_commit, versions
from search.storage import exclusive

SAMPLERS = ("tpe", "random")
PRUNERS = ("percentile", "none")
# From epoch 5 on, a trial is pruned when its best epoch so far is below that of three quarters of the complete trials
# at the same epoch. Of the pruners replayed on recorded curves (benchmarks/pruners.py), this one saved most without
# losing more than a run's noise.
PRUNER_PERCENTILE, PRUNER_STARTUP_TRIALS, PRUNER_WARMUP_EPOCHS = 75.0, 4, 5
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class StudyError(ExplainedError):
    """A study is missing, or is not the one that is asked for."""


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What a study cannot change once it exists: results of different ones do not compare."""

    dataset: str
    split: str
    max_params: int
    epochs: int
    space: str
    recipe: int = RECIPE

    @classmethod
    def of(cls, study: optuna.Study) -> "Binding":
        recorded = {"recipe": 1, **study.user_attrs}  # the first recipe had no number
        try:
            return cls(**{field.name: recorded[field.name] for field in fields(cls)})
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
    "recipe": "network or training recipe of this tool",
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


def open_side_study(
    storage: RDBStorage, study: optuna.Study, name: str, attributes: dict[str, Any], used_for: str
) -> optuna.Study:
    """Creates or joins a study of runs that follow a search; it is bound to what the search is bound to.

    Raises:
        StudyError: As `open_bound_study` does.
    """
    attributes = {**attributes, "search_study": study.study_name, **asdict(Binding.of(study))}
    return open_bound_study(storage, name, attributes, used_for)


def open_bound_study(storage: RDBStorage, name: str, attributes: dict[str, Any], used_for: str) -> optuna.Study:
    """Creates or joins a study that is about one thing, and stays so.

    Args:
        attributes: What it is about. A study whose creator was cut off may lack some, and gets them.
        used_for: What it did, for the complaint: "verified", say.

    Raises:
        StudyError: If a study of this name is about something else.
    """
    with exclusive(storage):
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        recorded = study.user_attrs
        if any(recorded.get(key, value) != value for key, value in attributes.items()):
            raise StudyError(
                f"Study {name!r} {used_for} something else. Delete it (see 'Starting over' in the README), or use "
                f"another --storage."
            )
        for key, value in attributes.items():
            study.set_user_attr(key, value)
        record_use(study)
    return study


def config_attributes(config: TrialConfig) -> dict[str, Any]:
    """The configuration that a study is about, as it comes back from the storage."""
    return {
        "num_params": config.model.num_params,
        "channels": [list(stage) for stage in config.model.channels],
        "config": json.loads(json.dumps(asdict(config))),
    }


def record_use(study: optuna.Study) -> None:
    """Notes that the study is being worked on, and with which code and libraries."""
    study.set_user_attr("last_active", datetime.now(UTC).isoformat(timespec="milliseconds"))
    environment = {"commit": code_commit(), "versions": versions()}
    if "commit" not in study.user_attrs:
        for key, value in environment.items():
            study.set_user_attr(key, value)
    later = study.user_attrs.get("continued_with", [])
    made_with = {key: study.user_attrs[key] for key in environment}
    if environment not in (made_with, *later):
        study.set_user_attr("continued_with", [*later, environment])


def last_active(study: optuna.Study) -> str:
    """When a command last opened the study or a trial of it began or ended, in UTC; empty if never."""
    trials = study.get_trials(deepcopy=False)
    times = [time for trial in trials for time in (trial.datetime_start, trial.datetime_complete) if time is not None]
    stamps = [time.astimezone(UTC).isoformat(timespec="milliseconds") for time in times]
    return max([str(study.user_attrs.get("last_active", "")), *stamps])


def find_search_study(storage: RDBStorage, name: str | None) -> optuna.Study:
    """The search study of that name; without one, the last active of those with a complete trial, or else of all.

    Raises:
        StudyError: If there is none.
    """
    searches = [study for study in load_studies(storage) if study.user_attrs.get("kind") == "search"]
    named = [study for study in searches if name in (None, study.study_name)]
    if named:
        return max(named, key=lambda study: (bool(complete_trials(study)), last_active(study)))
    if searches:
        others = ", ".join(study.study_name for study in searches)
        raise StudyError(f"There is no search study {name!r} in this storage, but: {others}.")
    wanted = f" {name!r}" if name is not None else ""
    raise StudyError(
        f"There is no search study{wanted} in this storage (--storage) yet. Run 'python cli.py search' first."
    )


def load_studies(storage: RDBStorage) -> list[optuna.Study]:
    names = optuna.get_all_study_names(storage)
    return [optuna.load_study(storage=storage, study_name=name) for name in names]


def complete_trials(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial of highest value, the earliest among equals; None if there is none."""
    return max(complete_trials(study), key=rank, default=None)


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
