"""The records: what a command has found, as one value, one JSON file and one JSON schema.

A record holds what was measured; what follows from that is computed, written beside it, and, where a record is read,
computed again: a file that contradicts itself is refused. `docs/records.md` is generated from these types.
"""

import json
import math
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    computed_field,
    model_validator,
)

from search.config import LARGEST_INTEGER, MAX_EPOCHS, Channels, ExplainedError, TrialConfig, shortened
from search.files import check_name, read_regular, write_atomically
from search.proof.estimates import Estimate, accuracy, estimate, max_errors, mean_of, pass_share_lower, std_of

SCHEMA_VERSION: Final = 1  # raised whenever a record of before could not be read, or would be read as something else
TOLERANCE = 1e-6  # by which a computed value may differ: other libraries round otherwise
LARGEST_RECORD = 2**26  # bytes

if TYPE_CHECKING:
    derived = property  # mypy knows no decorated properties
else:

    def derived(function: Any) -> Any:
        """What follows from the fields: written beside them, never read."""
        return computed_field(property(function))


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
    """A record: a file of its own."""

    schema_version: Literal[1] = SCHEMA_VERSION

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
        try:
            version = _version_of(content)
        except RepeatedKeyError as error:
            raise RecordError(f"{path} is damaged ({error}). Restore it.") from error
        if version != SCHEMA_VERSION:
            age = "an earlier" if version is None else "another"
            raise RecordError(f"{path} was written by {age} version of this tool. Use that version, or move it away.")
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise RecordError(f"{path} is damaged ({describe_damage(error)}). Restore it.") from error


def _version_of(content: bytes) -> Any:
    """The schema version of a record, None without one; ours for what is no JSON object: it is damaged, not old."""
    try:
        found = json.loads(content, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return SCHEMA_VERSION
    return found.get("schema_version") if isinstance(found, dict) else SCHEMA_VERSION


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


class MeasuredSeed(Part):
    """A network that was trained from a seed, on the test digits: by all views, and by the central one alone."""

    seed: Count
    test_accuracy: Percent
    errors: Count
    errors_one_view: Count


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


class Attempt(Part):
    """An attempt at a proof, in one row: of this configuration or another, finished or given up.

    Attributes:
        attempt: Names it wherever it is recorded.
        errors: Of each seed, where all are known.
        num_measured: Seeds measured, where it was read from a database.
        min, mean, std: Of the test accuracies, in percent.
        same_configuration: Whether it was at the configuration of the record that it stands in.
    """

    attempt: str
    first_seed: Count
    num_seeds: Count
    errors: tuple[Count, ...] | None = None
    trial: Count | None = None
    num_params: Count | None = None
    num_passed: Count | None = None
    num_measured: Count | None = None
    min: Percent | None = None
    mean: Percent | None = None
    std: float | None = None
    target: Percent | None = None
    confirmed: bool | None = None
    commit: str | None = None
    same_configuration: bool | None = None

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.num_seeds)


class Look(Part):
    """A study that showed test accuracies without being an attempt at a proof.

    Attributes:
        study_name: That study.
        num_runs: How many of its runs are complete.
    """

    study_name: str
    trial: Count
    num_runs: Count


class KeptModel(Part):
    """The model that was kept: of the first seed, whatever it reached.

    Attributes:
        file: Its name, in the folder of the record.
    """

    file: str
    seed: Count


class OneView(Part):
    """The same networks by the central view alone; in percent."""

    min: float
    mean: float
    std: float | None
    ci95: tuple[float, float] | None


class Proof(Record):
    """A configuration, re-trained over fresh seeds and measured on the test digits (`verify-best`).

    Attributes:
        study_name, trial: The search and its trial.
        chosen_by: What chose the trial, as half a sentence.
        space: The hash of the search space.
        target: The test accuracy that every seed has to reach, in percent.
        judged: Whether the data set is one on which the claim can be judged.
        num_planned: Seeds that were asked for; not all may be measured.
        views: What all views are.
        earlier_attempts: All others on this data set, whatever they were at.
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
    target: Percent
    dataset: str
    judged: bool
    num_images: Annotated[int, Field(ge=1)]
    seeds: Annotated[tuple[MeasuredSeed, ...], Field(min_length=1)]
    num_planned: Count
    num_views: Count
    views: str
    earlier_attempts: tuple[Attempt, ...]
    other_looks: tuple[Look, ...]
    device: str
    precision: str
    commit: str
    versions: Versions
    model: KeptModel | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        first = self.seeds[0].seed
        if [row.seed for row in self.seeds] != list(range(first, first + len(self.seeds))):
            raise ValueError("the seeds are not consecutive")
        for row in self.seeds:
            if max(row.errors, row.errors_one_view) > self.num_images:
                raise ValueError(f"seed {row.seed}: more errors than test digits")
            if not _agree(row.test_accuracy, accuracy(row.errors, self.num_images)):
                raise ValueError(f"seed {row.seed}: the test accuracy is not that of {row.errors} errors")
        if self.model is not None and self.model.seed not in {row.seed for row in self.seeds}:
            raise ValueError("the kept model is of none of the seeds")
        return self

    @property
    def _estimate(self) -> Estimate:
        return estimate([accuracy(row.errors, self.num_images) for row in self.seeds])

    @property
    def environment(self) -> Environment:
        return Environment(device=self.device, precision=self.precision, commit=self.commit, versions=self.versions)

    @property
    def first_seed(self) -> int:
        return self.seeds[0].seed

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
        """Attempts at a proof on this data set, this one included."""
        return len(self.earlier_attempts) + 1

    @derived
    def num_failed_attempts(self) -> int:
        """Other attempts at this configuration in which a seed missed the target."""
        return sum(
            bool(row.same_configuration) and row.min is not None and _falls_short(row.min, self.target)
            for row in self.earlier_attempts
        )

    @derived
    def confirmed(self) -> bool | None:
        """Whether every measured seed of the configuration reached the target; null where that cannot be judged."""
        if not self.judged:
            return None
        return self.num_passed == len(self.seeds) and not self.num_failed_attempts


def _falls_short(value: float, target: float) -> bool:
    return round(Decimal(value), 6) < Decimal(str(target))


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
        diverged: Runs that diverged; they are left out of the accuracies.
        test: By all views.
        test_one_view: By the central view alone.
        train_one_view: On the training digits as they are, without distortions.
    """

    rung: str
    methods: tuple[str, ...]
    num_params: Count
    diverged: Count
    test: Spread
    test_one_view: Spread
    train_one_view: Spread
    by_hand: ByHand | None


class Ladder(Record):
    """What each method earned on the test digits, one added after the other, and each left out alone (`ablate`).

    Attributes:
        dropout: The rate of the rungs that have dropout.
    """

    TITLE = "ablation.json (`ablate`)"

    study_name: str
    trial: Count
    dataset: str
    epochs: Epochs
    config: TrialConfig
    dropout: float
    first_seed: Count
    num_seeds: Annotated[int, Field(ge=1)]
    rungs: tuple[Rung, ...]
    device: str
    precision: str
    commit: str
    versions: Versions

    @property
    def environment(self) -> Environment:
        return Environment(device=self.device, precision=self.precision, commit=self.commit, versions=self.versions)

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.num_seeds)

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
    recorded_errors: Count | None


class Reproduction(Record):
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
    """

    TITLE = "reproduce.json (`reproduce`)"

    study_name: str
    trial: Count
    num_params: Count
    epochs: Count
    dataset: str
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
    device: str
    precision: str
    commit: str
    versions: Versions
    recorded_with: Environment

    @property
    def environment(self) -> Environment:
        return Environment(device=self.device, precision=self.precision, commit=self.commit, versions=self.versions)


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
    """

    TITLE = "summary.json (`search`)"

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


class StudyRow(Part):
    """A study in a storage (`status --json`); of another tool's study only what all studies have.

    Attributes:
        study_name: Its name.
        kind: What its trials are: search, rerank, verify, ablate or reproduce; null for another tool's study.
        running: How many trials are under way.
        stale: The numbers of those that have lost their worker.
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
    best: float | None
    best_trial: Count | None
    last_active: str | None
    damage: str | None = None


class StorageStatus(Record):
    """The studies of a storage (`status --json`)."""

    TITLE = "`status --json`"

    storage: str
    studies: tuple[StudyRow, ...]


class ModelOrigin(Record):
    """Where the weights in a model's file come from, and what they reached."""

    TITLE = "the metadata `record` of a .safetensors file"

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
