"""The ladder: what each method earned, one added after the other, and each left out alone.

Batch norm, dropout and augmentation, as in the hand-made study that this tool replaces; everything else is the
winner's. Each run is a trial of a study of its own, as in a verification. Test accuracy is measured for the record and
picks nothing.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.config import AugmentConfig, TrialConfig
from search.final import LARGEST_SEED, FinalResources, load_final_resources, train_and_test
from search.objective import TrialInterruptedError, record
from search.study import StudyError, complete_trials, config_attributes, open_side_study
from search.train import evaluate
from search.verdict import made_with

FIRST_SEED = 2**31  # out of a verification's reach: what is measured here must not be proved with
SOME_DROPOUT = 0.05  # where the winner has none, so that the ladder has the rung

RUNGS = {
    "plain": (),
    "+ batch norm": ("norm",),
    "+ dropout": ("norm", "dropout"),
    "+ augmentation (all)": ("norm", "dropout", "augmentation"),
    "all but batch norm": ("dropout", "augmentation"),
    "all but dropout": ("norm", "augmentation"),
    # all but augmentation is the third rung
}
HAND_MADE = {  # best training and test accuracy, one run each (the write-up that this tool replaces)
    "plain": (80.05, 79.29),
    "+ batch norm": (99.66, 99.32),
    "+ dropout": (99.07, 99.40),
    "+ augmentation (all)": (97.85, 99.42),
}


def rung_config(config: TrialConfig, methods: tuple[str, ...]) -> TrialConfig:
    """The configuration with these methods alone, of "norm", "dropout" and "augmentation"."""
    model = replace(
        config.model,
        norm="norm" in methods,
        dropout=(config.model.dropout or SOME_DROPOUT) if "dropout" in methods else 0.0,
    )
    return replace(config, model=model, augment=config.augment if "augmentation" in methods else AugmentConfig())


def tickets_of(num_seeds: int) -> tuple[int, ...]:
    """A ticket for every rung and seed, each rung once before any again; the same for any larger number of seeds."""
    return tuple(range(num_seeds * len(RUNGS)))


def place_of(ticket: int) -> tuple[str, int]:
    """The rung and the seed of a ticket."""
    return list(RUNGS)[ticket % len(RUNGS)], FIRST_SEED + ticket // len(RUNGS)


def num_complete_seeds(ablation: optuna.Study) -> int:
    """For how many seeds every rung is measured."""
    complete = {trial.user_attrs["ticket"] for trial in complete_trials(ablation)}
    return next(count for count in range(len(complete) + 1) if not set(tickets_of(count + 1)) <= complete)


def open_ablation_study(
    storage: RDBStorage, study: optuna.Study, trial: FrozenTrial, config: TrialConfig
) -> optuna.Study:
    """The study whose trials are the rungs of one searched trial, over seeds.

    Raises:
        StudyError: If a study of that name took another configuration apart.
    """
    name = f"{study.study_name}-ablate-{trial.number}"
    attributes = {"kind": "ablate", "trial": trial.number, **config_attributes(config)}
    return open_side_study(storage, study, name, attributes, "took apart")


@dataclass(frozen=True, kw_only=True)
class AblationJob:
    """The rungs over seeds, as `search.workers` runs them."""

    storage_url: str
    study_name: str
    tickets: tuple[int, ...]
    config: TrialConfig
    epochs: int
    dataset: str
    data_dir: Path
    precision: str
    commit: str
    sampler: str = "random"
    seed: int = 0

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        return {ticket: dict(zip(("rung", "seed"), place_of(ticket), strict=True)) for ticket in self.tickets}

    def expired(self) -> bool:
        return False

    def prepare(self, device: str) -> FinalResources:
        return load_final_resources(self.dataset, self.data_dir, device, self.precision)

    def run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        storage: RDBStorage,
        resources: FinalResources,
        should_stop: Callable[[], bool],
    ) -> None:
        rung, seed = trial.suggest_categorical("rung", list(RUNGS)), trial.suggest_int("seed", 0, LARGEST_SEED)
        config = rung_config(self.config, RUNGS[rung])
        record(trial, {"num_params": config.model.num_params})
        try:
            tested = train_and_test(
                trial, config, resources, epochs=self.epochs, seed=seed, commit=self.commit, should_stop=should_stop
            )
        except TrialInterruptedError:
            study.tell(trial, state=TrialState.FAIL)  # without a reason: to be tried again
            return
        if tested.model is not None:
            training, _, runtime = resources
            record(trial, {"train_accuracy": evaluate(tested.model, training, runtime).accuracy})
        study.tell(trial, tested.evaluation.accuracy)


def make_record(ablation: optuna.Study, num_seeds: int) -> dict[str, Any]:
    """The ladder in one JSON object (`ablate --json`, `ablation.json`).

    Raises:
        StudyError: If some runs are not measured yet.
    """
    by_ticket = {trial.user_attrs["ticket"]: trial for trial in complete_trials(ablation)}
    if not set(tickets_of(num_seeds)) <= by_ticket.keys():
        raise StudyError("Another command is at work on some of these runs. Run this one again when it has ended.")
    runs = [by_ticket[ticket] for ticket in tickets_of(num_seeds)]
    attributes = ablation.user_attrs
    winners_dropout = attributes["config"]["model"]["dropout"]
    return {
        **{key: attributes[key] for key in ("search_study", "trial", "dataset", "epochs", "channels", "config")},
        "dropout": winners_dropout or SOME_DROPOUT,
        "winner_has_dropout": winners_dropout > 0,
        "seeds": sorted({run.params["seed"] for run in runs}),
        "rungs": [
            _describe_rung(
                rung,
                [run for run in runs if run.params["rung"] == rung],
                HAND_MADE.get(rung) if attributes["dataset"] == "mnist" else None,  # it used all of MNIST
            )
            for rung in RUNGS
        ],
        **made_with(runs),
    }


def _describe_rung(rung: str, runs: list[FrozenTrial], hand_made: tuple[float, float] | None) -> dict[str, Any]:
    ended = [run for run in runs if "train_accuracy" in run.user_attrs]
    one_view = [100 - 100 * run.user_attrs["errors_one_view"] / run.user_attrs["num_images"] for run in ended]
    return {
        "rung": rung,
        "methods": list(RUNGS[rung]),
        "num_params": runs[0].user_attrs["num_params"],
        "diverged": len(runs) - len(ended),  # left out of the means
        "test": _spread([run.value for run in ended if run.value is not None]),
        "test_one_view": _spread(one_view),
        # By one view, for all views of 60,000 digits would take longer than the training; so it compares with the
        # test digits by one view. On the digits as they are, without distortions.
        "train_one_view": _spread([run.user_attrs["train_accuracy"] for run in ended]),
        "hand_made": {"train": hand_made[0], "test": hand_made[1]} if hand_made is not None else None,
    }


def _spread(accuracies: list[float]) -> dict[str, Any]:
    return {
        "accuracies": accuracies,
        "mean": statistics.mean(accuracies) if accuracies else None,
        "std": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
    }
