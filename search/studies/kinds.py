"""The table of kinds of study: how one is named after its search, what it counts, and what its trials are called."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from optuna.trial import FrozenTrial

from ..config import ExplainedError, shortened
from ..files import check_name
from ..settings import COMMITTED_NAMES

VALIDATION, TEST = "validation accuracy (%)", "test accuracy (%)"


class StudyNameError(ExplainedError):
    """No search can be called so."""


class Kind(StrEnum):
    """What a study's trials are; recorded in the study."""

    SEARCH = "search"
    RERANK = "rerank"
    VERIFY = "verify"
    ABLATE = "ablate"
    REPRODUCE = "reproduce"


@dataclass(frozen=True, kw_only=True)
class KindRow:
    """A row of the table.

    Attributes:
        suffix: What the name of a search is followed by in the name of this study; may hold `{trial}` and `{identity}`.
        unit: What its trials are counted in.
        label: What a trial is called.
        metric: What its trials are measured by.
        stage: What a command calls the work on such a study.
        did: What such a study did to its subject, for the complaint that it did it to another.
        shows_test: Whether its trials measure on the test images.
    """

    suffix: str = ""
    unit: str
    label: Callable[[FrozenTrial], str]
    stage: str
    did: str
    metric: str = VALIDATION
    shows_test: bool = False
    parts: dict[str, str] = field(default_factory=lambda: {"trial": r"\d+", "identity": "[0-9a-f]{6}"})

    def name(self, search: str, **parts: object) -> str:
        """The name of such a study that follows a search."""
        return search + self.suffix.format(**parts)

    def matches(self, name: str) -> str | None:
        """The name of the search that a study of this name follows; None if it is not named so."""
        pattern = re.escape(self.suffix).replace(r"\{", "{").replace(r"\}", "}").format(**self.parts)
        found = re.fullmatch(f"(.+){pattern}", name) if self.suffix else None
        return found[1] if found else None


def _seed_label(trial: FrozenTrial) -> str:
    return f"seed {trial.params['seed']}" if trial.params else f"trial {trial.number}"


def _run_label(trial: FrozenTrial) -> str:
    if len(trial.params) < 2:  # it has only just begun
        return f"run {trial.number}"
    return f"trial {trial.params['trial']}, run {trial.params['run'] + 1}"


def _rung_label(trial: FrozenTrial) -> str:
    if len(trial.params) < 2:
        return f"run {trial.number}"
    return f"{trial.params['rung']}, seed {trial.params['seed']}"


KINDS = {
    Kind.SEARCH: KindRow(unit="trial", label=lambda trial: f"trial {trial.number}", stage="search", did="searched"),
    Kind.RERANK: KindRow(suffix="-rerank", unit="run", label=_run_label, stage="re-ranking", did="re-ranked"),
    Kind.VERIFY: KindRow(
        suffix="-verify-{trial}",
        unit="seed",
        label=_seed_label,
        stage="verification",
        did="verified",
        metric=TEST,
        shows_test=True,
    ),
    Kind.ABLATE: KindRow(
        suffix="-ablate-{trial}",
        unit="run",
        label=_rung_label,
        stage="ablation",
        did="took apart",
        metric=TEST,
        shows_test=True,
    ),
    Kind.REPRODUCE: KindRow(
        suffix="-reproduce-{trial}-{identity}",
        unit="seed",
        label=_seed_label,
        stage="reproduction",
        did="repeated",
        metric=TEST,
        shows_test=True,
    ),
}


def search_followed_by(name: str) -> str | None:
    """The name of the search that a study of this name follows, by its name; None if it follows none."""
    return next((found for row in KINDS.values() if (found := row.matches(name)) is not None), None)


def check_search_name(name: str) -> None:
    """Raises StudyNameError, whether it was typed or comes from a database: a search's name is its folder's, too."""
    try:
        check_name(name)
    except ValueError as error:
        raise StudyNameError(f"Study name {shortened(name)} cannot be used: {error}.") from error
    if search_followed_by(name) is not None:
        raise StudyNameError(f"Study name {name!r} cannot be used: studies that follow a search are named so.")
    if name in COMMITTED_NAMES:
        raise StudyNameError(f"Study name {name!r} cannot be used: results/{name} holds a committed study's records.")
