"""The records that rest on no test image: of a search, of the studies of a storage, of a model's file."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ..config import ALL_DENSE, Block, Channels, TrialConfig
from .estimates import mean_of, paired_margin
from .parts import Count, Part, Percent, Record, Versions, derived


class SearchedWith(Part):
    """What a search was made with; sampler, pruner and seed are those of the last command that drew a trial.

    Attributes:
        warm_start: The study whose leading trials it was begun with.
    """

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
    warm_start: str | None = None


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
        saved_by_pruning: What pruned trials did not train, those over the budget aside.
    """

    trained: Count
    saved_by_pruning: Count


class SearchedTrial(Part):
    """A trial of a search; its accuracy is that of the searched run, on the validation images.

    Attributes:
        params: What it has drawn, by name.
    """

    number: Count
    val_accuracy: Percent
    num_params: Count
    channels: Channels
    blocks: tuple[Block, ...] = ALL_DENSE
    residual: bool = False
    params: dict[str, bool | float | int | str]


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
    blocks: tuple[Block, ...] = ALL_DENSE
    residual: bool = False

    @derived
    def mean(self) -> float:
        found = mean_of(self.val_accuracies)
        assert found is not None
        return found


class Earned(Part):
    """The winner of a search beside the trial that every study tries first, on validation, in percent.

    Attributes:
        first: The number of that trial.
        winner_val_accuracies, first_val_accuracies: Of runs that chose neither, in pairs of the same seed. Where the
            first trial is the winner, they are the same runs.
    """

    first: Count
    winner_val_accuracies: Annotated[tuple[Percent, ...], Field(min_length=1)]
    first_val_accuracies: Annotated[tuple[Percent, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.winner_val_accuracies) != len(self.first_val_accuracies):
            raise ValueError("the runs are not pairs")
        return self

    @property
    def differences(self) -> list[float]:
        return [ours - other for ours, other in zip(self.winner_val_accuracies, self.first_val_accuracies, strict=True)]

    @derived
    def mean(self) -> float:
        """By how much the winner is better, in points."""
        found = mean_of(self.differences)
        assert found is not None
        return found

    @derived
    def margin(self) -> float | None:
        """Half of the 95 % t-interval of that mean; null for one pair, and where all pairs differ by as much."""
        return paired_margin(self.differences)


class Reranking(Part):
    """The leading trials of a search, run again, and with them its first.

    Attributes:
        finished: Whether all that were to be re-ranked are, and no trial has come to lead since.
        winner: The number of the trial that won, once it is finished: of highest mean, or clearly smaller than that one
            and tied with it.
        tied: The numbers of the trials whose means cannot be told from the highest, once it is finished.
        margin: Half of the 95 % interval of a difference of two means, in points; null where runs are too few.
        regression: How much the further runs of the search's first-ranked trial fall short of its searched one, in
            points: what the choice of the best of many runs had overstated.
        first: The number of the study's first trial, where that is complete.
        num_leading: How many trials lead, and were to be run again for that: the first one, and those of earlier
            re-rankings, apart.
    """

    finished: bool
    winner: Count | None
    regression: float | None
    standings: tuple[Standing, ...]
    tied: tuple[Count, ...] = ()
    margin: float | None = None
    earned: Earned | None = None
    first: Count | None = None
    num_leading: Count | None = None


class StudySummary(Record):
    """A search as a whole (`search`).

    Attributes:
        seconds: For how long at least one trial was running.
        peak_memory_mb: The most that one worker has used.
        winner: What `verify-best` proves; null while that is not settled.
        best: The best single run.
        winner_model: The winner's model, in the folder of this record: trained on the search's training images.
        winner_model_missing: Why a winner has none.
        stalled: Whether so many trials in a row were no better (`--patience`) that no other follows.
    """

    TITLE = "summary.json (`search`)"

    schema_version: Literal[1] = 1
    study_name: str
    storage: str
    dataset: str
    judged: bool
    target: Percent | None
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
    stalled: bool = False


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


class FailedTrial(Part):
    """A trial that failed by itself.

    Attributes:
        reason: Why: an error, as a rule, and where it was raised.
    """

    number: Count
    reason: str


class StorageStatus(Record):
    """The studies of a storage (`status --json`), or those of one search (`status NAME --json`).

    Attributes:
        mends: What is not as it should be; with `--fix`, also what is mended of it.
        leaders: Of the search that is asked about, the complete trials of highest value, the best first.
        failures: Of that search, the trials that have failed.
    """

    TITLE = "`status --json`"

    schema_version: Literal[1] = 1
    storage: str
    studies: tuple[StudyRow, ...]
    mends: tuple[Mend, ...] = ()
    leaders: tuple[SearchedTrial, ...] = ()
    failures: tuple[FailedTrial, ...] = ()


class SeenPixels(Part):
    """How images enter a network (`search.net.datasets.Pixels`).

    Attributes:
        mean, std: Of the training pixels, in [0, 1]: what images are normalised by.
        frame: Pixels of ground that are added on every side.
    """

    mean: float
    std: float
    frame: Count


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
    pixels: SeenPixels | None = None  # files of before have none: their data set's
    config: TrialConfig
