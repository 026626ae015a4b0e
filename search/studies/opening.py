"""Studies are created or joined: what one is bound to stays as it is."""

import shlex
import warnings
from dataclasses import asdict
from itertools import count

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from ..config import PROGRAM
from .facts import StudyFacts
from .finding import followers_of
from .kinds import KINDS, Kind, search_followed_by
from .study import BINDING_WORDS, Binding, Params, StoredStudy, StudyError, WarmStart, study_names
from .turns import exclusive, patient


@patient()
def open_search_study(
    storage: RDBStorage,
    name: str,
    binding: Binding,
    first_params: Params,
    warm_start: WarmStart | None = None,
) -> StoredStudy:
    """Creates the study, with `first_params` queued as its first trial, or joins it.

    Args:
        warm_start: What is queued after that; what it was begun with stands.

    Raises:
        StudyError: If a study of this name is bound to something else, or is new but has followers.
    """
    with exclusive(storage):
        followers = [each for each in followers_of(storage, name) if _needs_its_search(StoredStudy.load(storage, each))]
        if followers and name not in study_names(storage):
            raise StudyError(
                f"Studies that followed an earlier search {name!r} are still there: {', '.join(followers)}. Delete "
                f"them with '{PROGRAM} delete {shlex.quote(name)}', or search under another --study-name."
            )
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        stored = StoredStudy(study, storage)
        if _is_new(stored):
            _set_up(study, binding, first_params, warm_start)
        refuse_other_binding(stored, binding)
        stored.record_use()
    return stored


def _needs_its_search(follower: StoredStudy) -> bool:
    """A reproduction does not: it repeats a record, be it of a search of another storage."""
    return follower.kind != Kind.REPRODUCE


def _is_new(stored: StoredStudy) -> bool:
    """Whether a study was just created, or its creator was cut off before it was set up."""
    if stored.study.user_attrs.get("kind") is not None or not _is_maximised(stored.study):
        return False
    return all(trial.state == TrialState.WAITING for trial in stored.trials())


def _is_maximised(study: optuna.Study) -> bool:
    return study.directions == [StudyDirection.MAXIMIZE]


def _set_up(study: optuna.Study, binding: Binding, first_params: Params, warm_start: WarmStart | None) -> None:
    """Makes a new study a search; its kind comes last, so that what is cut off half-way is done again."""
    _name_metric(study, Kind.SEARCH)
    StudyFacts(**asdict(binding)).write(study)
    for params in (first_params, *(warm_start.params if warm_start is not None else ())):
        study.enqueue_trial(params, skip_if_exists=True)
    if warm_start is not None:
        StudyFacts(warm_start=warm_start.study_name).write(study)
    StudyFacts(kind=Kind.SEARCH).write(study)


def _name_metric(study: optuna.Study, kind: Kind) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([KINDS[kind].metric])


def refuse_other_binding(stored: StoredStudy, binding: Binding) -> None:
    """Raises StudyError where a study was made with something else: its results would not compare."""
    recorded, wanted = asdict(stored.binding), asdict(binding)
    changes = [
        f"{BINDING_WORDS[name]} ({recorded[name]}, now {value})"
        for name, value in wanted.items()
        if recorded[name] != value
    ]
    if changes:
        names = study_names(stored.storage)
        free = shlex.quote(next(name for number in count(2) if (name := f"{stored.name}-{number}") not in names))
        raise StudyError(
            f"Study {stored.name!r} was made with another {', '.join(changes)}. Go on with what it was made with (at "
            f"commit {str(stored.facts.commit)[:12]}), or start another: add --study-name {free}, or type "
            f"'make search STUDY={free}'."
        )


def open_following_study(search: StoredStudy, kind: Kind, facts: StudyFacts, **name_parts: object) -> StoredStudy:
    """Creates or joins a study of runs that follow a search; it is bound to what the search is bound to.

    Args:
        name_parts: What the pattern of its name asks for (`search.studies.kinds.KINDS`).

    Raises:
        StudyError: As `open_bound_study` does.
    """
    name = KINDS[kind].name(search.name, **name_parts)
    bound = facts.model_copy(update={"search_study": search.name, **asdict(search.binding)})
    return open_bound_study(search.storage, name, kind, bound)


@patient()
def open_bound_study(storage: RDBStorage, name: str, kind: Kind, facts: StudyFacts) -> StoredStudy:
    """Creates or joins a study that is about one thing, and stays so.

    Args:
        facts: What it is about. A study whose creator was cut off may lack some, and gets them.

    Raises:
        StudyError: If a study of this name is about something else.
    """
    wanted = {**facts.as_attributes(), "kind": str(kind)}  # its kind comes last, as in a search
    with exclusive(storage):
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        recorded = study.user_attrs
        if any(recorded.get(key, value) != value for key, value in wanted.items()):
            search = search_followed_by(name) or name
            raise StudyError(
                f"Study {name!r} {KINDS[kind].did} something else. Delete it with '{PROGRAM} delete "
                f"{shlex.quote(search)}', or use another --storage."
            )
        _name_metric(study, kind)
        for key, value in wanted.items():
            if key not in recorded:
                study.set_user_attr(key, value)
        stored = StoredStudy(study, storage)
        stored.record_use()
    return stored
