"""The record of single answers: which test images networks miss, and how sure they are. No verdict rests on it."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..config import NUM_CLASSES
from .parts import Count, Part, Record, StudyName, derived

EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)  # between bins of an answer's probability

Probability = Annotated[float, Field(ge=0, le=1)]
Label = Annotated[int, Field(ge=0, lt=NUM_CLASSES)]


class Miss(Part):
    """An image that a network gets wrong.

    Attributes:
        place: In the file of test images, from 0.
        label, answer: What it is, and what it is taken for.
        probability, of_label: That the network gives its answer, and the label.
    """

    place: Count
    label: Label
    answer: Label
    probability: Probability
    of_label: Probability

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.answer == self.label:
            raise ValueError("the answer is right")
        return self


class Bin(Part):
    """Answers that are about as sure as each other.

    Attributes:
        num: How many.
        num_right: How many of them are right: if networks know how sure they may be, a share like `probability`.
        probability: Of the answers, on average.
    """

    num: Count
    num_right: Count
    probability: Probability

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.num_right > self.num:
            raise ValueError("more answers are right than there are")
        return self


class SeedAnswers(Part):
    """Those of a network, by all views.

    Attributes:
        seed: That it was trained from.
        misses: The images that it gets wrong.
        bins: One more than there are `edges`.
    """

    seed: Count
    misses: tuple[Miss, ...]
    bins: tuple[Bin, ...]


class HardDigit(Part):
    """An image that several networks miss, and what they take it for.

    Attributes:
        num_missed: By how many networks.
        answer: What most of these take it for.
        probability, of_label: That those networks give this answer, and the label, on average.
    """

    place: Count
    label: Label
    num_missed: Count
    answer: Label
    probability: Probability
    of_label: Probability


class Answers(Record):
    """The answers of a proof's networks, one by one (`verify-best`).

    Attributes:
        num_by_label: The test images of each class.
        edges: Between bins of an answer's probability.
        seeds: Those of which the answers are on record: that they trained is told in `verify.json`.
    """

    TITLE = "answers.json (`verify-best`)"

    schema_version: Literal[1] = 1
    study_name: StudyName
    trial: Count
    dataset: str
    num_by_label: tuple[Count, ...]
    edges: tuple[Probability, ...]
    seeds: tuple[SeedAnswers, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        num_images = sum(self.num_by_label)
        if len(self.num_by_label) != NUM_CLASSES or list(self.edges) != sorted(set(self.edges)):
            raise ValueError("there are not as many labels as classes, or the edges are not in order")
        for row in self.seeds:
            places = [miss.place for miss in row.misses]
            if len(set(places)) < len(places) or max(places, default=0) >= num_images:
                raise ValueError(f"seed {row.seed}: its misses are not different ones of {num_images} images")
            if len(row.bins) != len(self.edges) + 1 or sum(each.num for each in row.bins) != num_images:
                raise ValueError(f"seed {row.seed}: its bins do not hold {num_images} answers")
            if sum(each.num - each.num_right for each in row.bins) != len(row.misses):
                raise ValueError(f"seed {row.seed}: its bins hold other misses")
        return self

    def to_json(self) -> str:
        """A line for the whole: there are thousands of numbers."""
        return self.model_dump_json(by_alias=True) + "\n"

    @derived
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """By label and answer, over all seeds."""
        counts = Counter((miss.label, miss.answer) for row in self.seeds for miss in row.misses)
        missed = [sum(counts[label, answer] for answer in range(NUM_CLASSES)) for label in range(NUM_CLASSES)]
        return tuple(
            tuple(
                counts[label, answer] if label != answer else len(self.seeds) * num - missed[label]
                for answer in range(NUM_CLASSES)
            )
            for label, num in enumerate(self.num_by_label)
        )

    @derived
    def calibration_error(self) -> float | None:
        """By how much the answers' probability and their share of right ones differ, on average over answers."""
        total = sum(each.num for each in self.bins)
        gaps = (abs(each.num_right - each.num * each.probability) for each in self.bins)
        return sum(gaps) / total if total else None

    @property
    def bins(self) -> tuple[Bin, ...]:
        """Of all seeds together."""
        return tuple(_join(column) for column in zip(*(row.bins for row in self.seeds), strict=True))

    def hardest(self, most: int) -> list[HardDigit]:
        """The images that most networks miss; of as many, those that are taken for something else most surely."""
        by_place: dict[int, list[Miss]] = {}
        for row in self.seeds:
            for miss in row.misses:
                by_place.setdefault(miss.place, []).append(miss)
        found = map(_describe, by_place.values())
        return sorted(found, key=lambda digit: (-digit.num_missed, -digit.probability, digit.place))[:most]


def _join(bins: Sequence[Bin]) -> Bin:
    num = sum(each.num for each in bins)
    total = sum(each.num * each.probability for each in bins)
    return Bin(num=num, num_right=sum(each.num_right for each in bins), probability=total / num if num else 0.0)


def _describe(misses: list[Miss]) -> HardDigit:
    [(answer, _)] = Counter(miss.answer for miss in misses).most_common(1)
    taken = [miss for miss in misses if miss.answer == answer]
    return HardDigit(
        place=misses[0].place,
        label=misses[0].label,
        num_missed=len(misses),
        answer=answer,
        probability=fmean(miss.probability for miss in taken),
        of_label=fmean(miss.of_label for miss in taken),
    )
