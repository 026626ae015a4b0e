"""The record of a frontier: the accuracy that holds at each budget, every seed of it."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from search.config import Block, Channels
from search.proof.estimates import estimate
from search.proof.parts import Count, Part, Percent, Record, StudyName, derived
from search.proof.summaries import Earned


class FrontierPoint(Part):
    """A budget: the network that its search has chosen, and what the test digits have shown of it.

    Attributes:
        max_params: The budget.
        study_name: Its search; null before it has begun.
        num_trials: How many trials that has completed or pruned.
        trial, num_params, channels, blocks, residual: Its winner; null before it is settled.
        earned: The winner beside the study's first trial, on validation.
        test_accuracies: Of every seed of the winner that was measured, by whichever command; in percent.
        one_view: The same networks by the central view alone.
        num_planned: Seeds that proofs of it were asked for.
        confirmed: The verdict of its proof; null before it is there, and where it cannot be judged.
        pass_share_lower95: As in the proof.
    """

    max_params: Count
    study_name: StudyName | None = None
    num_trials: Count = 0
    trial: Count | None = None
    num_params: Count | None = None
    channels: Channels | None = None
    blocks: tuple[Block, ...] = ()
    residual: bool = False
    earned: Earned | None = None
    test_accuracies: tuple[Percent, ...] = ()
    one_view: tuple[Percent, ...] = ()
    num_planned: Count = 0
    confirmed: bool | None = None
    pass_share_lower95: float | None = None

    @derived
    def mean(self) -> float | None:
        return estimate(self.test_accuracies).mean if self.test_accuracies else None

    @derived
    def std(self) -> float | None:
        return estimate(self.test_accuracies).std if self.test_accuracies else None

    @derived
    def min(self) -> float | None:
        return min(self.test_accuracies, default=None)


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
        held = [point.num_params for point in self.points if point.confirmed and point.num_params is not None]
        return min(held, default=None)
