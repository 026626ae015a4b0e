"""Studies in a database that many processes share: what one is bound to, and what it holds."""

import contextlib
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from ..config import PROGRAM, RECIPE, ExplainedError, short_name
from ..provenance import code_commit, versions
from .facts import Environment, FactsError, StudyFacts
from .kinds import KINDS, Kind

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
BEGUN = (TrialState.RUNNING, *FINISHED, TrialState.FAIL)
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
        try:
            self.storage.get_study_id_from_name(name)  # a list of all names would bring all that the studies carry
        except KeyError:
            return None
        return StoredStudy.load(self.storage, name)

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


def count_since_best(search: StoredStudy) -> int:
    """How many finished trials came after the best one; all of them, while none is complete."""
    best = search.best_trial()
    after = best.number if best is not None else -1
    return sum(trial.number > after for trial in search.trials(FINISHED))


def make_complaint_of_another_search(follower: StoredStudy) -> StudyError:
    """For a study that followed another search of the same name."""
    search = follower.facts.search_study or follower.name
    row: Any = KINDS[follower.kind or Kind.RERANK]
    return StudyError(
        f"Study {follower.name!r} {row.did} another search of this name. Delete both with '{PROGRAM} delete "
        f"{shlex.quote(search)}', or search under a new --study-name."
    )
