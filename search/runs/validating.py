"""A run that trains on a search's training images, and measures on its validation images after every epoch."""

import math
import time
from dataclasses import dataclass

import optuna
import torch

from ..config import TrialConfig
from ..net.crops import ALL_CROPS
from ..net.data import Split, load_search_splits
from ..net.datasets import dataset_row
from ..net.device import Runtime
from ..net.memory import peak_memory_mb
from ..net.model import TinyCNN, num_params
from ..net.train import DivergedError, EpochResult, Evaluation, evaluate, train
from ..studies.facts import DIVERGED, NOT_PROMISING, OVER_BUDGET, TrialFacts, network_facts
from ..studies.job import ShouldStop, TrialInterruptedError
from .training import Training


@dataclass(frozen=True, kw_only=True)
class ValidationResources:
    """What the runs of one worker share."""

    training: Split
    validation: Split
    runtime: Runtime


@dataclass(frozen=True, kw_only=True)
class Validated:
    """A network after its last epoch, and its accuracy on the validation images, in percent, by all views."""

    accuracy: float
    model: TinyCNN


@dataclass(frozen=True, kw_only=True)
class Validation(Training):
    """How the runs of a search and of its re-ranking are trained and measured."""

    max_params: int

    def prepare(self, device: str) -> ValidationResources:
        runtime = self.start(device)
        training, validation = load_search_splits(dataset_row(self.dataset), self.data_dir)
        return ValidationResources(
            training=training.to(runtime.device), validation=validation.to(runtime.device), runtime=runtime
        )

    def run(
        self,
        trial: optuna.Trial,
        config: TrialConfig,
        resources: ValidationResources,
        *,
        seed: int,
        should_stop: ShouldStop,
    ) -> Validated:
        """Trains one configuration and measures it.

        Every epoch is measured with one view of an image, which is what pruning goes by; the result, after the last,
        with all. Nothing over the budget is trained, whatever the space suggests.

        Raises:
            optuna.TrialPruned: If it is over budget, is not promising, or diverged.
            TrialInterruptedError: After the epoch in which `should_stop` became true.
        """
        runtime = resources.runtime
        TrialFacts(seed=seed, device=runtime.device.type, precision=runtime.precision).write(trial)
        self._refuse_over_budget(trial, config)
        start = time.monotonic()
        try:
            for result in train(config, resources.training, epochs=self.epochs, seed=seed, runtime=runtime):
                evaluation = evaluate(result.model, resources.validation, runtime)
                if not math.isfinite(evaluation.loss):
                    raise DivergedError(f"The validation loss was {evaluation.loss} in epoch {result.epoch}.")
                _report_epoch(trial, result, evaluation, time.monotonic() - start)
                if result.epoch == self.epochs:
                    final = evaluate(result.model, resources.validation, runtime, ALL_CROPS)
                    TrialFacts(val_loss=final.loss, seconds=round(time.monotonic() - start, 2)).write(trial)
                    return Validated(accuracy=final.accuracy, model=result.model)
                if should_stop():
                    raise TrialInterruptedError
                if trial.should_prune():
                    TrialFacts(prune_reason=NOT_PROMISING).write(trial)
                    raise optuna.TrialPruned
        except DivergedError as error:
            TrialFacts(prune_reason=DIVERGED).write(trial)
            raise optuna.TrialPruned from error
        raise AssertionError("training ended before its last epoch")

    def _refuse_over_budget(self, trial: optuna.Trial, config: TrialConfig) -> None:
        """Records the network, and prunes the trial untrained if it is too large. Counts the real parameters."""
        with torch.device("meta"):  # shapes without memory
            count = num_params(TinyCNN(config.model))
        assert count == config.model.num_params, (count, config.model)
        TrialFacts(drawn=True, num_params=count, **network_facts(config.model)).write(trial)
        trial.set_constraint("num_params", count - self.max_params)  # <= 0 is feasible
        if count > self.max_params:
            TrialFacts(prune_reason=OVER_BUDGET).write(trial)
            raise optuna.TrialPruned(f"{count} parameters exceed {self.max_params=}.")


def _report_epoch(trial: optuna.Trial, result: EpochResult, evaluation: Evaluation, seconds: float) -> None:
    trial.report(evaluation.accuracy, step=result.epoch)
    TrialFacts(
        epochs=result.epoch,
        seconds=round(seconds, 2),
        train_loss=result.train_loss,
        val_loss=evaluation.loss,
        worker_peak_memory_mb=peak_memory_mb(),
    ).write(trial)
