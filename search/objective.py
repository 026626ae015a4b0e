"""The one place where a Trial meets a network."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.config import RECIPE, TrialConfig, derive_seed
from search.data import Split, load_search_splits
from search.memory import peak_memory_mb
from search.model import ALL_VIEWS, TinyCNN, num_params, save_model
from search.provenance import versions
from search.storage import exclusive
from search.study import Binding, StudyError, best_trial, make_pruner, rank
from search.train import DivergedError, EpochResult, Evaluation, Runtime, evaluate, train

SuggestConfig = Callable[[optuna.trial.BaseTrial, int], TrialConfig]
Resources = tuple[tuple[Split, Split], Runtime]  # digits to train on and to validate on


def rebuild_config(study: optuna.Study, trial: FrozenTrial, suggest_config: SuggestConfig, space: str) -> TrialConfig:
    """The configuration of a finished trial, by replaying its recorded draws through the space.

    Raises:
        StudyError: If the space, or the recipe, was changed since: the replay would build something else.
    """
    if study.user_attrs["space"] != space:
        commit = study.user_attrs["commit"][:12]
        raise StudyError(
            f"space.py was edited since study {study.study_name!r} was made (at {commit}): its trials cannot be "
            f"rebuilt. Restore that version of the file, or search anew."
        )
    recipe = Binding.of(study).recipe
    if recipe != RECIPE:
        commit = study.user_attrs["commit"][:12]
        raise StudyError(
            f"Study {study.study_name!r} was made with another version of this tool (at {commit}; recipe {recipe}, now "
            f"{RECIPE}): its networks cannot be rebuilt. Use that version, or search anew."
        )
    config = suggest_config(trial, study.user_attrs["max_params"])
    channels = [list(stage) for stage in config.model.channels]
    if (channels, config.model.num_params) != (trial.user_attrs["channels"], trial.user_attrs["num_params"]):
        raise StudyError(
            f"Trial {trial.number} rebuilt has channels {channels}, recorded {trial.user_attrs['channels']}."
        )
    return config


class TrialInterruptedError(Exception):
    """The trial was asked to stop; it is to be tried again with the same parameters."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A trial that trained to its end."""

    value: float
    model: TinyCNN
    config: TrialConfig


def validation_accuracy(
    trial: optuna.Trial,
    suggest_config: SuggestConfig,
    splits: tuple[Split, Split],
    *,
    max_params: int,
    epochs: int,
    seed: int,
    runtime: Runtime,
    should_stop: Callable[[], bool],
) -> Outcome:
    """Trains one configuration and measures it on the validation digits, in percent.

    Every epoch is measured with one view of an image, which is what pruning goes by; the result, after the last, with
    all. Nothing over the budget is trained, whatever the space suggests.

    Raises:
        optuna.TrialPruned: If the trial is over budget, is not promising, or diverged.
        TrialInterruptedError: After the epoch in which `should_stop` became true.
    """
    config = suggest_config(trial, max_params)
    _refuse_over_budget(trial, config, max_params)
    training, validation = splits
    start = time.monotonic()
    try:
        for result in train(config, training, epochs=epochs, seed=seed, runtime=runtime):
            evaluation = evaluate(result.model, validation, runtime)
            if not math.isfinite(evaluation.loss):
                raise DivergedError(f"The validation loss was {evaluation.loss} in epoch {result.epoch}.")
            _report_epoch(trial, result, evaluation, time.monotonic() - start)
            if result.epoch == epochs:
                final = evaluate(result.model, validation, runtime, ALL_VIEWS)
                record(trial, {"val_loss": final.loss, "seconds": round(time.monotonic() - start, 2)})
                return Outcome(value=final.accuracy, model=result.model, config=config)
            if should_stop():
                raise TrialInterruptedError
            if trial.should_prune():
                trial.set_user_attr("prune_reason", "not promising")
                raise optuna.TrialPruned
    except DivergedError as error:
        trial.set_user_attr("prune_reason", "diverged")
        raise optuna.TrialPruned from error
    raise AssertionError("training ended before its last epoch")


def _refuse_over_budget(trial: optuna.Trial, config: TrialConfig, max_params: int) -> None:
    """Records the network, and prunes the trial untrained if it is too large. Counts the real network's parameters."""
    with torch.device("meta"):  # shapes without memory
        count = num_params(TinyCNN(config.model))
    assert count == config.model.num_params, (count, config.model)
    record(trial, {"channels": [list(stage) for stage in config.model.channels], "num_params": count})
    trial.set_constraint("num_params", count - max_params)  # <= 0 is feasible
    if count > max_params:
        trial.set_user_attr("prune_reason", "over budget")
        raise optuna.TrialPruned(f"{count} parameters exceed {max_params=}.")


def _report_epoch(trial: optuna.Trial, result: EpochResult, evaluation: Evaluation, seconds: float) -> None:
    trial.report(evaluation.accuracy, step=result.epoch)
    losses = {"train_loss": result.train_loss, "val_loss": evaluation.loss}
    record(trial, {"epochs": result.epoch, "seconds": round(seconds, 2), **losses})
    record(trial, {"worker_peak_memory_mb": peak_memory_mb()})  # of its trials so far: it never falls


def load_resources(dataset: str, data_dir: Path, device: str, precision: str) -> Resources:
    """What the runs of one worker share."""
    runtime = Runtime(device=torch.device(device), precision=precision)
    training, validation = load_search_splits(dataset, data_dir)
    return (training.to(runtime.device), validation.to(runtime.device)), runtime


@dataclass(frozen=True, kw_only=True)
class SearchJob:
    """The trials of a search, as `search.workers` runs them.

    Attributes:
        tickets: The places in the plan: 0 to the study's total.
        deadline: Seconds since the epoch after which no trial starts; None for never.
        precision: "bf16" or "fp32".
    """

    storage_url: str
    study_name: str
    sampler: str
    pruner: str
    seed: int
    tickets: range
    deadline: float | None
    dataset: str
    data_dir: Path
    max_params: int
    epochs: int
    precision: str
    suggest_config: SuggestConfig
    results_dir: Path
    commit: str

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        return {}

    def expired(self) -> bool:
        return self.deadline is not None and time.time() >= self.deadline

    def prepare(self, device: str) -> Resources:
        return load_resources(self.dataset, self.data_dir, device, self.precision)

    def run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        storage: RDBStorage,
        resources: Resources,
        should_stop: Callable[[], bool],
    ) -> None:
        splits, runtime = resources
        study.pruner = make_pruner(self.pruner)
        seed = derive_seed(self.seed, "trial", trial.user_attrs["ticket"])
        record(trial, {"seed": seed, "device": runtime.device.type, "precision": runtime.precision})
        record(trial, {"commit": self.commit})
        try:
            outcome = validation_accuracy(
                trial,
                self.suggest_config,
                splits,
                max_params=self.max_params,
                epochs=self.epochs,
                seed=seed,
                runtime=runtime,
                should_stop=should_stop,
            )
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except TrialInterruptedError:
            study.tell(trial, state=TrialState.FAIL)  # without a reason: to be tried again
        else:
            with exclusive(storage):  # saved before it counts: a best trial always has its model
                best = best_trial(study)
                if best is None or (outcome.value, -trial.number) > rank(best):
                    self._save_best(trial, outcome)
                study.tell(trial, outcome.value)

    def _save_best(self, trial: optuna.Trial, outcome: Outcome) -> None:
        facts = {
            "study_name": self.study_name,
            "trial": trial.number,
            "val_accuracy": outcome.value,
            "num_params": outcome.config.model.num_params,
            "epochs": self.epochs,
            "dataset": self.dataset,
            "seed": trial.user_attrs["seed"],
            "precision": trial.user_attrs["precision"],
            "commit": self.commit,
            "versions": versions(),
            "config": asdict(outcome.config),
        }
        save_model(self.results_dir / self.study_name / "best.safetensors", outcome.model, outcome.config.model, facts)


def record(trial: optuna.Trial, attributes: dict[str, Any]) -> None:
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
