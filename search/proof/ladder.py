"""The record of a ladder: a configuration taken apart."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ..config import Channels, TrialConfig
from .evidence import Witness
from .parts import Count, Epochs, Part, Spread, derived
from .tested import MeasuredSeed, Outcome, Subject, Tested


class ByHand(Part):
    """What the hand-made study that this tool replaces reached; in percent.

    Attributes:
        train: On training images as they were trained on.
        test: The best epoch's, of one run.
    """

    train: float
    test: float


class Rung(Part):
    """A rung of the ladder: a configuration with some methods alone, over seeds.

    Attributes:
        rung: Its name.
        methods: Those that it has, of "norm", "dropout" and "augmentation".
        errors, errors_one_view: Of each seed, by all views and by the central one; all images where it diverged.
        diverged: Runs that diverged; they are left out of the accuracies.
        test: By all views.
        test_one_view: By the central view alone.
        train_one_view: On the training images as they are, without distortions.
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
    """What each method earned on the test images, one added after the other, and each left out alone (`ablate`).

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
