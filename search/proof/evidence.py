"""The records that rest on the test images, and the first of them: a proof."""

from abc import abstractmethod
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ..config import Channels, TrialConfig, shortened
from .estimates import Estimate, accuracy, estimate, max_errors, pass_share_lower
from .parts import (
    Count,
    Environment,
    Epochs,
    Part,
    Record,
    StudyName,
    Versions,
    agree,
    derived,
)
from .tested import AskedSeeds, MeasuredSeed, OtherLooks, Subject, Tested


def _check_file(name: str) -> str:
    if Path(name).name != name:
        raise ValueError(f"{shortened(name)} is no file in the record's folder")
    return name


FileName = Annotated[str, AfterValidator(_check_file)]


class KeptModel(Part):
    """The model that was kept: of the first seed of the last proof that was asked for, whatever it reached.

    Attributes:
        file: Its name, in the folder of the record.
        errors, errors_one_view: What it makes on the test images.
    """

    file: FileName
    seed: Count
    errors: Count
    errors_one_view: Count


class OneView(Part):
    """The same networks by the central view alone; in percent."""

    min: float
    mean: float
    std: float | None
    ci95: tuple[float, float] | None


class Witness(Record):
    """A record that rests on looks at the test images.

    Attributes:
        dataset: What was trained and measured on.
        device, precision, commit, versions: Where it was done: one value each, or several with commas.
    """

    schema_version: Literal[2] = 2
    dataset: str
    num_images: Annotated[Count, Field(ge=1)]
    device: str
    precision: str
    commit: str
    versions: Versions

    @property
    def environment(self) -> Environment:
        return Environment(device=self.device, precision=self.precision, commit=self.commit, versions=self.versions)

    @property
    @abstractmethod
    def tested(self) -> tuple[Tested, ...]:
        """The configurations of which it knows looks at the test images."""


class Proof(Witness):
    """A configuration, re-trained over fresh seeds and measured on the test images (`verify-best`).

    Attributes:
        chosen_by: What chose the trial, as half a sentence.
        space: The hash of the search space.
        judged: Whether the data set is one on which the claim can be judged.
        asked: All proofs of this configuration that were asked for, in order of time.
        seeds: All of this configuration that were measured, whatever command did it.
        views: What all views are.
        earlier_attempts: The other configurations on this data set of which a proof was asked for.
        other_looks: What else has shown test accuracies.
    """

    TITLE = "verify.json (`verify-best`)"

    study_name: StudyName
    trial: Count
    chosen_by: str
    config: TrialConfig
    recipe: Count
    space: str
    epochs: Epochs
    judged: bool
    asked: Annotated[tuple[AskedSeeds, ...], Field(min_length=1)]
    seeds: Annotated[tuple[MeasuredSeed, ...], Field(min_length=1)]
    num_views: Count
    views: str
    earlier_attempts: tuple[Tested, ...]
    other_looks: tuple[OtherLooks, ...]
    model: KeptModel | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.asked[-1].target is None:
            raise ValueError("no target was asked for")
        numbers = [row.seed for row in self.seeds]
        if numbers != sorted(set(numbers)):
            raise ValueError("the seeds are not in order")
        for row in self.seeds:
            if max(max(each.errors, each.errors_one_view) for each in row.outcomes) > self.num_images:
                raise ValueError(f"seed {row.seed}: more errors than test images")
            if row.errors < max(each.errors for each in row.outcomes):
                raise ValueError(f"seed {row.seed}: its worst outcome has to count")
            if not agree(row.test_accuracy, accuracy(row.errors, self.num_images)):
                raise ValueError(f"seed {row.seed}: the test accuracy is not that of {row.errors} errors")
        if self.model is not None and not any(
            row.seed == self.model.seed and self.model.errors in {each.errors for each in row.outcomes}
            for row in self.seeds
        ):
            raise ValueError("the kept model is of none of the seeds")
        return self

    @property
    def _estimate(self) -> Estimate:
        return estimate([accuracy(row.errors, self.num_images) for row in self.seeds])

    @property
    def subject(self) -> Subject:
        return Subject.of(self.config, dataset=self.dataset, epochs=self.epochs, recipe=self.recipe)

    @property
    def tested(self) -> tuple[Tested, ...]:
        itself = Tested(
            subject=self.subject,
            study_name=self.study_name,
            trial=self.trial,
            num_params=self.num_params,
            num_images=self.num_images,
            asked=self.asked,
            seeds=self.seeds,
            **dict(self.environment),
        )
        return itself, *self.earlier_attempts

    @property
    def first_seed(self) -> int:
        """Of those that were asked for."""
        return self.asked[-1].first_seed

    @property
    def asked_target(self) -> float:
        """What the last command asked for, in percent; a higher one was perhaps asked for before."""
        target = self.asked[-1].target
        assert target is not None
        return target

    @derived
    def target(self) -> float:
        """The test accuracy that every seed has to reach, in percent: the highest that was ever asked for."""
        return max(asked.target for asked in self.asked if asked.target is not None)

    @derived
    def num_planned(self) -> int:
        """Seeds that proofs were asked for; not all may be measured."""
        return len(set().union(*(asked.range for asked in self.asked)))

    @property
    def num_unmeasured(self) -> int:
        return self.tested[0].num_unmeasured

    @derived
    def num_params(self) -> int:
        return self.config.model.num_params

    @derived
    def channels(self) -> Channels:
        return self.config.model.channels

    @derived
    def max_errors(self) -> int:
        """The most errors with which a seed reaches the target."""
        return max_errors(Decimal(str(self.target)), self.num_images)

    @derived
    def num_passed(self) -> int:
        return sum(row.errors <= self.max_errors for row in self.seeds)

    @derived
    def min(self) -> float:
        return self._estimate.min

    @derived
    def mean(self) -> float:
        return self._estimate.mean

    @derived
    def std(self) -> float | None:
        return self._estimate.std

    @derived
    def ci95(self) -> tuple[float, float] | None:
        """The 95 % t-interval of the mean, over seeds."""
        return self._estimate.ci95

    @derived
    def one_view(self) -> OneView:
        found = estimate([accuracy(row.errors_one_view, self.num_images) for row in self.seeds])
        return OneView(min=found.min, mean=found.mean, std=found.std, ci95=found.ci95)

    @derived
    def pass_share_lower95(self) -> float:
        """The exact one-sided 95 % lower bound of the share of seeds that reach the target."""
        return pass_share_lower(self.num_passed, len(self.seeds))

    @derived
    def attempts(self) -> int:
        """Configurations on this data set of which a proof was asked for, this one included."""
        return len(self.earlier_attempts) + 1

    @derived
    def confirmed(self) -> bool | None:
        """Whether every measured seed of the configuration reached the target; null where that cannot be judged."""
        return self.num_passed == len(self.seeds) if self.judged else None
