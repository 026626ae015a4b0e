"""Re-ranks the leading trials of a search by further runs: the best of many noisy runs is partly luck.

Each run is a trial of a study of its own, in the same storage: so re-ranking resumes, runs in parallel and shows in
the dashboard like a search does. It measures on the validation digits, as the search did.
"""

from optuna.trial import FrozenTrial

from search.runs.session import Session
from search.runs.standings import NUM_RUNS, Ranking, leading_trials
from search.runs.tasks import Candidate, RerankTask
from search.runs.validating import Validation
from search.runs.winner import rebuild_config
from search.studies.facts import StudyFacts, TrialFacts
from search.studies.kinds import Kind
from search.studies.plan import GivenPlan
from search.studies.study import StoredStudy, open_following_study
from search.studies.tickets import keys_left


def runs_of(trials: tuple[FrozenTrial, ...]) -> GivenPlan:
    """Every further run of these trials, the first runs first."""
    return GivenPlan(runs=tuple({"trial": trial.number, "run": run} for run in range(NUM_RUNS) for trial in trials))


def open_rerank_study(search: StoredStudy, leading: tuple[FrozenTrial, ...]) -> StoredStudy:
    """The study whose trials are further runs of a search's leading trials; from here on, these are to be run."""
    reranking = open_following_study(search, Kind.RERANK, StudyFacts())
    StudyFacts(planned_trials=tuple(trial.number for trial in leading)).write(reranking.study)
    return reranking


def run_reranking(
    session: Session,
    search: StoredStudy,
    ranking: Ranking | None,
    validation: Validation,
    num_leading: int,
    deadline: float | None,
) -> bool:
    """Runs the leading trials again; returns whether it was interrupted.

    Args:
        ranking: How far the re-ranking has come.
        deadline: As in `search.studies.job.JobSettings`.
    """
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
    others = {standing.trial.number for standing in ranking.standings} if ranking is not None else set()
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
