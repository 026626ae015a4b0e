"""Traces the frontier: for each of several budgets a search, and, once all of these have ended, a proof of each winner.

Each is an ordinary study: it resumes, runs in parallel and shows in the dashboard. A command sees no test image before
its last search has ended, so none can choose anything; the budgets are on record before its first search begins.
"""

import time
from dataclasses import fields, replace
from functools import partial
from typing import Any

from ..config import ExplainedError
from ..net.datasets import NO_TARGET, DataError, DataSet, find_dataset
from ..proof.evidence import Proof
from ..proof.frontier import Frontier, FrontierPoint
from ..proof.summaries import StudySummary
from ..proof.tested import Subject
from ..settings import FrontierSettings, RunSettings, SearchSettings, VerifySettings, frontier_record
from ..show.screen import Screen
from ..show.words import format_seconds, plural
from ..studies.opening import refuse_other_binding
from ..studies.space import Space
from ..studies.study import Binding, StoredStudy, StudyError, default_name, study_names
from .frontiers import known_points, write_frontier
from .proving import run_verification
from .searching import run_search
from .session import Ended, Session
from .winner import rebuild_config

SHORTEST_SEARCH = 1.0  # seconds: what took less was done before


def run_frontier(settings: FrontierSettings, space: Space, screen: Screen) -> Ended[Frontier]:
    """Searches and proves at every budget. Raises as `run_search` does."""
    dataset = find_dataset(settings.dataset, settings.data_dir, screen.warn)
    target = settings.target if settings.target is not None else dataset.target
    if target is None:
        raise DataError(NO_TARGET.format(dataset=dataset.name))
    if not settings.rerank:
        raise ExplainedError("A frontier proves winners, and re-ranking is what names them: rerank at least one trial.")
    for max_params in settings.budgets:
        space.check_reference(max_params)
    settings = replace(settings, target=target)
    path = settings.results_dir / frontier_record(dataset.name, settings.epochs)
    files = (path, path.with_suffix(".md"), path.with_suffix(".png"))
    session = Session.open(settings, space, screen, create=True)
    _refuse_other_studies(session, settings, dataset)
    known = known_points(path, dataset, settings.epochs, space.hash)
    earlier = sorted(known.keys() - set(settings.budgets))
    if earlier:
        screen.say(f"Budgets that were asked for before are shown as well: {', '.join(map(str, earlier))}.")
    points = {each: known.get(each, FrontierPoint(max_params=each)) for each in settings.budgets}
    write = partial(
        write_frontier,
        session.storage,
        path,
        dataset=dataset,
        epochs=settings.epochs,
        space=space.hash,
        target=float(target),
    )
    record = write({each: point for each, point in points.items() if each not in known})
    neighbour: str | None = None
    run_seconds: dict[int, float] = {}  # of a whole run at a budget, by the clock, with all workers at it
    for max_params in settings.budgets:
        is_new = default_name(dataset.name, max_params, settings.epochs) not in study_names(session.storage)
        asked = _search_settings(settings, dataset, max_params, neighbour if is_new else None)
        begun = time.monotonic()
        searched = run_search(asked, space, screen)
        assert searched.record is not None
        points[max_params] = _with_search(points[max_params], searched.record, session)
        record = write({max_params: points[max_params]})
        if searched.interrupted:
            return Ended(record=record, interrupted=True, files=files)
        _refuse_unfinished(searched.record, settings)
        neighbour = searched.record.study_name
        if searched.record.epochs.trained:
            run_seconds[max_params] = settings.epochs * searched.record.seconds / searched.record.epochs.trained
        _tell_left(screen, settings, points, time.monotonic() - begun, run_seconds)
    for max_params in settings.budgets:
        points = {point.max_params: point for point in record.points if point.max_params in points}
        _tell_left(screen, settings, points, None, run_seconds)
        proved = run_verification(_verify_settings(settings, points[max_params]), space, screen)
        if proved.record is None:
            return Ended(record=Frontier.read(path), interrupted=True, files=files)  # with the seeds that were measured
        points[max_params] = _with_proof(points[max_params], proved.record)
        record = write({max_params: points[max_params]})
    from .pages import write_page  # loads matplotlib: not before there is something to draw

    for max_params in settings.budgets:  # each shows all budgets, and each has been written before the last was proved
        name = points[max_params].study_name
        assert name is not None
        write_page(StoredStudy.load(session.storage, name), settings, session.space, screen)
    return Ended(record=record, files=files)


def _refuse_other_studies(session: Session, settings: FrontierSettings, dataset: DataSet) -> None:
    """Told before hours of training, not when the budget's turn has come."""
    for max_params in settings.budgets:
        name = default_name(dataset.name, max_params, settings.epochs)
        if name in study_names(session.storage):
            stored = StoredStudy.load(session.storage, name)
            wanted = Binding(
                dataset=dataset.name,
                split=stored.binding.split,  # the search itself will compare it
                max_params=max_params,
                epochs=settings.epochs,
                space=session.space.hash,
            )
            refuse_other_binding(stored, wanted)


def _refuse_unfinished(summary: StudySummary, settings: FrontierSettings) -> None:
    """No test image is seen before the last search has ended, whoever is at work on it."""
    reranking, winner = summary.reranking, summary.winner
    num_compared = len(reranking.earned.winner_val_accuracies) if reranking is not None and reranking.earned else 0
    is_compared = reranking is None or reranking.first is None or num_compared >= settings.compare
    if summary.trials.total < settings.trials or (summary.best is not None and (winner is None or not is_compared)):
        raise StudyError(f"Another command is at work on {summary.study_name!r}. Run this one again when it has ended.")
    if summary.winner is None:
        raise StudyError(f"Every trial of {summary.study_name!r} was pruned: ask for more --trials.")


def _tell_left(
    screen: Screen,
    settings: FrontierSettings,
    points: dict[int, FrontierPoint],
    seconds: float | None,
    run_seconds: dict[int, float],
) -> None:
    """Estimates what is missing; a larger budget's search takes longer than the last one.

    Args:
        seconds: What the last search took of this command; None once all have ended.
        run_seconds: Of a whole run, at the budgets that have been searched.
    """
    to_search = [each for each in settings.budgets if points[each].num_trials < settings.trials]
    missing = {each: max(0, settings.seeds - len(points[each].errors)) for each in settings.budgets}
    if not run_seconds:
        return
    latest = list(run_seconds.values())[-1]
    proofs = sum(count * run_seconds.get(each, latest) for each, count in missing.items())
    if seconds is None and any(missing.values()):
        screen.say(f"{plural(sum(missing.values()), 'seed')} to prove yet: about {format_seconds(proofs)} left.")
    elif seconds is not None and to_search and seconds >= SHORTEST_SEARCH:
        left = format_seconds(len(to_search) * seconds + proofs)
        screen.say(f"{plural(len(to_search), 'budget')} to search yet: about {left} left, the proofs included.")


def _search_settings(
    settings: FrontierSettings, dataset: DataSet, max_params: int, neighbour: str | None
) -> SearchSettings:
    own = {
        "dataset": dataset.name,
        "max_params": max_params,
        "study_name": default_name(dataset.name, max_params, settings.epochs),
        "warm_start": neighbour,
    }
    return SearchSettings(**_handed_on(settings, SearchSettings) | own)


def _verify_settings(settings: FrontierSettings, point: FrontierPoint) -> VerifySettings:
    return VerifySettings(**_handed_on(settings, VerifySettings) | {"study_name": point.study_name})


def _handed_on(settings: FrontierSettings, kind: type[RunSettings]) -> dict[str, Any]:
    """What another command is asked as this one is."""
    return {field.name: getattr(settings, field.name) for field in fields(kind) if hasattr(settings, field.name)}


def _with_search(point: FrontierPoint, summary: StudySummary, session: Session) -> FrontierPoint:
    """A budget after its search; what was seen of another winner is another attempt, and counted as such."""
    winner, search = summary.winner, StoredStudy.load(session.storage, summary.study_name)
    found: dict[str, Any] = {
        "max_params": point.max_params,
        "study_name": summary.study_name,
        "num_trials": summary.trials.total,
    }
    if winner is None:  # not settled; the one before stands until then, if its search is still there
        trials = search.trials()
        is_there = point.trial is not None and point.trial < len(trials) and trials[point.trial].params == point.params
        return FrontierPoint.model_validate({**(dict(point) if is_there else {}), **found})
    config = rebuild_config(search, search.trials()[winner.number], session.space)
    subject = Subject.of(
        config, dataset=summary.dataset, epochs=summary.settings.epochs, recipe=summary.settings.recipe
    )
    found |= {name: getattr(winner, name) for name in ("num_params", "channels", "blocks", "residual", "params")}
    found["trial"], found["subject"] = winner.number, subject
    found["earned"] = summary.reranking.earned if summary.reranking is not None else None
    found["tested"] = point.tested if point.subject == subject else None
    return FrontierPoint.model_validate(found)


def _with_proof(point: FrontierPoint, proof: Proof) -> FrontierPoint:
    """A budget after its proof; another command may have named another winner meanwhile."""
    model, same = proof.config.model, proof.trial == point.trial
    changes = {
        "trial": proof.trial,
        "num_params": model.num_params,
        "channels": model.channels,
        "blocks": model.blocks,
        "residual": model.residual,
        "params": point.params if same else {},
        "earned": point.earned if same else None,
        "subject": proof.subject,
    }
    return FrontierPoint.model_validate({**dict(point), **changes})
