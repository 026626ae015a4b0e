"""Every use that this tool makes of what Optuna does not promise to keep. Hence `optuna<6`, and a test per function."""

import functools
import json
import mimetypes
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.pruners import PercentilePruner
from optuna.samplers import GPSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from .facts import StudyFacts
from .lessons import lessons

# The storage's methods that may be done twice: what reads, and what writes a value that is given.
PRIVATE = ("_get_trials", "_get_best_trial_id", "_get_stale_trial_ids", "_set_trial_param")
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)
# The dashboard's, in a study's system attributes.
TRIAL_ARTIFACTS, PLOT_DATA = "dashboard:artifacts:", "dashboard:plot_data:"
IDEMPOTENT = tuple(name for name in vars(RDBStorage) if name.startswith(("get_", "set_")) or name in PRIVATE)


def forget_cache(study: optuna.Study, storage: RDBStorage) -> None:
    """Makes a study read all its trials anew: what it has cached may have been undone in the database."""
    study._storage = optuna.storages.get_storage(storage)


def start_trial(study: optuna.Study, params: Mapping[str, Any] | None, user_attrs: Mapping[str, Any]) -> optuna.Trial:
    """Starts a trial that draws the given parameters, ahead of all that is queued: `ask` would take the queue's first.

    Trial and attributes come into being in one transaction.

    Args:
        params: None where the sampler is free.
    """
    fixed = {"fixed_params": dict(params)} if params is not None else {}
    template = optuna.trial.create_trial(state=TrialState.RUNNING, system_attrs=fixed, user_attrs=dict(user_attrs))
    return optuna.Trial(study, study._storage.create_new_trial(study._study_id, template))


def fixed_params(trial: FrozenTrial) -> dict[str, Any] | None:
    """The parameters that a trial was started or queued with; None where the sampler is free."""
    params: dict[str, Any] | None = trial.system_attrs.get("fixed_params")
    return params


def missing_parameter(error: Exception) -> str | None:
    """The parameter that a `FixedTrial` lacks, where this is why it failed, which the error's text alone tells."""
    found = re.match(r"The value of the parameter '(.*)' is not found\.", str(error))
    return found[1] if found is not None and isinstance(error, ValueError) else None


def writable(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A trial that was read, as one whose attributes and notes can be written."""
    return optuna.Trial(study, trial._trial_id)


def trials_noted(study: optuna.Study, words: str) -> list[FrozenTrial]:
    """The trials whose notes in the dashboard begin with these words."""
    attributes = dict(_attributes(study))
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if str(attributes.get(f"dashboard:{trial._trial_id}:note_str:0", "")).startswith(words)
    ]


def read_again(storage: RDBStorage, trial: optuna.Trial) -> FrozenTrial:
    """A trial as the database has it now."""
    return storage.get_trial(trial._trial_id)


def record_heartbeat(storage: RDBStorage, trial: optuna.Trial) -> None:
    """Tells the database that a running trial is alive."""
    storage.record_heartbeat(trial._trial_id)


def find_silences(storage: RDBStorage, trials: Iterable[FrozenTrial]) -> dict[int, float]:
    """For how many seconds trials have shown no sign of life, by number; without those that never have."""
    running = {each._trial_id: each.number for each in trials}
    columns: Any = sqlalchemy.column("trial_id"), sqlalchemy.column("heartbeat", sqlalchemy.DateTime)
    beats = sqlalchemy.table("trial_heartbeats", *columns)
    with storage.scoped_session() as session, session.begin():  # a part of a turn, where one is taken
        now = session.execute(sqlalchemy.select(sqlalchemy.func.now())).scalar_one().replace(tzinfo=None)
        rows = session.execute(sqlalchemy.select(beats).where(beats.c.trial_id.in_(running))).all()
    return {running[trial_id]: (now - beat).total_seconds() for trial_id, beat in rows}


class GPSamplerOfAll(GPSampler):
    """Optuna's, which learns from all that `lessons` tells.

    Optuna's own sees complete trials alone. Where most are pruned, as after a warm start, it knows too few to begin.
    """

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn: dict[str, Any] = super().sample_relative(_Taught(study, search_space), trial, search_space)  # type: ignore[arg-type]
        return drawn


class _Taught:
    """A study as its sampler sees it."""

    def __init__(self, study: optuna.Study, space: Mapping[str, BaseDistribution]) -> None:
        self._study, self._space = study, space

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(self, deepcopy: bool, states: tuple[TrialState, ...], use_cache: bool) -> list[FrozenTrial]:
        trials = self._study._get_trials(deepcopy=deepcopy, states=(*states, TrialState.PRUNED), use_cache=use_cache)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        return [*lessons(trials, self._space, self._neighbours(trials)), *running]

    def _neighbours(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """What the study that this one was warm-started from had come to when this one began.

        Nothing, if it is not there any more, or is another by now.
        """
        facts = StudyFacts.of(self._study)
        begun = min((trial.datetime_start for trial in trials if trial.datetime_start is not None), default=None)
        if facts.warm_start is None or begun is None:
            return []
        theirs, ended = _ended_by(self._study._storage, facts.warm_start, begun)
        if any(getattr(facts, name) != getattr(theirs, name) for name in ("dataset", "split", "space", "recipe")):
            return []
        return ended


@functools.lru_cache(maxsize=1)  # a worker asks for the same before each of its trials
def _ended_by(storage: BaseStorage, study_name: str, moment: datetime) -> tuple[StudyFacts, list[FrozenTrial]]:
    """A study, and those of its trials that had ended then; nothing of one that is not there."""
    try:
        study = optuna.load_study(study_name=study_name, storage=storage)
    except KeyError:
        return StudyFacts(), []
    ended = study.get_trials(deepcopy=False, states=ENDED)
    return StudyFacts.of(study), [each for each in ended if each.datetime_complete and each.datetime_complete <= moment]


class PercentilePrunerOfDrawn(PercentilePruner):
    """Optuna's, which compares with the first trial and with what was drawn.

    What a warm start has brought are leaders, of which nearly all that is drawn falls short: then next to nothing would
    be trained to its end, and the sampler would learn next to nothing.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return super().prune(_Drawn(study), trial)  # type: ignore[arg-type]


class _Drawn:
    """A study as that pruner sees it."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, deepcopy: bool, states: tuple[TrialState, ...]) -> list[FrozenTrial]:
        trials = self._study.get_trials(deepcopy=deepcopy)
        return [each for each in trials if each.state in states and not _was_brought(each, trials)]


def _was_brought(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a warm start has queued it, or that of which it is another try."""
    while (before := trial.user_attrs.get("retry_of")) is not None:
        trial = trials[before]
    return trial.number > 0 and fixed_params(trial) is not None


def artifacts_of(study: optuna.Study, number: int | None) -> dict[str, str]:
    """The artifacts that the dashboard shows with a study, or with a trial of it: identifiers by file name."""
    prefix = _artifact_prefix(study, number)
    listed = (_listed(value) for key, value in _attributes(study) if key.startswith(prefix))
    return dict(filter(None, listed))


def _listed(value: object) -> tuple[str, str] | None:
    """The name and the identifier of an artifact that is listed; None for any other text: files are called by these."""
    try:
        described = json.loads(str(value))
        name, identifier = described["filename"], described["artifact_id"]
        return (name, identifier) if str(uuid.UUID(identifier)) == identifier and isinstance(name, str) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def list_artifact(study: optuna.Study, number: int | None, filename: str, identifier: str) -> None:
    """Lets the dashboard show a file that is in the store with a study, or with a finished trial of it.

    `optuna.artifacts.upload_artifact` can give one to a trial only while that runs.
    """
    mimetype, encoding = mimetypes.guess_type(filename)
    described = {
        "artifact_id": identifier,
        "filename": filename,
        "mimetype": mimetype or "application/octet-stream",
        "encoding": encoding,
    }
    key = _artifact_prefix(study, number) + identifier
    study._storage.set_study_system_attr(study._study_id, key, json.dumps(described))


def forget_artifacts(study: optuna.Study, *, but: int | None) -> list[str]:
    """Takes the artifacts of all trials but one off the dashboard; returns their identifiers."""
    kept = _artifact_prefix(study, but) if but is not None else None
    forgotten = []
    for key, value in _attributes(study):
        of_a_trial = key.startswith(TRIAL_ARTIFACTS) and (kept is None or not key.startswith(kept))
        listed = _listed(value)
        if of_a_trial and listed is not None:
            forgotten.append(listed[1])
            study._storage.set_study_system_attr(study._study_id, key, json.dumps(None))
    return forgotten


def plots_of(study: optuna.Study) -> set[str]:
    """The identifiers of the figures that were saved for the dashboard."""
    return {key.removeprefix(PLOT_DATA).partition(":")[0] for key, _ in _attributes(study) if key.startswith(PLOT_DATA)}


def _attributes(study: optuna.Study) -> list[tuple[str, Any]]:
    return list(study._storage.get_study_system_attrs(study._study_id).items())


def _artifact_prefix(study: optuna.Study, number: int | None) -> str:
    if number is None:
        return "artifacts:"
    return f"{TRIAL_ARTIFACTS}{study.get_trials(deepcopy=False)[number]._trial_id}:"
