"""Re-ranks the leading trials of a search, and its first, by further runs: the best of many noisy runs is partly luck.

What the search has earned, the winner's lead over the first trial, is measured by more runs of these two, for the ones
that chose a winner flatter it.

Each run is a trial of a study of its own, in the same storage: so re-ranking resumes, runs in parallel and shows in
the dashboard like a search does. It measures on the validation images, as the search did.
"""

from optuna.trial import FrozenTrial

from ..show.screen import Stage
from ..show.words import describe_trials
from ..studies.facts import StudyFacts
from ..studies.kinds import KINDS, Kind
from ..studies.opening import open_following_study
from ..studies.plan import GivenPlan
from ..studies.study import StoredStudy
from ..studies.tickets import keys_left
from ..studies.turns import exclusive, patient
from .session import Session
from .standings import NUM_RUNS, Ranking, leading_trials, trials_to_rerank
from .tasks import Candidate, RerankTask
from .validating import Validation
from .winner import rebuild_config


def runs_of(trials: tuple[FrozenTrial, ...]) -> GivenPlan:
    """Every further run of these trials, the first runs first."""
    return GivenPlan(runs=tuple({"trial": trial.number, "run": run} for run in range(NUM_RUNS) for trial in trials))


def runs_to_compare(numbers: list[int], num_compared: int) -> GivenPlan:
    """The runs by which the winner is compared with the first trial."""
    compared = range(NUM_RUNS, NUM_RUNS + num_compared)
    return GivenPlan(runs=tuple({"trial": number, "run": run} for run in compared for number in numbers))


@patient()
def open_rerank_study(search: StoredStudy, num_leading: int, trials: tuple[FrozenTrial, ...]) -> StoredStudy:
    """The study whose trials are further runs of some of a search's trials; from here on, these are to be run."""
    reranking = open_following_study(search, Kind.RERANK, StudyFacts())
    planned = tuple(trial.number for trial in trials)
    with exclusive(search.storage):
        StudyFacts(num_reranked=num_leading, planned_trials=planned).write(reranking.study)
    return reranking


def run_reranking(
    session: Session,
    search: StoredStudy,
    ranking: Ranking | None,
    validation: Validation,
    num_leading: int,
    deadline: float | None,
    then: Stage | None = None,
) -> bool:
    """Runs the leading trials again; returns whether it was interrupted.

    Args:
        ranking: How far the re-ranking has come.
        then: What follows, for the estimate of the time left.
        deadline: As in `search.studies.job.JobSettings`.
    """
    leading = trials_to_rerank(search, num_leading)
    if not leading:
        return False
    reranking = open_rerank_study(search, num_leading, leading)
    task = _task(session, search, leading, validation)
    plan = runs_of(leading)
    others = {standing.trial.number for standing in ranking.standings} if ranking is not None else set()
    others -= {trial.number for trial in leading}
    if others:
        session.screen.say(f"Re-ranked before, and counted, too: {describe_trials(others)}.")
    if keys_left(reranking, plan):
        lead = leading_trials(search, num_leading)
        fewer = f" ({num_leading} were to be, but no more are complete)" if len(lead) < num_leading else ""
        first = ", and the study's first trial," if len(leading) > len(lead) else ""
        session.screen.say(f"Re-ranking the leading {len(lead)}{fewer}{first} by {NUM_RUNS} further runs each.")
    job = session.job(reranking, plan, task, epochs=validation.epochs, deadline=deadline)
    return session.run(reranking, job, then=then)


def run_comparison(
    session: Session,
    search: StoredStudy,
    ranking: Ranking,
    validation: Validation,
    num_compared: int,
    deadline: float | None,
) -> bool:
    """Runs the winner and the study's first trial; returns whether it was interrupted.

    Where the first trial has won, it runs alone: what it reaches is to be known by runs that did not choose it.
    """
    winner, first = ranking.winner, ranking.first
    reranking = search.sibling(KINDS[Kind.RERANK].name(search.name))
    if winner is None or first is None or reranking is None:
        return False
    trials = (winner.trial,) if winner.trial.number == first.number else (winner.trial, first)
    plan = runs_to_compare([trial.number for trial in trials], num_compared)
    if keys_left(reranking, plan):
        session.screen.say(
            f"The study's first trial has won. To tell what it reaches, it is run {num_compared} more times."
            if len(trials) == 1
            else f"Comparing the winner, trial {winner.trial.number}, with the study's first trial by {num_compared} "
            f"runs of each."
        )
    task = _task(session, search, trials, validation)
    return session.run(reranking, session.job(reranking, plan, task, epochs=validation.epochs, deadline=deadline))


def _task(session: Session, search: StoredStudy, trials: tuple[FrozenTrial, ...], validation: Validation) -> RerankTask:
    return RerankTask(
        validation=validation,
        candidates={trial.number: _candidate(search, trial, session) for trial in trials},
        search_name=search.name,
        folder=session.settings.results_dir / search.name,
    )


def _candidate(search: StoredStudy, trial: FrozenTrial, session: Session) -> Candidate:
    return Candidate(config=rebuild_config(search, trial, session.space), params=trial.params)
