"""Re-ranks the leading trials of a search by further runs: the best of many noisy runs is partly luck.

Each run is a trial of a study of its own, in the same storage: so re-ranking resumes, runs in parallel and shows in
the dashboard like a search does. It measures on the validation digits, as the search did.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from search.config import TrialConfig, derive_seed
from search.net.model_file import save_model
from search.proof.records import ModelOrigin
from search.runs.session import Session
from search.runs.standings import NUM_RUNS, leading_trials, rank_again
from search.runs.validating import Validated, Validation, ValidationResources
from search.runs.winner import rebuild_config
from search.studies.facts import StudyFacts, TrialFacts
from search.studies.job import Result, ShouldStop
from search.studies.kinds import Kind
from search.studies.plan import GivenPlan
from search.studies.study import StoredStudy, open_following_study
from search.studies.tickets import keys_left

LARGEST_NUMBER = 2**31 - 1  # of a trial
MODELS_FOLDER = "further-runs"  # in the study's results: the model of each leading trial's first further run


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A leading trial, as its further runs need it."""

    config: TrialConfig
    seed: int  # of the searched run
    params: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RerankTask:
    """Computes a further run of a leading trial.

    Attributes:
        candidates: By trial number.
        folder: The results of the search.
    """

    validation: Validation
    candidates: dict[int, Candidate]
    search_name: str
    folder: Path

    def prepare(self, device: str) -> ValidationResources:
        return self.validation.prepare(device)

    def recover(self) -> None:
        self.validation.recover()

    def run(self, trial: optuna.Trial, resources: ValidationResources, should_stop: ShouldStop) -> Result:
        number, run = trial.suggest_int("trial", 0, LARGEST_NUMBER), trial.suggest_int("run", 0, NUM_RUNS - 1)
        candidate = self.candidates[number]
        TrialFacts(searched_params=candidate.params).write(trial)
        seed = derive_seed(candidate.seed, "rerank", run)
        try:
            validated = self.validation.run(trial, candidate.config, resources, seed=seed, should_stop=should_stop)
        except optuna.TrialPruned:  # it diverged: a result like any other, and the worst
            return Result(value=0.0)
        if run > 0:
            return Result(value=validated.accuracy)
        return Result(
            value=validated.accuracy, keep=lambda _: self._keep(number, seed, validated, TrialFacts.of(trial))
        )

    def _keep(self, number: int, seed: int, validated: Validated, facts: TrialFacts) -> None:
        """Saves the first further run's model, whatever it reached: the winner's is the one to use."""
        config = self.candidates[number].config
        origin = ModelOrigin(
            study_name=self.search_name,
            trial=number,
            seed=seed,
            val_accuracy=validated.accuracy,
            num_params=config.model.num_params,
            epochs=self.validation.epochs,
            dataset=self.validation.dataset,
            precision=self.validation.precision,
            commit=facts.commit or "unknown",
            versions=facts.versions,
            config=config,
        )
        save_model(model_path(self.folder, number), validated.model, config.model, origin.model_dump_json())


def model_path(folder: Path, number: int) -> Path:
    """The model of a leading trial's first further run, in the results of its search."""
    return folder / MODELS_FOLDER / f"trial-{number}.safetensors"


def runs_of(trials: tuple[FrozenTrial, ...]) -> GivenPlan:
    """Every further run of these trials, the first runs first."""
    return GivenPlan(runs=tuple({"trial": trial.number, "run": run} for run in range(NUM_RUNS) for trial in trials))


def open_rerank_study(search: StoredStudy, leading: tuple[FrozenTrial, ...]) -> StoredStudy:
    """The study whose trials are further runs of a search's leading trials; from here on, these are to be run."""
    reranking = open_following_study(search, Kind.RERANK, StudyFacts())
    StudyFacts(planned_trials=tuple(trial.number for trial in leading)).write(reranking.study)
    return reranking


def run_reranking(
    session: Session, search: StoredStudy, validation: Validation, num_leading: int, deadline: float | None
) -> bool:
    """Runs the leading trials again; returns whether it was interrupted."""
    leading = leading_trials(search, num_leading)
    if not leading:
        return False
    reranking = open_rerank_study(search, leading)
    task = RerankTask(
        validation=validation,
        candidates={trial.number: _candidate(search, trial, session) for trial in leading},
        search_name=search.name,
        folder=session.settings.results_dir / search.name,
    )
    plan = runs_of(leading)
    others = {standing.trial.number for standing in rank_again(search, reranking)}
    others -= {trial.number for trial in leading}
    if others:
        session.screen.say(f"Trials {sorted(others)} were re-ranked before: they count, too.")
    if keys_left(reranking, plan):
        fewer = f" (--rerank {num_leading}, but no more are complete)" if len(leading) < num_leading else ""
        session.screen.say(f"Re-ranking the leading {len(leading)}{fewer} by {NUM_RUNS} further runs each.")
    job = session.job(reranking, plan, task, epochs=validation.epochs, deadline=deadline)
    return session.run(reranking, job)


def _candidate(search: StoredStudy, trial: FrozenTrial, session: Session) -> Candidate:
    seed = TrialFacts.of(trial).seed
    assert seed is not None, trial
    return Candidate(config=rebuild_config(search, trial, session.space), seed=seed, params=trial.params)
