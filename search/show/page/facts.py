"""What a page shows: gathered by whoever can read it (`search.runs.pages`), drawn without looking further."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ...config import TrialConfig
from ...proof.answers import Answers
from ...proof.evidence import Proof
from ...proof.frontier import Frontier
from ...proof.ladder import Ladder
from ...proof.summaries import StudySummary

State = Literal["complete", "pruned", "failed", "interrupted", "running"]


@dataclass(frozen=True, kw_only=True)
class ShownTrial:
    """A trial of the search.

    Attributes:
        value: Validation accuracy after the last epoch, in percent, by all views.
        curve: By epoch; by one view but for the last one.
        worker: The process that trained it.
        reason: Why it was pruned, or has failed.
    """

    number: int
    state: State
    value: float | None
    curve: dict[int, float]
    params: dict[str, Any]
    num_params: int | None
    start: datetime | None
    end: datetime | None
    worker: str
    reason: str | None


def names_of(trials: Iterable[ShownTrial]) -> list[str]:
    """The parameters that any of them has drawn: in a space of one's own, one may depend on another."""
    return list(dict.fromkeys(name for trial in trials for name in trial.params))


@dataclass(frozen=True, kw_only=True)
class Digit:
    """An image: 28 times 28 bytes."""

    pixels: bytes
    label: int


@dataclass(frozen=True, kw_only=True)
class Program:
    """A network that the page runs.

    Attributes:
        whose: Half a sentence that says which it is.
        steps, numbers: As `search.net.program` has them.
        mean, std: Of pixels from 0 to 1: what they are normalised by.
        crops: The views: the side to which the image is resized, and how far down and right it is looked at.
    """

    whose: str
    steps: tuple[dict[str, Any], ...]
    numbers: bytes
    mean: float
    std: float
    crops: tuple[tuple[int, int, int], ...]


FEWEST_FOR_IMPORTANCE = 20  # complete trials: the best quarter of them are five


@dataclass(frozen=True, kw_only=True)
class PageFacts:
    """A study, as far as it has come.

    Attributes:
        num_planned: Trials that its last command has asked for.
        importance: The share of each parameter in how trials differ; empty where that cannot be told.
        classes: What the labels mean.
        side: Pixels a side of an image that a network looks at.
        config: The winner's, or before there is one the best trial's.
        not_rebuilt: Why it is not known.
        images: Training images as they are, each with how it may be trained on.
        hardest: A picture of the test images that most networks miss, side by side, as PNG.
        program: The winner's network, to be tried.
        places: The options by which a command that follows a search finds this one.
        remark: What has to be known to type such a command; behind a #.
        commands: What was typed, or what leads to the same; the search comes first.
    """

    summary: StudySummary
    num_planned: int
    trials: tuple[ShownTrial, ...]
    classes: tuple[str, ...]
    side: int
    importance: dict[str, float] = field(default_factory=dict)
    config: TrialConfig | None = None
    not_rebuilt: str | None = None
    proof: Proof | None = None
    answers: Answers | None = None
    ladder: Ladder | None = None
    frontier: Frontier | None = None
    images: tuple[tuple[Digit, tuple[Digit, ...]], ...] = ()
    hardest: bytes | None = None
    program: Program | None = None
    places: tuple[str, ...] = ()
    remark: str | None = None
    commands: tuple[str, ...] = ()
