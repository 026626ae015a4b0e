"""The search, from its settings to its record."""

import time

from ..net.data import fingerprint, load_search_splits
from ..net.datasets import find_dataset
from ..proof.summaries import StudySummary
from ..settings import SearchSettings
from ..show.notes import NoteKeeper
from ..show.screen import Screen, Stage
from ..show.totals import count_trials
from ..studies.facts import StudyFacts
from ..studies.kinds import KINDS, Kind, check_search_name
from ..studies.opening import open_search_study
from ..studies.plan import DrawnPlan
from ..studies.space import Space
from ..studies.study import Binding, StoredStudy, default_name
from ..studies.tickets import find_holders, is_finished
from ..studies.worker import expired, is_stalled
from .reporting import is_of_another_study, recorded_summary, write_search_records
from .reranking import run_comparison, run_reranking
from .session import Ended, Session
from .standings import NUM_RUNS, read_ranking
from .starting import find_warm_start
from .tasks import SearchTask
from .telling import OnTrial, TrialTeller
from .validating import Validation


def run_search(
    settings: SearchSettings, space: Space, screen: Screen, on_trial: OnTrial | None = None
) -> Ended[StudySummary]:
    """Finishes the study of `settings.trials` trials, be it new or begun.

    Args:
        on_trial: Called in this process for each trial of the search that has ended meanwhile, whoever trained it.

    Raises:
        ExplainedError: If the settings contradict each other or what is there, or results cannot be written.
    """
    if settings.study_name is not None:
        check_search_name(settings.study_name)
    space.check_reference(settings.max_params)
    session = Session.open(settings, space, screen, create=True)
    dataset = find_dataset(settings.dataset, settings.data_dir, screen.warn)
    binding = Binding(
        dataset=dataset.name,
        split=fingerprint(*load_search_splits(dataset, settings.data_dir)),
        max_params=settings.max_params,
        epochs=settings.epochs,
        space=space.hash,
    )
    name = settings.study_name or default_name(dataset.name, settings.max_params, settings.epochs)
    warm_start = None
    if settings.warm_start is not None:
        warm_start = find_warm_start(session.storage, settings.warm_start, name, binding)
    search = open_search_study(session.storage, name, binding, space.reference, warm_start)
    num_done = count_trials(search.trials()).total
    StudyFacts(  # may change on the way; the last is noted
        space_file=space.path.name,
        patience=settings.patience,
        num_trials=settings.trials,
        num_reranked=settings.rerank,
        num_compared=settings.compare,
    ).write(search.study)
    ranking = read_ranking(search)  # one of another search is told before anything starts
    if not settings.rerank and ranking is not None and ranking.finished:
        screen.say("The earlier re-ranking stands, as long as no other trial comes to lead.")
    if num_done > settings.trials:
        screen.say(f"The study has {num_done} trials already: --trials {settings.trials} adds none.")
    folder = settings.results_dir / search.name
    recorded = recorded_summary(folder)
    if recorded is not None and is_of_another_study(recorded, search):
        screen.warn(
            f"{folder} holds the records of another study of this name, in {recorded.storage}: they are replaced. To "
            f"keep them, name another --results-dir or --study-name."
        )
    validation = Validation(
        dataset=dataset.name,
        data_dir=settings.data_dir,
        precision=session.precision,
        max_params=settings.max_params,
        epochs=settings.epochs,
    )
    return _search_and_rerank(session, settings, search, validation, on_trial)


def _search_and_rerank(
    session: Session,
    settings: SearchSettings,
    search: StoredStudy,
    validation: Validation,
    on_trial: OnTrial | None,
) -> Ended[StudySummary]:
    folder = settings.results_dir / search.name
    plan = DrawnPlan(num_trials=settings.trials, sampler_name=settings.sampler, seed=settings.seed)
    task = SearchTask(
        validation=validation,
        suggest_config=session.space.suggest_config,
        seed=settings.seed,
        search_name=search.name,
        folder=folder,
    )
    deadline = time.time() + settings.timeout if settings.timeout is not None else None
    job = session.job(
        search,
        plan,
        task,
        epochs=settings.epochs,
        pruner=settings.pruner,
        deadline=deadline,
        patience=settings.patience,
    )
    num_runs = NUM_RUNS * (min(settings.rerank, settings.trials) + 1) + 2 * settings.compare  # at most
    then = Stage(name=KINDS[Kind.RERANK].stage, num_runs=num_runs) if settings.rerank else None
    notes = NoteKeeper(search)
    teller = TrialTeller(search, on_trial)

    def follow() -> None:
        notes.update()
        teller.update()

    was_finished = is_finished(search, plan) or is_stalled(search, job)
    if not was_finished:  # else this command draws no trial, and has no part in how they were drawn
        StudyFacts(sampler=settings.sampler, pruner=settings.pruner, seed=settings.seed).write(search.study)
    interrupted = session.run(search, job, then=then, on_update=follow)
    teller.update()
    search.record_use()
    ranking = read_ranking(search)
    is_over = is_finished(search, plan) or (is_stalled(search, job) and not find_holders(search))
    if is_over and not is_finished(search, plan):
        session.screen.say(f"No better trial among the last {settings.patience} (--patience): the search ends here.")
    if expired(job) and not (is_over or interrupted):
        session.screen.say(f"{settings.timeout:g} seconds are over (--timeout): the search stops here.")
    summary = write_search_records(search, ranking, folder)  # now already: re-ranking may fail, or be killed
    time_is_up = expired(job) and not was_finished  # a command with a short time limit gets something done, too
    if settings.rerank and is_over and not interrupted and not time_is_up:
        was_ranked = ranking is not None and ranking.finished
        comparison = Stage(name="the comparison", num_runs=2 * settings.compare) if settings.compare else None
        interrupted = run_reranking(session, search, ranking, validation, settings.rerank, deadline, comparison)
        ranking = read_ranking(search)
        time_is_up = expired(job) and not was_ranked
        if settings.compare and ranking is not None and not interrupted and not time_is_up:
            interrupted = run_comparison(session, search, ranking, validation, settings.compare, deadline)
            ranking = read_ranking(search)
        if ranking is not None and ranking.winner is not None:
            notes.name_winner(ranking.winner.trial, ranking.winner.mean)
        summary = write_search_records(search, ranking, folder)
    from .pages import write_page  # loads matplotlib: not before there is something to draw

    page = write_page(search, settings, session.space, session.screen)
    return Ended(record=summary, interrupted=interrupted, files=page)
