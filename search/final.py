"""Runs that train on all training digits and measure on the test digits, after the last epoch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch

from search.config import TrialConfig
from search.data import Split, load_final_splits
from search.model import ALL_VIEWS, ONE_VIEW, TinyCNN
from search.objective import TrialInterruptedError, record
from search.provenance import versions
from search.train import DivergedError, Evaluation, Runtime, evaluate, train

LARGEST_SEED = 2**32 - 1
FinalResources = tuple[Split, Split, Runtime]  # all training digits, the test digits


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A network after its last epoch, and how it does on the test digits; no network where training diverged.

    Attributes:
        evaluation: With all views of every digit: this is the result.
        one_view: With the central view alone, for comparison.
    """

    model: TinyCNN | None
    evaluation: Evaluation
    one_view: Evaluation


def load_final_resources(dataset: str, data_dir: Path, device: str, precision: str) -> FinalResources:
    """What the runs of one worker share."""
    runtime = Runtime(device=torch.device(device), precision=precision)
    training, test = load_final_splits(dataset, data_dir)
    return training.to(runtime.device), test.to(runtime.device), runtime


def train_and_test(
    trial: optuna.Trial,
    config: TrialConfig,
    resources: FinalResources,
    *,
    epochs: int,
    seed: int,
    commit: str,
    should_stop: Callable[[], bool],
) -> Tested:
    """Trains with one seed on all training digits, and measures on the test digits once, after the last epoch.

    A run that diverges gets every digit wrong: it is a result, not an accident.

    Raises:
        TrialInterruptedError: After the epoch in which `should_stop` became true.
    """
    training, test, runtime = resources
    record(trial, {"device": runtime.device.type, "precision": runtime.precision})
    record(trial, {"commit": commit, "versions": versions()})
    start = time.monotonic()
    try:
        for result in train(config, training, epochs=epochs, seed=seed, runtime=runtime):
            seconds = round(time.monotonic() - start, 2)
            record(trial, {"epochs": result.epoch, "seconds": seconds, "train_loss": result.train_loss})
            if result.epoch < epochs and should_stop():
                raise TrialInterruptedError
    except DivergedError:
        worst = Evaluation(errors=len(test), num_images=len(test), loss=float("inf"))
        tested = Tested(model=None, evaluation=worst, one_view=worst)
    else:
        model = result.model
        tested = Tested(
            model=model,
            evaluation=evaluate(model, test, runtime, ALL_VIEWS),
            one_view=evaluate(model, test, runtime, ONE_VIEW),
        )
    record(trial, {"errors": tested.evaluation.errors, "num_images": tested.evaluation.num_images})
    record(trial, {"num_views": len(ALL_VIEWS), "errors_one_view": tested.one_view.errors})
    return tested
