"""The record of a frontier: the accuracy that holds at each budget, every seed of it."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..config import Block, Channels
from .estimates import accuracy, estimate, max_errors, mean_of, pass_share_lower, std_of
from .parts import Count, Part, Percent, Record, StudyName, derived
from .summaries import Earned
from .tested import OtherLooks, Subject, Tested


class FrontierPoint(Part):
    """A budget: the network that its search has chosen, and what the test images have shown of it.

    Attributes:
        max_params: The budget.
        tested_before: How many other budgets had been put to the test when this one was first asked for: its choice may
            owe something to what they showed.
        study_name: Its search; null before it has begun.
        num_trials: How many trials that has completed or pruned.
        trial, num_params, channels, blocks, residual, params: Its winner; null, or empty, before it is settled.
        earned: The winner beside the study's first trial, on validation.
        subject: What the winner is on the test images.
        tested: All that is known of it: every seed, whatever command has measured it; null before any command has.
        others: Other trials of this search of which a proof was asked for.
        other_looks: What else has shown test accuracies of other trials of this search.
    """

    max_params: Count
    tested_before: Count = 0
    study_name: StudyName | None = None
    num_trials: Count = 0
    trial: Count | None = None
    num_params: Count | None = None
    channels: Channels | None = None
    blocks: tuple[Block, ...] = ()
    residual: bool = False
    params: dict[str, bool | float | int | str] = Field(default_factory=dict)
    earned: Earned | None = None
    subject: Subject | None = None
    tested: Tested | None = None
    others: tuple[Tested, ...] = ()
    other_looks: tuple[OtherLooks, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for tested in (self.tested, *self.others):
            worst = max((row.errors for row in tested.seeds), default=0) if tested is not None else 0
            if tested is not None and worst > tested.num_images:
                raise ValueError(f"budget {self.max_params}: more errors than the {tested.num_images} test images")
        return self

    @property
    def errors(self) -> tuple[int, ...]:
        """Of every measured seed, by all views."""
        return tuple(row.errors for row in self.tested.seeds) if self.tested is not None else ()

    @property
    def test_accuracies(self) -> tuple[float, ...]:
        """In percent, by all views."""
        return self._accuracies(self.errors)

    @property
    def num_unmeasured(self) -> int:
        """Seeds that proofs of it were asked for, and that were not measured yet."""
        return self.tested.num_unmeasured if self.tested is not None else 0

    @property
    def was_tested(self) -> bool:
        """Whether anything of its search was seen on the test images."""
        return bool(self.errors or self.others or self.other_looks)

    @derived
    def mean(self) -> float | None:
        return mean_of(self.test_accuracies)

    @derived
    def std(self) -> float | None:
        return std_of(self.test_accuracies)

    @derived
    def ci95(self) -> tuple[float, float] | None:
        """The 95 % t-interval of the mean."""
        return estimate(self.test_accuracies).ci95 if self.errors else None

    @derived
    def min(self) -> float | None:
        return min(self.test_accuracies, default=None)

    @derived
    def mean_one_view(self) -> float | None:
        """By the central view alone."""
        rows = self.tested.seeds if self.tested is not None else ()
        return mean_of(self._accuracies(tuple(row.errors_one_view for row in rows)))

    def num_passed(self, target: float) -> int:
        """Seeds that reach the target, and what else a proof of it was asked for, in percent."""
        if self.tested is None:
            return 0
        most = max_errors(Decimal(str(max(target, self.tested.target or 0.0))), self.tested.num_images)
        return sum(each <= most for each in self.errors)

    def _accuracies(self, errors: tuple[int, ...]) -> tuple[float, ...]:
        return tuple(accuracy(each, self.tested.num_images) for each in errors) if self.tested is not None else ()


class Frontier(Record):
    """Accuracy against parameters: a search and a proof for each of several budgets (`frontier`).

    Attributes:
        space: The hash of the search space, which all searches have.
        recipe: Theirs, too.
        commit: Of the last `frontier` command that has written this.
        points: All budgets that were ever asked for, the smallest first, confirmed or not.
    """

    TITLE: ClassVar[str] = "frontier.json (`frontier`)"

    schema_version: Literal[2] = 2
    dataset: str
    judged: bool
    epochs: Count
    space: str
    recipe: Count
    target: Percent
    commit: str
    points: Annotated[tuple[FrontierPoint, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        budgets = [point.max_params for point in self.points]
        if budgets != sorted(set(budgets)):
            raise ValueError("the budgets are not in order")
        return self

    def with_points(self, points: Iterable[FrontierPoint]) -> Self:
        """The same with others in their place."""
        return self.model_validate({**dict(self), "points": tuple(points)})

    @derived
    def smallest_held(self) -> int | None:
        """The fewest parameters of a network of which every seed reaches the target; null if there is none."""
        held = [point.num_params or 0 for point in self.points if self.is_held(point)]
        return min(held, default=None)

    def is_held(self, point: FrontierPoint) -> bool:
        """Whether every seed of a budget reaches the target: a proof that was cut off has not shown that yet."""
        return bool(point.errors) and not point.num_unmeasured and self.may_hold(point)

    def may_hold(self, point: FrontierPoint) -> bool:
        """Whether no seed was seen yet that misses the target, and that can be judged."""
        return self.judged and point.num_passed(self.target) == len(point.errors)

    def pass_share_lower(self, point: FrontierPoint) -> float | None:
        """The exact 95 % lower bound of the share of all seeds that reach the target; None where nothing is judged."""
        if not self.judged or not point.errors:
            return None
        return pass_share_lower(point.num_passed(self.target), len(point.errors))
