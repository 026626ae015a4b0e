"""Records as commands write them, without training."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from search.config import AugmentConfig, Channels, ModelConfig, TrialConfig
from search.proof.answers import Answers, Bin, Miss, SeedAnswers
from search.proof.evidence import Proof
from search.proof.frontier import Frontier, FrontierPoint
from search.proof.ladder import ByHand, Ladder, Rung
from search.proof.parts import Spread
from search.proof.reproduction import Reproduction
from search.proof.summaries import (
    EpochCounts,
    Reranking,
    SearchedTrial,
    SearchedWith,
    Standing,
    StudySummary,
    TrialCounts,
)
from search.proof.tested import AskedSeeds, MeasuredSeed, Outcome, Subject, Tested

CONFIG = TrialConfig(
    model=ModelConfig(channels=((8, 10), (12, 14), (15, 17)), dropout=0.05),
    augment=AugmentConfig(rotation=10.0, shift=1.5, scale=0.1),
    lr=0.02,
    weight_decay=0.01,
)
VERSIONS = {"python": "3.12.3", "torch": "2.14.1", "torchvision": "0.29.1", "optuna": "4.6.0", "numpy": "2.3.4"}
ON_THE_SAMPLE = {"dataset": "sample", "judged": False, "num_images": 1_000}
TRAINED = {"device": "cpu", "precision": "fp32", "commit": "0123abc", "versions": {"torch": "2.14.1"}}


def ask(first_seed: int = 10_000, num_seeds: int = 1, target: float | None = 99.4, **changes: Any) -> AskedSeeds:
    """The seeds of a proof that was asked for."""
    facts = {"chosen_by": "the one asked for (--trial)", "time": "2026-11-25T03:16:35.091+00:00", "commit": "0123abc"}
    seeds = {"first_seed": first_seed, "num_seeds": num_seeds, "target": target}
    return AskedSeeds.model_validate(facts | seeds | changes)


def measure(seed: int, *errors: int, command: str = "verify-best", num_images: int = 10_000) -> MeasuredSeed:
    """A seed that made so many errors; several times, where several are given."""
    outcomes = [
        Outcome.model_validate({"command": command, "errors": count, "errors_one_view": min(count + 9, num_images)})
        for count in errors
    ]
    return MeasuredSeed.of(seed, outcomes, num_images)


def make_tested(*errors: int, first_seed: int = 10_000, **changes: Any) -> Tested:
    """A configuration whose seeds, all that were asked for, made so many errors; with what is given changed."""
    facts = {
        "subject": Subject.of(CONFIG, dataset="mnist", epochs=15, recipe=4),
        "study_name": "small",
        "trial": 31,
        "num_params": 7_893,
        "num_images": 10_000,
        "asked": (ask(first_seed, len(errors)),) if errors else (),
        "seeds": tuple(measure(seed, count) for seed, count in enumerate(errors, start=first_seed)),
        **TRAINED,
    }
    return Tested.model_validate(facts | changes)


OTHER_ATTEMPT = make_tested(
    61,
    49,
    55,
    first_seed=20_000,
    subject=Subject.of(replace(CONFIG, lr=0.03), dataset="mnist", epochs=15, recipe=4),
    trial=7,
)


def make_proof(errors: Sequence[int], *, first_seed: int = 10_000, **changes: Any) -> Proof:
    """The proof of a network whose seeds made so many errors, of 10,000 test images, with what is given changed.

    Args:
        changes: Of the record's fields; `target` is what was asked for.
    """
    num_images, target = changes.get("num_images", 10_000), changes.pop("target", 99.4)
    facts = {
        "study_name": "small",
        "trial": 31,
        "chosen_by": "the one asked for (--trial)",
        "config": CONFIG,
        "recipe": 4,
        "space": "0123456789abcdef",
        "epochs": 15,
        "dataset": "mnist",
        "judged": True,
        "num_images": num_images,
        "asked": (ask(first_seed, len(errors), target),),
        "seeds": [measure(seed, count, num_images=num_images) for seed, count in enumerate(errors, start=first_seed)],
        "num_views": 27,
        "views": "27 views: 3 sizes, 9 shifts of up to 1 pixel",
        "earlier_attempts": (),
        "other_looks": (),
        "device": "cuda",
        "precision": "bf16",
        "commit": "0123abc",
        "versions": VERSIONS,
        "model": None,
    }
    return Proof.model_validate(facts | changes)


def changed(proof: Proof, **changes: Any) -> Proof:
    """The same proof with other values, and what follows from them."""
    return Proof.model_validate({name: getattr(proof, name) for name in Proof.model_fields} | changes)


def make_rung(name: str, *test: float, by_hand: ByHand | None = None, diverged: int = 0) -> Rung:
    """A rung whose runs reached these accuracies, on the training images and with one view as with all."""
    spread = Spread(accuracies=test)
    errors = (*(round(10_000 - 100 * each) for each in test), *[10_000] * diverged)
    return Rung(
        rung=name,
        methods=(),
        config=CONFIG,
        errors=errors,
        errors_one_view=errors,
        diverged=diverged,
        test=spread,
        test_one_view=spread,
        train_one_view=spread,
        by_hand=by_hand,
    )


def make_ladder(*rungs: Rung, **changes: Any) -> Ladder:
    """A ladder of these rungs over their seeds, of a winner without dropout, with what is given changed."""
    facts = {
        "study_name": "small",
        "trial": 2,
        "dataset": "mnist",
        "num_images": 10_000,
        "epochs": 15,
        "recipe": 4,
        "config": TrialConfig(
            model=ModelConfig(channels=CONFIG.model.channels), augment=CONFIG.augment, lr=0.02, weight_decay=0.01
        ),
        "dropout": 0.05,
        "first_seed": 20_000,
        "num_seeds": len(rungs[0].errors),
        "rungs": rungs,
        **TRAINED,
    }
    return Ladder.model_validate(facts | changes)


def make_reproduction(**changes: Any) -> Reproduction:
    """Two other seeds than the recorded ones, whose mean agrees, with what is given changed."""
    row = {"test_accuracy": 99.4, "errors": 60, "errors_one_view": 69, "recorded_errors": None}
    facts = {
        "study_name": "small",
        "trial": 2,
        "config": CONFIG,
        "recipe": 4,
        "epochs": 15,
        "dataset": "mnist",
        "num_images": 10_000,
        "target": 99.4,
        "seeds": [row | {"seed": seed} for seed in (20_000, 20_001)],
        "identical": None,
        "num_judged": 2,
        "mean": 99.4,
        "recorded_mean": 99.5,
        "margin": 0.1964,
        "within_spread": True,
        "model_errors": None,
        "recorded_model_errors": None,
        "model_agrees": None,
        "reproduced": True,
        "num_earlier": 0,
        **TRAINED,
        "recorded_with": TRAINED | {"commit": "0123abc4567def89"},
    }
    return Reproduction.model_validate(facts | changes)


# Of a search

PARAMS = {
    "convs_1": 2, "convs_2": 2, "convs_3": 2, "widening_2": 1.8512345, "widening_3": 1.7612345, "growth": 1.25,
    "dropout": 0.15, "rotation": 14.4512345, "shift": 1.3971234, "distortion": 0.0707912, "lr": 0.0091461,
    "weight_decay": 0.0023871,
}  # fmt: skip
CHANNELS: Channels = CONFIG.model.channels


def searched(number: int, accuracy: float) -> SearchedTrial:
    return SearchedTrial(
        number=number,
        val_accuracy=accuracy,
        num_params=7_901,
        channels=CHANNELS,
        params={**PARAMS, "lr": number / 1000},
    )


def make_summary(**changes: Any) -> StudySummary:
    """A search of 50 trials on MNIST whose trial 31 is the best single run; not re-ranked."""
    facts = {
        "study_name": "mnist-7999p-15e",
        "storage": "sqlite:///study.db",
        "dataset": "mnist",
        "judged": True,
        "target": 99.4,
        "device": "cpu",
        "settings": SearchedWith(
            max_params=7_999, epochs=15, sampler="tpe", pruner="percentile", seed=0, split="ab", space="cd", recipe=4,
            commit="0123abc", versions={},
        ),
        "trials": TrialCounts(complete=30, pruned=20, failed=0, interrupted=0),
        "epochs": EpochCounts(trained=560, saved_by_pruning=190),
        "seconds": 12_345.6,
        "peak_memory_mb": 912,
        "winner": None,
        "best": searched(31, 99.25),
        "reranking": None,
        "winner_model": None,
    }  # fmt: skip
    return StudySummary.model_validate(facts | changes)


def standing(number: int, *accuracies: float) -> Standing:
    return Standing(
        number=number,
        searched_val_accuracy=99.2,
        val_accuracies=accuracies,
        num_params=7_901,
        channels=CHANNELS,
    )


STANDINGS = (standing(7, 99.25, 99.5), standing(31, 99.0, 99.25))
RERANKED: dict[str, Any] = {
    "winner": searched(7, 99.2),
    "reranking": Reranking(finished=True, winner=7, regression=0.125, standings=STANDINGS),
    "winner_model": "winner.safetensors",
}


# Of single answers

FOUR = Miss(place=7, label=4, answer=9, probability=0.75, of_label=0.25)


def make_answers(*misses: tuple[Miss, ...], num: int = 100, seeds: Sequence[int] = range(100)) -> Answers:
    """Of networks that miss these, of so many digits of each class; their other answers are surer, and right."""
    rows = []
    for seed, missed in zip(seeds, misses, strict=False):
        right = 10 * num - len(missed)
        rows.append(
            SeedAnswers(
                seed=seed,
                misses=missed,
                bins=(
                    Bin(num=len(missed), num_right=0, probability=0.75),
                    Bin(num=right, num_right=right, probability=0.99),
                ),
            )
        )
    facts = {"study_name": "small", "trial": 3, "dataset": "mnist"}
    return Answers(num_by_label=(num,) * 10, edges=(0.9,), seeds=tuple(rows), **facts)


# Of a frontier


def make_point(max_params: int, *accuracies: float, **changes: Any) -> FrontierPoint:
    """A budget whose winner's seeds reached so much, of 10,000 test images."""
    target = changes.pop("target", 99.4)
    num_planned = changes.pop("num_planned", len(accuracies))
    errors = [round(100 * (100 - each)) for each in accuracies]
    proof = make_proof(errors, target=target) if errors else None
    tested = proof.tested[0] if proof is not None else None
    if tested is not None and num_planned != len(errors):
        asked = tested.asked[-1].model_copy(update={"num_seeds": num_planned})
        tested = tested.model_copy(update={"asked": (asked,)})
    fields = {
        "max_params": max_params,
        "study_name": f"mnist-{max_params}p-15e",
        "num_trials": 50,
        "trial": 7,
        "num_params": max_params - 8,
        "channels": ((4, 5), (6, 7), (8,)),
        "blocks": ("dense", "separable", "dense"),
        "tested": tested,
    }
    return FrontierPoint.model_validate(fields | changes)


def make_frontier(*points: FrontierPoint, **changes: Any) -> Frontier:
    fields = {
        "dataset": "mnist",
        "judged": True,
        "epochs": 15,
        "space": "0123456789abcdef",
        "recipe": 5,
        "target": 99.4,
        "commit": "0123abc",
        "points": points,
    }
    return Frontier.model_validate(fields | changes)
