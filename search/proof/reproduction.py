"""Compares a repeated proof with its record."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..settings import PRECISIONS
from .estimates import mean_of, prediction_margin
from .evidence import Proof, RepeatedSeed, Reproduction
from .parts import Environment

# Errors by which a recorded model's file may differ in arithmetic that rounds otherwise: in bf16, both committed models
# answer at most one of 10,000 validation images otherwise than in fp32.
MODEL_TOLERANCE = 5


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
    tolerance = 0 if (proof.device, proof.precision) == ("cpu", "fp32") else MODEL_TOLERANCE
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
