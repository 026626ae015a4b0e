"""The record of a frontier: the accuracy that holds at each budget, every seed of it."""

from decimal import Decimal
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..config import Block, Channels
from .estimates import accuracy, max_errors, mean_of, std_of
from .parts import Count, Part, Percent, Record, StudyName, derived
from .summaries import Earned


class FrontierPoint(Part):
    """A budget: the network that its search has chosen, and what the test images have shown of it.

    Attributes:
        max_params: The budget.
        study_name: Its search; null before it has begun.
        num_trials: How many trials that has completed or pruned.
        trial, num_params, channels, blocks, residual, params: Its winner; null, or empty, before it is settled.
        earned: The winner beside the study's first trial, on validation.
        errors, errors_one_view: Of every seed of the winner that was measured, by whichever command.
        num_images: On how many test images.
        num_planned: Seeds that proofs of it were asked for.
        target: The highest that a proof of it was asked for, in percent.
        num_attempts: Configurations of this study of which a proof was asked for.
    """

    max_params: Count
    study_name: StudyName | None = None
    num_trials: Count = 0
    trial: Count | None = None
    num_params: Count | None = None
    channels: Channels | None = None
    blocks: tuple[Block, ...] = ()
    residual: bool = False
    params: dict[str, bool | float | int | str] = Field(default_factory=dict)
    earned: Earned | None = None
    errors: tuple[Count, ...] = ()
    errors_one_view: tuple[Count, ...] = ()
    num_images: Count = 0
    num_planned: Count = 0
    target: Percent | None = None
    num_attempts: Count = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.errors) != len(self.errors_one_view) or max((*self.errors, 0)) > self.num_images:
            raise ValueError(f"budget {self.max_params}: the errors are not those of {self.num_images} test images")
        return self

    @property
    def test_accuracies(self) -> tuple[float, ...]:
        """In percent, by all views."""
        return tuple(accuracy(errors, self.num_images) for errors in self.errors)

    @derived
    def mean(self) -> float | None:
        return mean_of(self.test_accuracies)

    @derived
    def std(self) -> float | None:
        return std_of(self.test_accuracies)

    @derived
    def min(self) -> float | None:
        return min(self.test_accuracies, default=None)

    @derived
    def mean_one_view(self) -> float | None:
        """By the central view alone."""
        return mean_of([accuracy(errors, self.num_images) for errors in self.errors_one_view])

    def holds(self, target: float) -> bool:
        """Whether every measured seed reaches the target, and what else a proof of it was asked for, in percent."""
        bar = Decimal(str(max(target, self.target or 0.0)))
        return bool(self.errors) and max(self.errors) <= max_errors(bar, self.num_images)


class Frontier(Record):
    """Accuracy against parameters: a search and a proof for each of several budgets (`frontier`).

    Attributes:
        num_trials: Of each search.
        num_seeds: Of each proof.
        points: All budgets that were ever asked for, the smallest first, confirmed or not.
    """

    TITLE: ClassVar[str] = "frontier.json (`frontier`)"

    schema_version: Literal[1] = 1
    dataset: str
    judged: bool
    epochs: Count
    target: Percent
    num_trials: Count
    num_seeds: Count
    commit: str
    points: Annotated[tuple[FrontierPoint, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        budgets = [point.max_params for point in self.points]
        if budgets != sorted(set(budgets)):
            raise ValueError("the budgets are not in order")
        return self

    @derived
    def smallest_held(self) -> int | None:
        """The fewest parameters of a network of which every measured seed reaches the target; null if there is none."""
        held = [point.num_params or 0 for point in self.points if self.is_held(point)]
        return min(held, default=None)

    def is_held(self, point: FrontierPoint) -> bool:
        """Whether every measured seed of a budget reaches the target, and that can be judged."""
        return self.judged and point.holds(self.target)
