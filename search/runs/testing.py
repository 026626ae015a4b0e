"""A run that trains on all training images, and measures on the test images once, after the last epoch."""

import time
from dataclasses import dataclass

import optuna
import torch
from jaxtyping import Float
from optuna.trial import FrozenTrial
from torch import Tensor

from ..config import TrialConfig
from ..net.crops import ALL_CROPS, CENTRE
from ..net.data import Split, load_final_splits
from ..net.datasets import dataset_row
from ..net.device import Runtime
from ..net.model import TinyCNN
from ..net.train import DivergedError, Evaluation, judge, predict, train
from ..proof.answers import EDGES
from ..proof.estimates import accuracy
from ..proof.parts import Environment, join_environments
from ..studies.facts import MeasuredFacts, TrialFacts
from ..studies.job import ShouldStop, TrialInterruptedError
from ..studies.study import StoredStudy, StudyError
from .training import Training

LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class FinalResources:
    """What the runs of one worker share."""

    training: Split
    test: Split
    runtime: Runtime


@dataclass(frozen=True, kw_only=True)
class FinalResult:
    """A network after its last epoch, and how it does on the test images; no network where training diverged.

    Attributes:
        evaluation: With all views of every image: this is the result.
        one_view: With the central view alone, for comparison.
    """

    model: TinyCNN | None
    evaluation: Evaluation
    one_view: Evaluation


@dataclass(frozen=True, kw_only=True)
class FinalTest(Training):
    """How the runs that follow a search are trained and measured."""

    def check_data(self) -> None:
        """Raises DataError where a file is missing or damaged: that is told before anything starts."""
        load_final_splits(dataset_row(self.dataset), self.data_dir)

    def prepare(self, device: str) -> FinalResources:
        runtime = self.start(device)
        training, test = load_final_splits(dataset_row(self.dataset), self.data_dir)
        return FinalResources(training=training.to(runtime.device), test=test.to(runtime.device), runtime=runtime)

    def run(
        self,
        trial: optuna.Trial,
        config: TrialConfig,
        resources: FinalResources,
        *,
        seed: int,
        should_stop: ShouldStop,
    ) -> FinalResult:
        """Trains with one seed, and measures.

        A run that diverges gets every image wrong: it is a result, not an accident.

        Raises:
            TrialInterruptedError: After the epoch in which `should_stop` became true.
        """
        test, runtime = resources.test, resources.runtime
        TrialFacts(device=runtime.device.type, precision=runtime.precision).write(trial)
        start = time.monotonic()
        try:
            model = self._train(trial, config, resources, seed, should_stop)
            logits = predict(model, test, runtime, ALL_CROPS)
            if not logits.isfinite().all():  # its very last steps may do what no loss has shown
                raise DivergedError("The logits are not finite.")
        except DivergedError:
            worst = Evaluation(errors=len(test), num_images=len(test), loss=float("inf"))
            tested, answers = FinalResult(model=None, evaluation=worst, one_view=worst), TrialFacts()
        else:
            one_view = judge(predict(model, test, runtime, CENTRE), test)
            tested = FinalResult(model=model, evaluation=judge(logits, test), one_view=one_view)
            answers = describe_answers(logits, test)
        TrialFacts(
            errors_one_view=tested.one_view.errors,
            num_images=tested.evaluation.num_images,
            num_views=len(ALL_CROPS),
            seconds=round(time.monotonic() - start, 2),
        ).write(trial)
        # By this one, a look counts: what belongs to it is there by then, also where the worker is killed in between.
        TrialFacts(errors=tested.evaluation.errors).write(trial)
        answers.write(trial)  # the count comes first: whoever has seen an image missed has to find it counted
        return tested

    def _train(
        self, trial: optuna.Trial, config: TrialConfig, resources: FinalResources, seed: int, should_stop: ShouldStop
    ) -> TinyCNN:
        """The network after its last epoch. Raises as `run` and `train` do."""
        start = time.monotonic()
        for result in train(config, resources.training, epochs=self.epochs, seed=seed, runtime=resources.runtime):
            seconds = round(time.monotonic() - start, 2)
            TrialFacts(epochs=result.epoch, seconds=seconds, train_loss=result.train_loss).write(trial)
            if result.epoch < self.epochs and should_stop():
                raise TrialInterruptedError
        return result.model


def describe_answers(logits: Float[Tensor, "n 10"], test: Split) -> TrialFacts:
    """Which images are missed, and how sure the network is of its answers."""
    probabilities, labels = logits.softmax(dim=1).cpu(), test.labels.cpu()
    confidences, answers = probabilities.max(dim=1)
    of_labels = probabilities.gather(1, labels[:, None]).flatten()
    misses = tuple(
        (place, int(labels[place]), int(answers[place]), _rounded(confidences[place]), _rounded(of_labels[place]))
        for place in (answers != labels).nonzero().flatten().tolist()
    )
    bins = torch.bucketize(confidences, torch.tensor(EDGES), right=True)
    confidence = tuple(
        (int(inside.sum()), int((answers == labels)[inside].sum()), _rounded(confidences[inside].mean().nan_to_num()))
        for inside in (bins == index for index in range(len(EDGES) + 1))
    )
    return TrialFacts(misses=misses, confidence=confidence)


def _rounded(probability: Tensor) -> float:
    return round(float(probability), 6)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A run on the test images that is on record, complete."""

    trial: FrozenTrial
    facts: MeasuredFacts

    @classmethod
    def of(cls, trial: FrozenTrial) -> "Measured":
        return cls(trial=trial, facts=MeasuredFacts.of(trial))

    @property
    def seed(self) -> int:
        return int(self.trial.params["seed"])

    @property
    def accuracy(self) -> float:
        """In percent, as the run told it."""
        assert self.trial.value is not None
        return self.trial.value

    @property
    def accuracy_one_view(self) -> float:
        """In percent, by the central view alone."""
        return accuracy(self.facts.errors_one_view, self.facts.num_images)


def measured_seeds(stored: StoredStudy, seeds: range) -> list[Measured]:
    """The runs of all these seeds, in order.

    Raises:
        StudyError: If some are not measured yet.
    """
    by_seed = {trial.params["seed"]: trial for trial in stored.complete_trials()}
    if not set(seeds) <= by_seed.keys():
        raise StudyError("Another command is at work on some of these seeds. Run this one again when it has ended.")
    return [Measured.of(by_seed[seed]) for seed in seeds]


def made_with(runs: list[Measured]) -> Environment:
    """Where these runs were trained."""
    return join_environments(
        Environment.model_validate(run.facts.model_dump(include=set(Environment.model_fields))) for run in runs
    )
