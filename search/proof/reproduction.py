"""The record of a repeated proof, compared with what was recorded."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from ..config import REPEATED_BY_PYTORCH, TrialConfig
from ..settings import PRECISIONS
from .estimates import max_errors, mean_of, prediction_margin
from .evidence import Proof, Witness
from .parts import Count, Environment, Part, Percent, derived
from .tested import MeasuredSeed, Outcome, Subject, Tested

# Errors by which a recorded model's file may differ in arithmetic that rounds otherwise: in bf16, both committed models
# answer at most one of 10,000 validation images otherwise than in fp32.
MODEL_TOLERANCE = 5


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
        model_errors: What the recorded model's file makes on the test images; null without one.
        recorded_model_errors: What is on record of that model's seed.
        model_agrees: Whether both are the same.
        num_earlier: Seeds that an earlier command had trained with this storage.
        reproduced: Whether all that can be judged agrees; null if nothing can.
        recorded_with: Where the recorded runs were trained.
        target: That of the recorded proof, in percent.
        judged: Whether a claim can be judged on the data set.
    """

    TITLE = "reproduce.json (`reproduce`)"

    study_name: str
    trial: Count
    config: TrialConfig
    recipe: int
    epochs: Count
    target: Percent
    judged: bool = True
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


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A seed that was trained again: its number, accuracy in percent, and errors on the test images."""

    seed: int
    test_accuracy: float
    errors: int
    errors_one_view: int


def compare(
    proof: Proof,
    repeated: Sequence[Repeated],
    environment: Environment,
    *,
    model_errors: int | None,
    num_earlier: int = 0,
) -> Reproduction:
    """Judges a reproduction.

    A recorded seed agrees if it makes the same number of errors as once before. All others are judged by their mean:
    it agrees if it lies in the 95 % prediction interval for so many further runs, of the recorded mean and standard
    deviation, which one recorded seed does not have. `reproduced` is whether all that can be judged agrees; None if no
    run can, for that the recorded model makes the recorded errors proves the file only.

    Args:
        environment: Where the runs were trained.
        model_errors: What the recorded model makes on the test images; None without one.
        num_earlier: How many of the runs an earlier command has trained.
    """
    recorded = {row.seed: [outcome.errors for outcome in row.outcomes] for row in proof.seeds}
    rows = [
        RepeatedSeed(
            seed=each.seed,
            test_accuracy=each.test_accuracy,
            errors=each.errors,
            errors_one_view=each.errors_one_view,
            recorded_errors=_closest(each.errors, recorded.get(each.seed, [])),
        )
        for each in repeated
    ]
    known = [row for row in rows if row.recorded_errors is not None]
    identical = all(row.errors == row.recorded_errors for row in known) if known else None
    judged = [row.test_accuracy for row in rows if not (identical and row in known)]
    margin = prediction_margin(proof.std, len(recorded), len(judged), num_images=proof.num_images) if judged else None
    mean = mean_of(judged)
    within_spread = abs(mean - proof.mean) <= margin if mean is not None and margin is not None else None
    recorded_model_errors = proof.model.errors if proof.model is not None else None
    model_agrees = model_errors == recorded_model_errors if model_errors is not None else None
    # In other arithmetic rounding may turn a digit or two; more is another network in the recorded one's place.
    same_bits = (proof.device, proof.precision) == ("cpu", "fp32") and proof.recipe not in REPEATED_BY_PYTORCH
    tolerance = 0 if same_bits else MODEL_TOLERANCE
    is_another = model_errors is not None and abs(model_errors - (recorded_model_errors or 0)) > tolerance
    # One recorded seed has no spread: that another machine does not repeat it to the digit proves nothing.
    spread_answer = within_spread if within_spread is not None else identical or None
    return Reproduction(
        study_name=proof.study_name,
        trial=proof.trial,
        config=proof.config,
        recipe=proof.recipe,
        epochs=proof.epochs,
        dataset=proof.dataset,
        num_images=proof.num_images,
        target=proof.target,
        judged=proof.judged,
        seeds=tuple(rows),
        identical=identical,
        num_judged=len(judged),
        mean=mean,
        recorded_mean=proof.mean,
        margin=margin,
        within_spread=within_spread,
        model_errors=model_errors,
        recorded_model_errors=recorded_model_errors,
        model_agrees=model_agrees,
        reproduced=False if is_another else spread_answer,
        num_earlier=num_earlier,
        **dict(environment),
        recorded_with=proof.environment,
    )


def _closest(errors: int, recorded: list[int]) -> int | None:
    """Of what is on record of a seed; several counts, where several machines have measured it."""
    return min(recorded, key=lambda count: abs(count - errors), default=None)


def precision_to_repeat(proof: Proof, default: str) -> str:
    """The recorded one, for other arithmetic gives other digits; the default where several are on record."""
    return proof.precision if proof.precision in PRECISIONS else default
