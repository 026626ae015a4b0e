"""Proves a trial over fresh seeds: the only user of the test digits.

Each seed is a trial of a study of its own, in the same storage: so verification resumes, runs in parallel and
shows in the dashboard like a search does.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.config import RECIPE, TrialConfig
from search.data import Split, load_final_splits
from search.model import save_model
from search.objective import SuggestConfig, record
from search.provenance import versions
from search.storage import exclusive
from search.study import Binding, StudyError, best_trial, load_studies, record_use
from search.train import DivergedError, Evaluation, Runtime, evaluate, train

DEFAULT_FIRST_SEED = 10_000  # the search derives its seeds far above (`search.config.derive_seed`)
LARGEST_SEED = 2**31 - 1


def choose_trial(study: optuna.Study, number: int | None) -> FrozenTrial:
    """The trial to prove: the best, or the one of that number.

    Raises:
        StudyError: If there is no complete trial, or that one is not complete.
    """
    if number is None:
        best = best_trial(study)
        if best is None:
            raise StudyError(f"Study {study.study_name!r} has no complete trial yet. Run 'python cli.py search' first.")
        return best
    trials = study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials):
        raise StudyError(f"Study {study.study_name!r} has no trial {number}. Leave --trial out for the best.")
    if trials[number].state != TrialState.COMPLETE:
        state = trials[number].state.name.lower()
        raise StudyError(
            f"Trial {number} is {state}; only a complete trial can be verified. Leave --trial out for the best."
        )
    return trials[number]


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


def open_verify_study(
    storage: RDBStorage, study: optuna.Study, trial: FrozenTrial, config: TrialConfig
) -> optuna.Study:
    """The study whose trials are the seeds of one searched trial.

    Raises:
        StudyError: If a study of that name verified something else.
    """
    name = f"{study.study_name}-verify-{trial.number}"
    attributes = {
        "kind": "verify",
        "search_study": study.study_name,
        "trial": trial.number,
        "dataset": study.user_attrs["dataset"],
        "epochs": study.user_attrs["epochs"],
        "num_params": config.model.num_params,
        "channels": [list(stage) for stage in config.model.channels],
        "config": json.loads(json.dumps(asdict(config))),  # as it comes back from the storage
    }
    with exclusive(storage):
        verification = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        recorded = verification.user_attrs
        if recorded and any(recorded.get(key) != value for key, value in attributes.items()):
            raise StudyError(
                f"Study {name!r} verified another configuration. Delete it, or search under a new --study-name."
            )
        for key, value in attributes.items():
            verification.set_user_attr(key, value)
        record_use(verification)
    return verification


def plan_attempt(verification: optuna.Study, storage: RDBStorage, first_seed: int, num_seeds: int) -> range:
    """The seeds of an attempt, which is on record from here on.

    An attempt is known by its first seed. It can be extended but not cut down: if an earlier command measured
    more than `num_seeds` of its seeds, they count, and gaps among them are filled. A verdict must not leave out
    what is known.
    """
    with exclusive(storage):
        attempts: dict[str, int] = verification.user_attrs.get("attempts", {})
        planned = attempts.get(str(first_seed), 0)
        complete = verification.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        seeds = {trial.params["seed"] for trial in complete}
        measured = [seed for seed in range(first_seed, first_seed + planned) if seed in seeds]
        num_measured = measured[-1] + 1 - first_seed if measured else 0
        verification.set_user_attr("attempts", {**attempts, str(first_seed): max(planned, num_seeds)})
    return range(first_seed, first_seed + max(num_seeds, num_measured))


def count_attempts(storage: RDBStorage, search_study: str) -> int:
    """How often a trial of this search was put to the test: distinct pairs of a trial and a first seed."""
    attributes = [study.user_attrs for study in load_studies(storage)]
    return sum(len(each.get("attempts", {})) for each in attributes if each.get("search_study") == search_study)


@dataclass(frozen=True, kw_only=True)
class VerifyJob:
    """The seeds of a verification, as `search.workers` runs them."""

    storage_url: str
    study_name: str
    tickets: range
    config: TrialConfig
    epochs: int
    dataset: str
    data_dir: Path
    precision: str
    model_path: Path  # where the first seed's model is kept
    commit: str
    sampler: str = "random"
    seed: int = 0

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        return {seed: {"seed": seed} for seed in self.tickets}

    def expired(self) -> bool:
        return False

    def prepare(self, device: str) -> tuple[Split, Split, Runtime]:
        runtime = Runtime(device=torch.device(device), precision=self.precision)
        training, test = load_final_splits(self.dataset, self.data_dir)
        return training.to(runtime.device), test.to(runtime.device), runtime

    def run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        storage: RDBStorage,
        resources: tuple[Split, Split, Runtime],
        should_stop: Callable[[], bool],
    ) -> None:
        """Trains one seed on all training digits, and measures it on the test digits once, after the last epoch."""
        training, test, runtime = resources
        seed = trial.suggest_int("seed", 0, LARGEST_SEED)
        assert seed == trial.user_attrs["ticket"]
        record(trial, {"device": runtime.device.type, "precision": runtime.precision})
        record(trial, {"commit": self.commit, "versions": versions()})
        start = time.monotonic()
        try:
            for result in train(self.config, training, epochs=self.epochs, seed=seed, runtime=runtime):
                seconds = round(time.monotonic() - start, 2)
                record(trial, {"epochs": result.epoch, "seconds": seconds, "train_loss": result.train_loss})
                if result.epoch < self.epochs and should_stop():
                    study.tell(trial, state=TrialState.FAIL)  # without a reason: to be tried again
                    return
        except DivergedError:
            self._conclude(study, trial, errors=len(test), num_images=len(test))  # a seed that misses, not an accident
            return
        evaluation = evaluate(result.model, test, runtime)
        if seed == self.tickets.start:
            self._save_model(trial, result.model, evaluation)
        self._conclude(study, trial, errors=evaluation.errors, num_images=evaluation.num_images)

    def _conclude(self, study: optuna.Study, trial: optuna.Trial, *, errors: int, num_images: int) -> None:
        record(trial, {"errors": errors, "num_images": num_images})
        study.tell(trial, 100 * (num_images - errors) / num_images)

    def _save_model(self, trial: optuna.Trial, model: Any, evaluation: Evaluation) -> None:
        facts = {
            "study_name": self.study_name,
            "seed": trial.user_attrs["ticket"],
            "test_accuracy": evaluation.accuracy,
            "num_params": self.config.model.num_params,
            "epochs": self.epochs,
            "dataset": self.dataset,
            "precision": trial.user_attrs["precision"],
            "commit": self.commit,
            "config": asdict(self.config),
        }
        save_model(self.model_path, model, self.config.model, facts)


def measured_seeds(verification: optuna.Study, seeds: range) -> list[FrozenTrial]:
    """The trials of all these seeds, in order.

    Raises:
        StudyError: If some are not measured yet.
    """
    complete = verification.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    by_seed = {trial.params["seed"]: trial for trial in complete}
    if not set(seeds) <= by_seed.keys():
        raise StudyError("Another command is at work on some of these seeds. Run this one again when it has ended.")
    return [by_seed[seed] for seed in seeds]
