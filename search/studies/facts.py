"""What trials and studies carry in the database beside what Optuna keeps: written, read and checked as values."""

from typing import Annotated, Any, Self

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from ..config import (
    ALL_DENSE,
    LARGEST_INTEGER,
    MAX_EPOCHS,
    MAX_SEEDS,
    Block,
    Channels,
    ExplainedError,
    ModelConfig,
    TrialConfig,
    as_json,
    shortened,
)
from .process import Owner

Count = Annotated[int, Field(strict=True, ge=0, le=LARGEST_INTEGER)]

NOT_PROMISING, DIVERGED, OVER_BUDGET = "not promising", "diverged", "over budget"  # why a trial is pruned


class FactsError(ExplainedError):
    """What a study or a trial carries was not written by this tool, or is damaged."""


class _Facts(BaseModel):
    """User attributes of Optuna's, one per field that is set."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="forbid")

    def write(self, target: optuna.Trial | optuna.Study) -> None:
        for name, value in self.as_attributes().items():
            target.set_user_attr(name, value)

    def as_attributes(self) -> dict[str, Any]:
        """The fields that are set, as they are stored."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @classmethod
    def _read(cls, attributes: dict[str, Any], whose: str) -> Self:
        try:
            return cls.model_validate(attributes, extra="ignore")  # Optuna's, and a dashboard's
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            found = "no" if first["type"] == "missing" else f"{shortened(first['input'])} as"
            raise FactsError(
                f"{whose} carries {found} {name!r}: this version of the tool does not write that. Use another "
                f"--storage or --study-name."
            ) from error


class TrialFacts(_Facts):
    """What a trial carries. What is not set is not known (yet).

    Attributes:
        ticket: Its place among a search's trials.
        owner: The process that works, or worked, on it.
        drawn: Whether it has drawn all its parameters.
        retry_of: The number of the trial whose parameters it tries again.
        kills: How many times a worker was killed at these parameters.
        epochs, seconds: Trained so far.
        val_loss: By all views after the last epoch, by one before.
        worker_peak_memory_mb: Of its worker's trials so far: it never falls.
        searched_params: Of a further run: what the searched trial had drawn.
        errors: Test images that are classified wrongly, by all views.
        train_accuracy: In percent, on the training images as they are, by one view.
        misses: The digits that are classified wrongly, by all views: the place in the test file, the label, the answer,
            the answer's probability, the label's.
        confidence: By bin of the answer's probability (`search.proof.answers.EDGES`): digits, how many are right, and
            that probability on average.
    """

    ticket: Count | None = None
    owner: Owner | None = None
    drawn: StrictBool = False
    retry_of: Count | None = None
    kills: Count = 0
    channels: Channels | None = None
    blocks: tuple[Block, ...] = ALL_DENSE
    residual: StrictBool = False
    num_params: Count | None = None
    seed: Count | None = None
    device: str | None = None
    precision: str | None = None
    commit: str | None = None
    versions: dict[str, str] | None = None
    epochs: Count = 0
    seconds: float = 0.0
    train_loss: float | None = None
    val_loss: float | None = None
    worker_peak_memory_mb: Count | None = None
    prune_reason: str | None = None
    fail_reason: str | None = None
    searched_params: dict[str, Any] | None = None
    errors: Count | None = None
    errors_one_view: Count | None = None
    num_images: Count | None = None
    num_views: Count | None = None
    train_accuracy: float | None = None
    misses: tuple[tuple[Count, Count, Count, float, float], ...] | None = None
    confidence: tuple[tuple[Count, Count, float], ...] | None = None

    @classmethod
    def of(cls, trial: FrozenTrial | optuna.Trial) -> "TrialFacts":
        """What a trial carries.

        Raises:
            FactsError: If this tool did not write it so.
        """
        # Before `drawn` was recorded, a trial had drawn all its parameters when its network was on record.
        attributes = {"drawn": "channels" in trial.user_attrs, **trial.user_attrs}
        return cls._read(attributes, f"Trial {trial.number}")

    @classmethod
    def of_network(cls, trial: FrozenTrial) -> "TrialFacts":
        """What a trial carries that has built its network. Raises FactsError if that is not on record."""
        facts = cls.of(trial)
        if facts.num_params is None or facts.channels is None:
            raise FactsError(
                f"Trial {trial.number} is damaged in the database (it does not say which network it had). Use another "
                f"--storage or --study-name."
            )
        return facts

    @property
    def network(self) -> dict[str, Any]:
        """As `network_facts` has it."""
        return {"channels": self.channels, "blocks": self.blocks, "residual": self.residual}

    @property
    def reason(self) -> str | None:
        """Why it ended early."""
        return self.prune_reason or self.fail_reason

    def was_interrupted(self, state: TrialState) -> bool:
        """Whether a trial failed through no fault of its own: Ctrl-C, a killed worker, a host that fell silent."""
        return state == TrialState.FAIL and self.fail_reason is None


class MeasuredFacts(_Facts):
    """What a complete trial carries that has measured on the test images (see `TrialFacts`)."""

    errors: Count
    errors_one_view: Count
    num_images: Count
    num_views: Count
    device: str
    precision: str
    commit: str
    versions: dict[str, str]
    misses: tuple[tuple[Count, Count, Count, float, float], ...] | None = None
    confidence: tuple[tuple[Count, Count, float], ...] | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> "MeasuredFacts":
        """Raises FactsError if it lacks something."""
        return cls.read(trial.user_attrs, trial.number)

    @classmethod
    def read(cls, attributes: dict[str, Any], number: int) -> "MeasuredFacts":
        """From a trial's attributes. Raises FactsError if they lack something."""
        return cls._read(attributes, f"Trial {number}")


class Environment(BaseModel):
    """The code and the libraries of a command."""

    model_config = ConfigDict(frozen=True)

    commit: str
    versions: dict[str, str]


class StudyFacts(_Facts):
    """What a study carries. What is not set is not known, or does not apply.

    Attributes:
        kind: A name in `search.studies.kinds.Kind`; other tools' studies have none.
        num_trials: That the search's last command asked for.
        num_reranked: How many leading trials the search's last command wanted re-ranked.
        num_compared: By how many runs that wanted the winner compared with the first trial.
        space_file: The name of the file that it drew from; `space` is the hash of that.
        commit, versions: Of the command that made it; those of others are in `continued_with`.
        search_study: The search that this study follows.
        warm_start: The search whose leading trials were queued in this one.
        trial: The searched trial that it is about.
        planned_seeds: Of a verification of before there was a ledger: by the first seed of each attempt, how many.
        rules: The same, and what chose the trial.
        planned_trials: Of a re-ranking: the trials whose further runs are wanted.
    """

    kind: str | None = None
    dataset: str | None = None
    split: str | None = None
    max_params: Count | None = None
    epochs: Annotated[int, Field(strict=True, ge=1, le=MAX_EPOCHS)] | None = None
    space: str | None = None
    space_file: str | None = None
    recipe: Count | None = None
    sampler: str | None = None
    pruner: str | None = None
    seed: Count | None = None
    patience: Count | None = None
    num_trials: Count | None = None
    num_reranked: Count = Field(default=0, alias="rerank")
    num_compared: Count | None = None
    commit: str | None = None
    versions: dict[str, str] | None = None
    continued_with: tuple[Environment, ...] = ()
    last_active: str = ""
    search_study: str | None = None
    warm_start: str | None = None
    reproduces: str | None = None
    trial: Count | None = None
    num_params: Count | None = None
    channels: Channels | None = None
    config: dict[str, Any] | None = None
    planned_seeds: dict[int, Annotated[Count, Field(le=MAX_SEEDS)]] = Field(default={}, alias="attempts")
    rules: dict[int, str] = {}
    planned_trials: tuple[Count, ...] = Field(default=(), alias="planned")

    @classmethod
    def of(cls, study: optuna.Study) -> "StudyFacts":
        """What a study carries.

        Raises:
            FactsError: If this tool did not write it so.
        """
        return cls._read(study.user_attrs, f"Study {study.study_name!r}")


def network_facts(model: ModelConfig) -> dict[str, Any]:
    """What a trial carries of its network; for `TrialFacts`."""
    return {"channels": model.channels, "blocks": model.blocks, "residual": model.residual}


def config_facts(config: TrialConfig) -> dict[str, Any]:
    """What a study that is about one configuration carries of it; for `StudyFacts`."""
    return {"num_params": config.model.num_params, "channels": config.model.channels, "config": as_json(config)}
