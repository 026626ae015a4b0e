"""Re-ranks the leading trials of a search by further runs: the best of many noisy runs is partly luck.

Each run is a trial of a study of its own, in the same storage: so re-ranking resumes, runs in parallel and shows in
the dashboard like a search does. It measures on the validation digits, as the search did.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.config import TrialConfig, derive_seed
from search.objective import (
    Resources,
    SuggestConfig,
    TrialInterruptedError,
    load_resources,
    rebuild_config,
    record,
    validation_accuracy,
)
from search.study import Binding, StudyError, best_trial, complete_trials, make_pruner, open_side_study, rank

NUM_RUNS = 2  # further runs of each leading trial
LARGEST_NUMBER = 2**31 - 1  # of a trial


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A leading trial after its further runs.

    Attributes:
        trial: As it was searched.
        accuracies: Those of its further runs. The searched one does not count: it is why the trial leads, so it is
            too high on average.
    """

    trial: FrozenTrial
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracies)


def leading_trials(study: optuna.Study, num_leading: int) -> list[FrozenTrial]:
    """The complete trials of highest value, the best first; fewer where there are fewer."""
    return sorted(complete_trials(study), key=rank, reverse=True)[:num_leading]


def name_of(study: optuna.Study) -> str:
    return f"{study.study_name}-rerank"


def open_rerank_study(storage: RDBStorage, study: optuna.Study, leading: list[FrozenTrial]) -> optuna.Study:
    """The study whose trials are further runs of a search's leading trials; from here on, these are to be run."""
    reranking = open_side_study(storage, study, name_of(study), {"kind": "rerank"}, "re-ranked")
    reranking.set_user_attr("planned", [trial.number for trial in leading])
    return reranking


def tickets_of(trials: list[FrozenTrial]) -> tuple[int, ...]:
    """A ticket for every further run of these trials, the first runs first."""
    return tuple(trial.number * NUM_RUNS + run for run in range(NUM_RUNS) for trial in trials)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How far a re-ranking has come.

    Attributes:
        standings: The trials whose further runs are all there, the best first.
        finished: Whether these are all that were to be re-ranked, and no trial has come to lead since.
        leading: The searched trials in question, the best first.
    """

    standings: list[Standing]
    finished: bool
    leading: list[FrozenTrial]


def find_ranking(study: optuna.Study, storage: RDBStorage) -> Ranking | None:
    """The re-ranking of a search; None if there was none.

    Raises:
        StudyError: If a run was of a trial that the search does not hold: it is another search of the same name.
    """
    if name_of(study) not in optuna.get_all_study_names(storage):
        return None
    reranking = optuna.load_study(storage=storage, study_name=name_of(study))
    if reranking.user_attrs.get("kind") != "rerank":  # a search that is called so
        return None
    bound = {key: reranking.user_attrs.get(key, value) for key, value in asdict(Binding.of(study)).items()}
    if bound != asdict(Binding.of(study)):
        raise _of_another_search(reranking)
    standings = rank_again(study, reranking)
    planned = set(reranking.user_attrs.get("planned", []))
    leading = leading_trials(study, len(planned))
    done = {standing.trial.number for standing in standings}
    finished = bool(planned) and {trial.number for trial in leading} == planned and planned <= done
    return Ranking(standings=standings, finished=finished, leading=leading)


def find_winner(study: optuna.Study, ranking: Ranking | None) -> FrozenTrial | None:
    """The trial to prove: the re-ranking's first, or, where the last search has waived it, the best single run.

    None while re-ranking is not finished, and where no trial is complete.
    """
    if ranking is not None and ranking.finished:
        return ranking.standings[0].trial
    return best_trial(study) if not study.user_attrs.get("rerank", 0) else None


def rank_again(study: optuna.Study, reranking: optuna.Study) -> list[Standing]:
    """The trials whose further runs are all there, the best first. Raises as `find_ranking` does."""
    trials = study.get_trials(deepcopy=False)
    accuracies = defaultdict(list)
    for run in complete_trials(reranking):
        number = run.params["trial"]
        if number >= len(trials) or trials[number].params != run.user_attrs["searched_params"]:
            raise _of_another_search(reranking)
        assert run.value is not None
        accuracies[number].append(run.value)
    complete = [
        Standing(trial=trials[number], accuracies=tuple(values))
        for number, values in accuracies.items()
        if len(values) == NUM_RUNS
    ]
    return sorted(complete, key=lambda standing: (standing.mean, *rank(standing.trial)), reverse=True)


def _of_another_search(reranking: optuna.Study) -> StudyError:
    return StudyError(
        f"Study {reranking.study_name!r} re-ranked another search of this name. Delete it (see 'Starting over' in the "
        f"README), or search under a new --study-name."
    )


def describe(ranking: Ranking | None) -> dict[str, Any] | None:
    """The re-ranking in one JSON object; None without one.

    `regression` is how much the further runs of the search's first-ranked trial fall short of its searched one, in
    points: what the choice of the best of many runs had overstated.
    """
    if ranking is None:
        return None
    regression = None
    if ranking.finished:
        first = ranking.leading[0]
        [of_first] = [standing for standing in ranking.standings if standing.trial.number == first.number]
        regression = (first.value or 0.0) - of_first.mean
    return {
        "finished": ranking.finished,
        "winner": ranking.standings[0].trial.number if ranking.finished else None,
        "regression": regression,
        "standings": [
            {
                "number": standing.trial.number,
                "searched_val_accuracy": standing.trial.value,
                "val_accuracies": list(standing.accuracies),
                "mean": standing.mean,
                "num_params": standing.trial.user_attrs["num_params"],
                "channels": standing.trial.user_attrs["channels"],
            }
            for standing in ranking.standings
        ],
    }


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A leading trial, as its further runs need it."""

    config: TrialConfig
    seed: int  # of the searched run
    params: dict[str, Any]


def candidates(
    study: optuna.Study, trials: list[FrozenTrial], suggest_config: SuggestConfig, space: str
) -> dict[int, Candidate]:
    """By trial number. Raises as `rebuild_config` does."""
    return {
        trial.number: Candidate(
            config=rebuild_config(study, trial, suggest_config, space),
            seed=trial.user_attrs["seed"],
            params=trial.params,
        )
        for trial in trials
    }


@dataclass(frozen=True, kw_only=True)
class RerankJob:
    """Further runs of the leading trials, as `search.workers` runs them."""

    storage_url: str
    study_name: str
    tickets: tuple[int, ...]
    candidates: dict[int, Candidate]
    max_params: int
    epochs: int
    dataset: str
    data_dir: Path
    precision: str
    commit: str
    deadline: float | None
    sampler: str = "random"
    seed: int = 0

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        return {ticket: {"trial": ticket // NUM_RUNS, "run": ticket % NUM_RUNS} for ticket in self.tickets}

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
        study.pruner = make_pruner("none")
        number, run = trial.suggest_int("trial", 0, LARGEST_NUMBER), trial.suggest_int("run", 0, NUM_RUNS - 1)
        candidate = self.candidates[number]
        seed = derive_seed(candidate.seed, "rerank", run)
        record(trial, {"searched_params": candidate.params, "seed": seed})
        record(trial, {"device": runtime.device.type, "precision": runtime.precision, "commit": self.commit})
        try:
            outcome = validation_accuracy(
                trial,
                lambda *_: candidate.config,
                splits,
                max_params=self.max_params,
                epochs=self.epochs,
                seed=seed,
                runtime=runtime,
                should_stop=should_stop,
            )
        except optuna.TrialPruned:  # it diverged: a result like any other, and the worst
            study.tell(trial, 0.0)
        except TrialInterruptedError:
            study.tell(trial, state=TrialState.FAIL)  # without a reason: to be tried again
        else:
            study.tell(trial, outcome.value)
