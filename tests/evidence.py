"""Records as commands write them, without training."""

from collections.abc import Sequence
from typing import Any

from search.config import AugmentConfig, ModelConfig, TrialConfig
from search.proof.records import Attempt, ByHand, Ladder, Proof, Rung, Spread

CONFIG = TrialConfig(
    model=ModelConfig(channels=((8, 10), (12, 14), (15, 17)), dropout=0.05),
    augment=AugmentConfig(rotation=10.0, shift=1.5, scale=0.1),
    lr=0.02,
    weight_decay=0.01,
)
VERSIONS = {"python": "3.12.3", "torch": "2.14.1", "torchvision": "0.29.1", "optuna": "4.6.0", "numpy": "2.3.4"}
ON_THE_SAMPLE = {"dataset": "sample", "judged": False, "num_images": 1_000}
OTHER_ATTEMPT = Attempt(
    attempt="0123456789ab",
    first_seed=20_000,
    num_seeds=5,
    trial=7,
    min=99.39,
    mean=99.45,
    same_configuration=False,
)


def make_proof(errors: Sequence[int], *, first_seed: int = 10_000, **changes: Any) -> Proof:
    """The proof of a network whose seeds made so many errors, of 10,000 test digits, with what is given changed."""
    num_images = changes.get("num_images", 10_000)
    seeds = [
        {
            "seed": seed,
            "test_accuracy": 100 * (num_images - count) / num_images,
            "errors": count,
            "errors_one_view": min(count + 9, num_images),
        }
        for seed, count in enumerate(errors, start=first_seed)
    ]
    facts = {
        "study_name": "small",
        "trial": 31,
        "chosen_by": "the one asked for (--trial)",
        "config": CONFIG,
        "recipe": 4,
        "space": "0123456789abcdef",
        "epochs": 15,
        "target": 99.4,
        "dataset": "mnist",
        "judged": True,
        "num_images": num_images,
        "seeds": seeds,
        "num_planned": len(seeds),
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
    """A rung whose runs reached these accuracies, on the training digits and with one view as with all."""
    spread = Spread(accuracies=test)
    return Rung(
        rung=name,
        methods=(),
        num_params=7_901,
        diverged=diverged,
        test=spread,
        test_one_view=spread,
        train_one_view=spread,
        by_hand=by_hand,
    )


def make_ladder(*rungs: Rung, **changes: Any) -> Ladder:
    """A ladder of these rungs over two seeds, of a winner without dropout, with what is given changed."""
    facts = {
        "study_name": "small",
        "trial": 2,
        "dataset": "mnist",
        "epochs": 15,
        "config": TrialConfig(
            model=ModelConfig(channels=CONFIG.model.channels), augment=CONFIG.augment, lr=0.02, weight_decay=0.01
        ),
        "dropout": 0.05,
        "first_seed": 20_000,
        "num_seeds": 2,
        "rungs": rungs,
        "device": "cpu",
        "precision": "fp32",
        "commit": "0123abc",
        "versions": {"torch": "2.14.1"},
    }
    return Ladder.model_validate(facts | changes)
