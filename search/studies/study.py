"""Studies in a database that many processes share: what one is bound to, opening, finding and deleting one."""

import contextlib
import math
import shlex
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import count
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ..config import PROGRAM, RECIPE, ExplainedError, short_name, shortened
from ..provenance import code_commit, versions
from .facts import Environment, FactsError, StudyFacts
from .kinds import KINDS, Kind, check_search_name, search_followed_by
from .turns import exclusive, patient

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
FIRST_RECIPE = 1  # which had no number


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


Params = dict[str, int | float]  # of a trial, by name


@dataclass(frozen=True, kw_only=True)
class WarmStart:
    """What another study has found: the name of that one, and what its leading trials have drawn."""

    study_name: str
    params: tuple[Params, ...]


BINDING_WORDS = {
    "dataset": "data set",
    "split": "split of the data",
    "max_params": "parameter budget",
    "epochs": "number of epochs",
    "space": "search space (--space, or space.py)",
    "recipe": "network or training recipe of this tool",
}


@dataclass(frozen=True)
class StoredStudy:
    """A study and the database that holds it: they travel together, for what changes one takes turns in the other."""

    study: optuna.Study
    storage: RDBStorage

    @classmethod
    def load(cls, storage: RDBStorage, name: str) -> "StoredStudy":
        with damage_told(f"Study {name!r}"):
            return cls(optuna.load_study(storage=storage, study_name=name), storage)

    @property
    def name(self) -> str:
        return self.study.study_name

    @property
    def facts(self) -> StudyFacts:
        """What the study carries, read anew. Raises FactsError as `StudyFacts.of` does."""
        with damage_told(f"Study {self.name!r}"):
            return StudyFacts.of(self.study)

    @property
    def kind(self) -> Kind | None:
        """None for a study that another tool made."""
        try:
            recorded = self.facts.kind
        except FactsError:
            return None
        return Kind(recorded) if recorded in KINDS else None

    @property
    def binding(self) -> Binding:
        """Raises StudyError if this tool did not make the study."""
        facts = self.facts
        recorded = {field.name: getattr(facts, field.name) for field in fields(Binding)}
        recorded["recipe"] = recorded["recipe"] or FIRST_RECIPE
        missing = next((name for name, value in recorded.items() if value is None), None)
        if missing is not None:
            raise StudyError(
                f"Study {self.name!r} was not made by this tool (no {missing!r}). Choose another --study-name."
            )
        return Binding(**recorded)

    def trials(self, states: tuple[TrialState, ...] | None = None) -> list[FrozenTrial]:
        """Raises StudyError where somebody has damaged one."""
        with damage_told(f"Study {self.name!r}"):
            return self.study.get_trials(deepcopy=False, states=states)

    def complete_trials(self) -> list[FrozenTrial]:
        found = self.trials((TrialState.COMPLETE,))
        with damage_told(f"Study {self.name!r}"):
            for trial in found:
                if trial.value is None or not math.isfinite(trial.value):
                    raise ValueError(f"the value of trial {trial.number} is {trial.value}")
        return found

    def best_trial(self) -> FrozenTrial | None:
        """The complete trial of highest value, the earliest among equals; None if there is none."""
        return max(self.complete_trials(), key=rank, default=None)

    def sibling(self, name: str) -> "StoredStudy | None":
        """The study of that name in the same database; None if there is none."""
        names = study_names(self.storage)
        return StoredStudy.load(self.storage, name) if name in names else None

    def record_use(self) -> None:
        """Notes that the study is being worked on, and with which code and libraries."""
        StudyFacts(last_active=datetime.now(UTC).isoformat(timespec="milliseconds")).write(self.study)
        now = Environment(commit=code_commit(), versions=versions())
        facts = self.facts
        if facts.commit is None:
            StudyFacts(commit=now.commit, versions=now.versions).write(self.study)
        elif now not in (Environment(commit=facts.commit, versions=facts.versions or {}), *facts.continued_with):
            StudyFacts(continued_with=(*facts.continued_with, now)).write(self.study)

    def last_active(self) -> str:
        """When a command last opened the study or a trial of it began or ended, in UTC; empty if never."""
        trials = self.trials()
        times = [
            time for trial in trials for time in (trial.datetime_start, trial.datetime_complete) if time is not None
        ]
        stamps = [time.astimezone(UTC).isoformat(timespec="milliseconds") for time in times]
        return max([self.facts.last_active if self.kind is not None else "", *stamps])


def study_names(storage: RDBStorage) -> list[str]:
    with damage_told("The list of studies"):
        names = optuna.get_all_study_names(storage)
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a name is no text")
    return names


@contextlib.contextmanager
def damage_told(what: str) -> Iterator[None]:
    """Optuna takes rows as they are: one that was edited by hand, or cut off, fails wherever it is used."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AssertionError) as error:
        reason = " ".join(str(error).split()) or "a value is missing"
        raise StudyError(
            f"{what} is damaged in the database ({reason}). Mend that row, or use another --storage."
        ) from error


def rank(trial: FrozenTrial) -> tuple[float, int]:
    """Orders complete trials: the higher value first, then the earlier one."""
    assert trial.value is not None
    return trial.value, -trial.number


def default_name(dataset: str, max_params: int, epochs: int) -> str:
    return f"{short_name(dataset)}-{max_params}p-{epochs}e"


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
    started = any(trial.state != TrialState.WAITING for trial in stored.trials())
    return stored.study.user_attrs.get("kind") is None and not started and _is_maximised(stored.study)


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


def count_since_best(search: StoredStudy) -> int:
    """How many finished trials came after the best one; all of them, while none is complete."""
    best = search.best_trial()
    after = best.number if best is not None else -1
    return sum(trial.number > after for trial in search.trials(FINISHED))


def find_search_study(storage: RDBStorage, name: str | None) -> StoredStudy:
    """The search study of that name; without one, the last active of those with a complete trial, or else of all.

    Raises:
        StudyError: If there is none.
        StudyNameError: If somebody has called it what no search can be called.
    """
    searches = [stored for stored in load_studies(storage) if stored.kind == Kind.SEARCH]
    named = [stored for stored in searches if name in (None, stored.name)]
    if named:
        found = max(named, key=lambda stored: (bool(stored.complete_trials()), stored.last_active()))
        check_search_name(found.name)
        return found
    if searches:
        others = ", ".join(stored.name for stored in searches)
        raise StudyError(f"There is no search study {shortened(name)} in this storage, but: {others}.")
    wanted = f" {shortened(name)}" if name is not None else ""
    raise StudyError(f"There is no search study{wanted} in this storage (--storage) yet. Run '{PROGRAM} search' first.")


def load_studies(storage: RDBStorage) -> list[StoredStudy]:
    return [StoredStudy.load(storage, name) for name in study_names(storage)]


def followers_of(storage: RDBStorage, search: str) -> list[str]:
    """The names of the studies that followed a search of that name, which need not be there itself."""
    named = [name for name in study_names(storage) if search_followed_by(name) == search]
    return [name for name in named if StoredStudy.load(storage, name).kind not in (None, Kind.SEARCH)]


def studies_to_delete(storage: RDBStorage, name: str) -> list[str]:
    """The names of a study of this tool's, where it is there, and of those that followed it.

    Raises:
        StudyError: If there are none, or another tool made the study.
    """
    there = name in study_names(storage)
    if there and StoredStudy.load(storage, name).kind is None:
        raise StudyError(f"Study {name!r} was not made by this tool: it is left alone.")
    names = [*([name] if there else []), *followers_of(storage, name)]
    if not names:
        raise StudyError(f"There is no study {shortened(name)} in this storage, and none that followed it.")
    return names


@patient()
def delete_studies(storage: RDBStorage, names: Iterable[str]) -> None:
    with exclusive(storage):
        for name in set(names) & set(optuna.get_all_study_names(storage)):
            optuna.delete_study(study_name=name, storage=storage)


def make_complaint_of_another_search(follower: StoredStudy) -> StudyError:
    """For a study that followed another search of the same name."""
    search = follower.facts.search_study or follower.name
    row: Any = KINDS[follower.kind or Kind.RERANK]
    return StudyError(
        f"Study {follower.name!r} {row.did} another search of this name. Delete both with '{PROGRAM} delete "
        f"{shlex.quote(search)}', or search under a new --study-name."
    )
