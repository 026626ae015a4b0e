"""The records: what a command has found, as one value, one JSON file and one JSON schema.

A record holds what was measured; what follows from that is computed, written beside it, and, where a record is read,
computed again: a file that contradicts itself is refused. `docs/records.md` is generated from these types.
"""

import hashlib
import json
import math
import sys
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    computed_field,
    model_validator,
)

from search.config import LARGEST_INTEGER, MAX_EPOCHS, MAX_SEEDS, Channels, ExplainedError, TrialConfig, shortened
from search.files import check_name, read_regular, write_atomically
from search.proof.estimates import Estimate, accuracy, estimate, max_errors, mean_of, pass_share_lower, std_of

TOLERANCE = 1e-6  # by which a computed value may differ: other libraries round otherwise
LARGEST_RECORD = 2**26  # bytes

if TYPE_CHECKING:
    derived = property  # mypy knows no decorated properties
else:

    def derived(function: Any) -> Any:
        """What follows from the fields: written beside them, never read."""
        return computed_field(property(function))


Command = Literal["verify-best", "ablate", "reproduce"]  # what measures on the test digits
Versions = dict[str, str]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
Epochs = Annotated[int, Field(ge=1, le=MAX_EPOCHS)]  # of a run that may be repeated
StudyName = Annotated[str, AfterValidator(check_name)]  # of a study that has, or had, a folder of its own


class RecordError(ExplainedError):
    """A record is missing, damaged, or of another version of the tool."""


class RepeatedKeyError(ExplainedError):
    """An object in a JSON file holds two values of one name: whoever reads it may see the other one."""


class Part(BaseModel):
    """A part of a record: frozen, complete, and in agreement with itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _compute_again(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """What is read from JSON has to be what would be written.

        So what was computed when the record was written has to follow from the rest, or somebody has changed it; and
        no value is taken for one of another type, as "35" would be for 35.
        """
        if not isinstance(data, dict):
            return handler(data)
        computed = {name: data[name] for name in cls.model_computed_fields if name in data}
        part = handler({name: value for name, value in data.items() if name not in computed})
        written = json.loads(part.model_dump_json(include=set(data if info.mode == "json" else computed)))
        for name, value in written.items():
            if not _agree(data[name], value, whole=name in computed):
                found = shortened(value)
                meant = f"but the rest of the record gives {found}" if name in computed else f"where {found} is meant"
                raise ValueError(f"{name} is {shortened(data[name])}, {meant}")
        return part


def _agree(some: Any, other: Any, *, whole: bool = True) -> bool:
    """Whether two values are the same, but for rounding; with `whole`, an object must not lack what the other has."""
    if isinstance(some, bool) or isinstance(other, bool):
        return some is other
    if isinstance(some, int) and isinstance(other, int):
        return some == other
    if isinstance(some, float | int) and isinstance(other, float | int):
        in_range = max(abs(some), abs(other)) <= sys.float_info.max  # an integer may be too large to compare
        return in_range and math.isclose(some, other, abs_tol=TOLERANCE)
    if isinstance(some, list | tuple) and isinstance(other, list):
        return len(some) == len(other) and all(_agree(*pair, whole=whole) for pair in zip(some, other, strict=True))
    if isinstance(some, dict) and isinstance(other, dict):
        complete = some.keys() == other.keys() if whole else some.keys() <= other.keys()
        return complete and all(_agree(value, other[key], whole=whole) for key, value in some.items())
    return bool(some == other)


class Record(Part):
    """A record: a file of its own.

    Each has a `schema_version`, raised whenever one of before could not be read, or would be read as something else.
    """

    TITLE: ClassVar[str]

    def to_json(self) -> str:
        return self.model_dump_json(indent=2, by_alias=True) + "\n"

    def write(self, path: Path) -> None:
        """Writes the record, atomically."""
        write_atomically(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a record.

        Raises:
            FileNotFoundError: If there is none.
            OSError: If it cannot be read, is no regular file, or is far too large.
            RecordError: If it is damaged, or of another version of the tool.
        """
        content = read_regular(path, limit=LARGEST_RECORD)
        current = cls.model_fields["schema_version"].default
        try:
            version = _version_of(content, current)
        except RepeatedKeyError as error:
            raise RecordError(f"{path} is damaged ({error}). Restore it.") from error
        if version != current:
            age = "an earlier" if version is None else "another"
            raise RecordError(f"{path} was written by {age} version of this tool. Use that version, or move it away.")
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise RecordError(f"{path} is damaged ({describe_damage(error)}). Restore it.") from error


def _version_of(content: bytes, current: int) -> Any:
    """The schema version of a record, None without one; ours for what is no JSON object: it is damaged, not old."""
    try:
        found = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return current
    return found.get("schema_version") if isinstance(found, dict) else current


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RepeatedKeyError("it holds two values of one name")
    return found


def describe_damage(error: ValidationError) -> str:
    """What is wrong with a record, in words: the first thing."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return "it is not JSON"
    place = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"it has no {place!r}"
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    return f"{place}: {message}" if place else message


class Environment(Part):
    """Where runs were trained: one value each, or several with commas."""

    device: str
    precision: str
    commit: str
    versions: Versions


def describe_environment(environment: Environment) -> str:
    """That in words."""
    packages = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    return f"{environment.device} in {environment.precision}, {packages}, commit {environment.commit}"


def join_environments(environments: Iterable[Environment]) -> Environment:
    """One value each, or several with commas where they differ."""
    found = list(environments)
    packages = dict.fromkeys(name for each in found for name in each.versions)
    return Environment(
        device=_distinct(each.device for each in found),
        precision=_distinct(each.precision for each in found),
        commit=_distinct(each.commit for each in found),
        versions={name: _distinct(each.versions.get(name, "unknown") for each in found) for name in packages},
    )


def _distinct(values: Iterable[str]) -> str:
    return ", ".join(sorted({part for value in values for part in value.split(", ") if part}))


class Subject(Part):
    """What is measured on test digits: a configuration, trained so on a data set, whatever its study is called.

    Attributes:
        config: As JSON has it, for that of an earlier recipe may lack what there is today.
    """

    dataset: str
    epochs: Count
    recipe: Count
    config: dict[str, Any]

    @classmethod
    def of(cls, config: TrialConfig, *, dataset: str, epochs: int, recipe: int) -> Self:
        return cls(dataset=dataset, epochs=epochs, recipe=recipe, config=_CONFIG.dump_python(config, mode="json"))

    @property
    def key(self) -> str:
        """Equal for equal subjects, wherever they are on record."""
        values = json.loads(self.model_dump_json(), parse_int=float)  # 10 and 10.0 are one number
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


_CONFIG = TypeAdapter(TrialConfig)


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
    """A network that was trained from a seed, on the test digits. Where it was measured repeatedly, its worst counts.

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


class Spread(Part):
    """Runs of one configuration, and how they scatter; in percent.

    Attributes:
        accuracies: One per run.
    """

    accuracies: tuple[Percent, ...]

    @derived
    def mean(self) -> float | None:
        return mean_of(self.accuracies)

    @derived
    def std(self) -> float | None:
        return std_of(self.accuracies)


class Tested(Part):
    """A configuration on the test digits: which proofs of it were asked for, and what every command has measured.

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
    """What a command has shown of the test digits without a proof: of rungs of a ladder, say.

    Attributes:
        study_name, trial: The search and its trial.
        num_runs: How many networks it has measured.
    """

    command: Command
    study_name: str
    trial: Count
    num_runs: Count


class KeptModel(Part):
    """The model that was kept: of the first seed, whatever it reached.

    Attributes:
        file: Its name, in the folder of the record.
        errors, errors_one_view: What it makes on the test digits.
    """

    file: str
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
    """A record that rests on looks at the test digits.

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
        """The configurations of which it knows looks at the test digits."""


class Proof(Witness):
    """A configuration, re-trained over fresh seeds and measured on the test digits (`verify-best`).

    Attributes:
        study_name, trial: The search and its trial.
        chosen_by: What chose the trial, as half a sentence.
        space: The hash of the search space.
        judged: Whether the data set is one on which the claim can be judged.
        asked: All proofs of this configuration that were asked for, this one last.
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
                raise ValueError(f"seed {row.seed}: more errors than test digits")
            if row.errors < max(each.errors for each in row.outcomes):
                raise ValueError(f"seed {row.seed}: its worst outcome has to count")
            if not _agree(row.test_accuracy, accuracy(row.errors, self.num_images)):
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
        return len(set().union(*(asked.range for asked in self.asked)) - {row.seed for row in self.seeds})

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


class ByHand(Part):
    """What the hand-made study that this tool replaces reached; in percent.

    Attributes:
        train: On training digits as they were trained on.
        test: The best epoch's, of one run.
    """

    train: float
    test: float


class Rung(Part):
    """A rung of the ladder: a configuration with some methods alone, over seeds.

    Attributes:
        rung: Its name.
        methods: Those that it has, of "norm", "dropout" and "augmentation".
        errors, errors_one_view: Of each seed, by all views and by the central one; all digits where it diverged.
        diverged: Runs that diverged; they are left out of the accuracies.
        test: By all views.
        test_one_view: By the central view alone.
        train_one_view: On the training digits as they are, without distortions.
    """

    rung: str
    methods: tuple[str, ...]
    config: TrialConfig
    errors: tuple[Count, ...]
    errors_one_view: tuple[Count, ...]
    diverged: Count
    test: Spread
    test_one_view: Spread
    train_one_view: Spread
    by_hand: ByHand | None

    @derived
    def num_params(self) -> int:
        return self.config.model.num_params


class Ladder(Witness):
    """What each method earned on the test digits, one added after the other, and each left out alone (`ablate`).

    Attributes:
        dropout: The rate of the rungs that have dropout.
    """

    TITLE = "ablation.json (`ablate`)"

    study_name: str
    trial: Count
    epochs: Epochs
    recipe: Count
    config: TrialConfig
    dropout: float
    first_seed: Count
    num_seeds: Annotated[int, Field(ge=1)]
    rungs: tuple[Rung, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for rung in self.rungs:
            if not len(rung.errors) == len(rung.errors_one_view) == self.num_seeds:
                raise ValueError(f"rung {rung.rung!r}: there are not as many errors as seeds")
        return self

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.num_seeds)

    @property
    def tested(self) -> tuple[Tested, ...]:
        return tuple(
            Tested(
                subject=Subject.of(rung.config, dataset=self.dataset, epochs=self.epochs, recipe=self.recipe),
                study_name=self.study_name,
                trial=self.trial,
                num_params=rung.num_params,
                num_images=self.num_images,
                asked=(),
                seeds=tuple(
                    MeasuredSeed.of(
                        seed, [Outcome(command="ablate", errors=errors, errors_one_view=one_view)], self.num_images
                    )
                    for seed, errors, one_view in zip(self.seeds, rung.errors, rung.errors_one_view, strict=True)
                ),
                **dict(self.environment),
            )
            for rung in self.rungs
        )

    @derived
    def channels(self) -> Channels:
        return self.config.model.channels

    @derived
    def winner_has_dropout(self) -> bool:
        """Whether the trial as it was found has dropout."""
        return self.config.model.dropout > 0


class RepeatedSeed(Part):
    """A seed that was trained again, beside what is recorded of it.

    Attributes:
        recorded_errors: Null for a seed that is not on record.
    """

    seed: Count
    test_accuracy: Percent
    errors: Count
    errors_one_view: Count
    recorded_errors: Count | None


class Reproduction(Witness):
    """A recorded proof, repeated (`reproduce`).

    Attributes:
        seeds: Recorded ones or others.
        identical: Whether every recorded seed that was repeated makes the recorded errors; null if none was.
        num_judged: Seeds that are judged by their mean.
        mean: Of the test accuracies of the judged seeds; null without any.
        recorded_mean: Of the recorded seeds.
        margin: Half of the 95 % prediction interval for the mean of so many.
        within_spread: Whether the mean lies within the margin of the recorded one; null if that cannot be told.
        model_errors: What the recorded model's file makes on the test digits; null without one.
        recorded_model_errors: What is on record of that model's seed.
        model_agrees: Whether both are the same.
        num_earlier: Seeds that an earlier command had trained with this storage.
        reproduced: Whether all that can be judged agrees; null if nothing can.
        recorded_with: Where the recorded runs were trained.
        target: That of the recorded proof, in percent.
    """

    TITLE = "reproduce.json (`reproduce`)"

    study_name: str
    trial: Count
    config: TrialConfig
    recipe: int
    epochs: Count
    target: Percent
    seeds: tuple[RepeatedSeed, ...]
    identical: bool | None
    num_judged: Count
    mean: float | None
    recorded_mean: float
    margin: float | None
    within_spread: bool | None
    model_errors: Count | None
    recorded_model_errors: Count | None
    model_agrees: bool | None
    reproduced: bool | None
    num_earlier: Count
    recorded_with: Environment

    @property
    def tested(self) -> tuple[Tested, ...]:
        outcomes = {
            row.seed: Outcome(command="reproduce", errors=row.errors, errors_one_view=row.errors_one_view)
            for row in self.seeds
        }
        itself = Tested(
            subject=Subject.of(self.config, dataset=self.dataset, epochs=self.epochs, recipe=self.recipe),
            study_name=self.study_name,
            trial=self.trial,
            num_params=self.num_params,
            num_images=self.num_images,
            asked=(),
            seeds=tuple(MeasuredSeed.of(seed, [outcome], self.num_images) for seed, outcome in outcomes.items()),
            **dict(self.environment),
        )
        return (itself,)

    @derived
    def num_params(self) -> int:
        return self.config.model.num_params

    @derived
    def num_missed(self) -> int:
        """Seeds that miss the recorded proof's target: its next verdict knows of them."""
        most = max_errors(Decimal(str(self.target)), self.num_images)
        return sum(row.errors > most for row in self.seeds)


class SearchedWith(Part):
    """What a search was made with; sampler, pruner and seed are those of its last command."""

    max_params: Count
    epochs: Count
    sampler: str | None
    pruner: str | None
    seed: Count | None
    split: str
    space: str
    recipe: Count
    commit: str | None
    versions: Versions | None


class TrialCounts(Part):
    """Trials by outcome; the total counts those that reached one: complete and pruned.

    Attributes:
        complete: Trained to their end.
        pruned: Ended before: not promising, diverged, or over the budget.
        failed: By their own fault (out of memory, say): recorded, and another configuration drawn.
        interrupted: By Ctrl-C, a kill or a power cut: tried again with the same parameters.
    """

    complete: Count
    pruned: Count
    failed: Count
    interrupted: Count

    @derived
    def total(self) -> int:
        """Complete and pruned ones."""
        return self.complete + self.pruned


class EpochCounts(Part):
    """Epochs of all trials.

    Attributes:
        trained: Those of interrupted and failed trials included.
        saved_by_pruning: What pruned trials did not train.
    """

    trained: Count
    saved_by_pruning: Count


class SearchedTrial(Part):
    """A trial of a search; its accuracy is that of the searched run, on the validation digits.

    Attributes:
        params: What it has drawn, by name.
    """

    number: Count
    val_accuracy: Percent
    num_params: Count
    channels: Channels
    params: dict[str, float | int | str]


class Standing(Part):
    """A leading trial after its further runs.

    Attributes:
        searched_val_accuracy: Of the searched run.
        val_accuracies: Those of the further runs. The searched one does not count: it is why the trial leads, so it is
            too high on average.
    """

    number: Count
    searched_val_accuracy: Percent
    val_accuracies: Annotated[tuple[Percent, ...], Field(min_length=1)]
    num_params: Count
    channels: Channels

    @derived
    def mean(self) -> float:
        found = mean_of(self.val_accuracies)
        assert found is not None
        return found


class Reranking(Part):
    """The leading trials of a search, run again.

    Attributes:
        finished: Whether all that were to be re-ranked are, and no trial has come to lead since.
        winner: The number of the first trial, once it is finished.
        regression: How much the further runs of the search's first-ranked trial fall short of its searched one, in
            points: what the choice of the best of many runs had overstated.
    """

    finished: bool
    winner: Count | None
    regression: float | None
    standings: tuple[Standing, ...]


class StudySummary(Record):
    """A search as a whole (`search`).

    Attributes:
        seconds: For how long at least one trial was running.
        peak_memory_mb: The most that one worker has used.
        winner: What `verify-best` proves; null while that is not settled.
        best: The best single run.
        winner_model: The winner's model, in the folder of this record: trained on the search's training digits.
        winner_model_missing: Why a winner has none.
    """

    TITLE = "summary.json (`search`)"

    schema_version: Literal[1] = 1
    study_name: str
    storage: str
    dataset: str
    judged: bool
    target: Percent
    device: str | None
    settings: SearchedWith
    trials: TrialCounts
    epochs: EpochCounts
    seconds: float
    peak_memory_mb: Count | None
    winner: SearchedTrial | None
    best: SearchedTrial | None
    reranking: Reranking | None
    winner_model: str | None
    winner_model_missing: str | None = None


class HolderRow(Part):
    """Who holds a running trial, on which machine.

    Attributes:
        host: The machine's name.
        silent_seconds: Since the last sign of life.
        released_in_seconds: If the silence lasts; null for a process that is seen from here, which no silence kills.
    """

    trial: Count
    host: str
    silent_seconds: float
    released_in_seconds: float | None


class StudyRow(Part):
    """A study in a storage (`status --json`); of another tool's study only what all studies have.

    Attributes:
        study_name: Its name.
        kind: What its trials are: search, rerank, verify, ablate or reproduce; null for another tool's study.
        running: How many trials are under way.
        stale: The numbers of those that have lost their worker.
        holders: Who holds the others.
        best: Of a search: the highest validation accuracy of a complete trial, in percent.
        best_trial: The number of that trial.
        last_active: When a command last opened the study, or a trial began or ended, in UTC.
        damage: What of it cannot be read: then nothing but its name is known; null where all can.
    """

    study_name: str
    kind: str | None
    dataset: str | None
    trials: TrialCounts
    running: Count
    stale: tuple[Count, ...]
    holders: tuple[HolderRow, ...] = ()
    best: float | None
    best_trial: Count | None
    last_active: str | None
    damage: str | None = None


class Mend(Part):
    """Something that is not as it should be (`status --fix`).

    Attributes:
        what: A file, a folder, or trials of a study.
        why: What is wrong with it.
        how: What `--fix` does about it; null where that is not up to a command.
        done: Whether it is mended.
    """

    what: str
    why: str
    how: str | None
    done: bool


class StorageStatus(Record):
    """The studies of a storage (`status --json`).

    Attributes:
        mends: What can be mended; with `--fix`, all that was found, and what is mended of it.
    """

    TITLE = "`status --json`"

    schema_version: Literal[1] = 1
    storage: str
    studies: tuple[StudyRow, ...]
    mends: tuple[Mend, ...] = ()


class ModelOrigin(Record):
    """Where the weights in a model's file come from, and what they reached."""

    TITLE = "the metadata `record` of a .safetensors file"

    schema_version: Literal[1] = 1
    study_name: str
    trial: Count | None
    seed: Count
    val_accuracy: Percent | None = None
    test_accuracy: Percent | None = None
    num_params: Count
    epochs: Count
    dataset: str
    precision: str
    commit: str
    versions: Versions | None = None
    config: TrialConfig


RECORDS: tuple[type[Record], ...] = (StudySummary, Proof, Ladder, Reproduction, StorageStatus, ModelOrigin)
