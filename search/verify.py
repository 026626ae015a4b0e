"""Proves a trial over fresh seeds, on the test digits.

Each seed is a trial of a study of its own, in the same storage: so verification resumes, runs in parallel and
shows in the dashboard like a search does.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.config import TrialConfig
from search.final import LARGEST_SEED, FinalResources, load_final_resources, train_and_test
from search.model import TinyCNN, load_record, save_model
from search.objective import TrialInterruptedError
from search.rerank import NUM_RUNS, find_ranking, find_winner
from search.study import StudyError, best_trial, complete_trials, config_attributes, open_side_study
from search.train import Evaluation


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The trial to prove, and the rule that chose it, as half a sentence."""

    trial: FrozenTrial
    rule: str


def choose_trial(study: optuna.Study, storage: RDBStorage, number: int | None) -> Choice:
    """The trial of that number; without one the winner: of the re-ranking, where there was one, else of the search.

    Raises:
        StudyError: If there is no complete trial, that one is not complete, or the re-ranking is not finished.
    """
    if number is not None:
        return Choice(trial=_complete_trial(study, number), rule="the one asked for (--trial)")
    if best_trial(study) is None:
        raise StudyError(f"Study {study.study_name!r} has no complete trial yet. Go on with its search first.")
    ranking = find_ranking(study, storage)
    winner = find_winner(study, ranking)
    if winner is None:
        raise StudyError(
            f"The leading trials of {study.study_name!r} are not all re-ranked yet. Run the search again with the "
            f"same options, which finishes it, or name a trial with --trial."
        )
    if ranking is None or not ranking.finished:
        count = len(complete_trials(study))
        return Choice(trial=winner, rule=f"the best of {count} single runs; not re-ranked")
    first = ranking.standings[0]
    return Choice(
        trial=winner,
        rule=f"the best of {len(ranking.standings)} re-ranked trials ({first.mean:.3f} % on validation, the mean "
        f"of {NUM_RUNS} further runs)",
    )


def _complete_trial(study: optuna.Study, number: int) -> FrozenTrial:
    trials = study.get_trials(deepcopy=False)
    if not 0 <= number < len(trials):
        raise StudyError(f"Study {study.study_name!r} has no trial {number}. Leave --trial out for the winner.")
    if trials[number].state != TrialState.COMPLETE:
        state = trials[number].state.name.lower()
        raise StudyError(
            f"Trial {number} is {state}; only a complete trial can be verified. Leave --trial out for the winner."
        )
    return trials[number]


def open_verify_study(storage: RDBStorage, study: optuna.Study, choice: Choice, config: TrialConfig) -> optuna.Study:
    """The study whose trials are the seeds of one searched trial.

    Raises:
        StudyError: If a study of that name verified something else.
    """
    name = f"{study.study_name}-verify-{choice.trial.number}"
    attributes = {"kind": "verify", "trial": choice.trial.number, **config_attributes(config)}
    return open_side_study(storage, study, name, attributes, "verified")


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
    model_path: Path | None  # where the first seed's model is kept; None for nowhere
    commit: str
    sampler: str = "random"
    seed: int = 0

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        return {seed: {"seed": seed} for seed in self.tickets}

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
        seed = trial.suggest_int("seed", 0, LARGEST_SEED)
        assert seed == trial.user_attrs["ticket"]
        try:
            tested = train_and_test(
                trial,
                self.config,
                resources,
                epochs=self.epochs,
                seed=seed,
                commit=self.commit,
                should_stop=should_stop,
            )
        except TrialInterruptedError:
            study.tell(trial, state=TrialState.FAIL)  # without a reason: to be tried again
            return
        if seed == self.tickets.start and tested.model is not None and self.model_path is not None:
            self._save_model(self.model_path, trial, tested.model, tested.evaluation)
        study.tell(trial, tested.evaluation.accuracy)

    def _save_model(self, path: Path, trial: optuna.Trial, model: TinyCNN, evaluation: Evaluation) -> None:
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
        save_model(path, model, self.config.model, facts)


def measured_seeds(verification: optuna.Study, seeds: range) -> list[FrozenTrial]:
    """The trials of all these seeds, in order.

    Raises:
        StudyError: If some are not measured yet.
    """
    complete = complete_trials(verification)
    by_seed = {trial.params["seed"]: trial for trial in complete}
    if not set(seeds) <= by_seed.keys():
        raise StudyError("Another command is at work on some of these seeds. Run this one again when it has ended.")
    return [by_seed[seed] for seed in seeds]


def describe_model(path: Path, verification: optuna.Study, seed: int) -> dict[str, Any] | None:
    """The file and the seed of the kept model; None if the file is missing, or is of another run of that name."""
    [trial] = measured_seeds(verification, range(seed, seed + 1))
    try:
        record = load_record(path)
    except (FileNotFoundError, ValueError):
        return None
    run = {"seed": seed, "test_accuracy": trial.value, "commit": trial.user_attrs["commit"]}
    same = all(record.get(key) == value for key, value in run.items())
    same = same and record.get("config") == verification.user_attrs["config"]
    return {"file": path.name, "seed": seed} if same else None
