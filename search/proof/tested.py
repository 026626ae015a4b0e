"""What was seen of a configuration on the test images, and what was asked for before."""

import hashlib
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from ..config import MAX_SEEDS, TrialConfig, as_json
from .estimates import accuracy, max_errors, mean_of
from .parts import Count, Environment, Part, Percent, Versions, derived

Command = Literal["verify-best", "ablate", "reproduce"]  # what measures on the test images


class Subject(Part):
    """What is measured on test images: a configuration, trained so on a data set, whatever its study is called.

    Attributes:
        config: As JSON has it, for that of an earlier recipe may lack what there is today.
    """

    dataset: str
    epochs: Count
    recipe: Count
    config: dict[str, Any]

    @classmethod
    def of(cls, config: TrialConfig, *, dataset: str, epochs: int, recipe: int) -> Self:
        return cls(dataset=dataset, epochs=epochs, recipe=recipe, config=as_json(config))

    @property
    def key(self) -> str:
        """Equal for equal subjects, wherever they are on record."""
        values = json.loads(self.model_dump_json(), parse_int=float)  # 10 and 10.0 are one number
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


class AskedSeeds(Part):
    """The seeds that a proof was asked for.

    Attributes:
        target: The test accuracy that every one of them has to reach, in percent; null where it was not noted.
        chosen_by: What chose the trial, as half a sentence.
        time: In UTC; empty where it was not noted.
    """

    first_seed: Count
    num_seeds: Annotated[int, Field(ge=1, le=MAX_SEEDS)]
    target: Percent | None
    chosen_by: str
    time: str
    commit: str

    @property
    def range(self) -> range:
        return range(self.first_seed, self.first_seed + self.num_seeds)


class Outcome(Part):
    """What a command has measured of a seed: by all views, and by the central one alone."""

    command: Command
    errors: Count
    errors_one_view: Count


class MeasuredSeed(Outcome):
    """A network that was trained from a seed, on the test images. Where it was measured repeatedly, its worst counts.

    Attributes:
        others: What else it came to, on another machine or by another command.
    """

    seed: Count
    test_accuracy: Percent
    others: tuple[Outcome, ...] = ()

    @classmethod
    def of(cls, seed: int, outcomes: Sequence[Outcome], num_images: int) -> Self:
        """From all that was measured of it."""
        worst, *others = sorted(outcomes, key=lambda each: (-each.errors, each.command != "verify-best", each.command))
        measured = accuracy(worst.errors, num_images)
        return cls(seed=seed, test_accuracy=measured, others=tuple(others), **dict(worst))

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        own = Outcome(command=self.command, errors=self.errors, errors_one_view=self.errors_one_view)
        return own, *self.others


class Tested(Part):
    """A configuration on the test images: which proofs of it were asked for, and what every command has measured.

    Attributes:
        study_name, trial: The search and its trial; one of them, where several have drawn it.
        device, precision, commit, versions: Where the seeds were trained, as in the proof itself.
    """

    subject: Subject
    study_name: str
    trial: Count
    num_params: Count
    num_images: Count
    asked: tuple[AskedSeeds, ...]
    seeds: tuple[MeasuredSeed, ...]
    device: str
    precision: str
    commit: str
    versions: Versions

    @property
    def environment(self) -> Environment:
        return Environment(device=self.device, precision=self.precision, commit=self.commit, versions=self.versions)

    @derived
    def target(self) -> float | None:
        """The highest that was asked for: a bar is not lowered. In percent."""
        return max((asked.target for asked in self.asked if asked.target is not None), default=None)

    @derived
    def num_planned(self) -> int:
        """Seeds that proofs were asked for, measured or not."""
        return len(set().union(*(asked.range for asked in self.asked)))

    @property
    def num_unmeasured(self) -> int:
        """Planned seeds that were not measured, or not yet."""
        planned = set().union(*(asked.range for asked in self.asked))
        return len(planned.difference(row.seed for row in self.seeds))

    @derived
    def num_passed(self) -> int | None:
        """Seeds that reach the target; null without one."""
        if self.target is None:
            return None
        most = max_errors(Decimal(str(self.target)), self.num_images)
        return sum(row.errors <= most for row in self.seeds)

    @derived
    def min(self) -> float | None:
        """In percent, as the mean."""
        return min((row.test_accuracy for row in self.seeds), default=None)

    @derived
    def mean(self) -> float | None:
        return mean_of([row.test_accuracy for row in self.seeds])


class OtherLooks(Part):
    """What a command has shown of the test images without a proof: of rungs of a ladder, say.

    Attributes:
        num_runs: How many networks it has measured.
    """

    command: Command
    study_name: str
    trial: Count
    num_runs: Count
