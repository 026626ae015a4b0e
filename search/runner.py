"""The search, from its options to its records, and what all long commands share."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.storages import RDBStorage

from search import report, rerank
from search.config import ExplainedError
from search.data import find_dataset, fingerprint, load_search_splits
from search.files import check_writable
from search.objective import SearchJob
from search.options import Ended, SearchOptions, SharedOptions, Space, View
from search.provenance import code_commit, space_hash
from search.storage import open_storage
from search.study import Binding, StudyError, default_name, open_search_study, record_use
from search.tickets import is_finished, release_dead_trials, tickets_left
from search.train import choose_device, choose_precision
from search.worker import Job
from search.workers import run_workers

REFERENCE_FOLDER = "reference"
SIDE_STUDY = re.compile(r"-(rerank|(verify|ablate)-\d+|reproduce-\d+-[0-9a-f]{6})$")  # endings of their names
WORKERS_PER_GPU = 4  # not measured: no GPU was at hand
INTERRUPT_MESSAGE = "Stopping after the running epoch. Press Ctrl-C again to stop at once."


def run_search(options: SearchOptions, space: Space, view: View) -> Ended:
    """Finishes the study of `options.trials` trials, be it new or begun.

    Raises:
        ExplainedError: If results cannot be written, or what its subclasses in other modules say.
    """
    if options.study_name is not None:
        _check_study_name(options.study_name)
    devices, precision, storage = set_up(options, create=True)
    dataset = find_dataset(options.dataset, options.data_dir, view.warn)
    binding = Binding(
        dataset=dataset,
        split=fingerprint(*load_search_splits(dataset, options.data_dir)),
        max_params=options.max_params,
        epochs=options.epochs,
        space=space_hash(space.path),
    )
    name = options.study_name or default_name(dataset, options.max_params, options.epochs)
    study = open_search_study(storage, name, binding, space.reference)
    for setting in ("sampler", "pruner", "seed", "rerank"):  # may change on the way; the last is noted
        study.set_user_attr(setting, getattr(options, setting))
    ranking = rerank.find_ranking(study, storage)  # one of another search is told before anything starts
    if not options.rerank and ranking is not None and ranking.finished:
        view.say("The earlier re-ranking stands, as long as no other trial comes to lead.")
    num_done = report.count_trials(study.get_trials(deepcopy=False))["total"]
    if num_done > options.trials:
        view.say(f"The study has {num_done} trials already: --trials {options.trials} adds none.")
    job = _search_job(options, space, study, dataset=dataset, precision=precision)
    notes = report.NoteKeeper(study)
    was_finished = is_finished(study, job.tickets)
    interrupted = run_job(job, study, storage, devices, view, on_update=notes.update)
    record_use(study)
    facts = _write_records(study, storage, options)  # now already: re-ranking may fail, or be killed
    time_is_up = job.expired() and not was_finished  # a command with a short time limit gets something done, too
    if options.rerank and is_finished(study, job.tickets) and not interrupted and not time_is_up:
        interrupted = _rerank(options, space, study, storage, devices, view, job)
        ranking = rerank.find_ranking(study, storage)
        if ranking is not None and ranking.finished:
            notes.name_winner(ranking.standings[0].trial, ranking.standings[0].mean)
        facts = _write_records(study, storage, options)
    return Ended(facts=facts, interrupted=interrupted)


def _write_records(study: optuna.Study, storage: RDBStorage, options: SearchOptions) -> dict[str, Any]:
    """Sums the study up, writes that, and returns it."""
    ranking = rerank.find_ranking(study, storage)
    winner = rerank.find_winner(study, ranking)
    summary = report.summarise(study, options.storage, rerank.describe(ranking), winner)
    report.write_search_records(study, summary, options.results_dir / study.study_name)
    return summary


def _search_job(
    options: SearchOptions, space: Space, study: optuna.Study, *, dataset: str, precision: str
) -> SearchJob:
    return SearchJob(
        storage_url=options.storage,
        study_name=study.study_name,
        sampler=options.sampler,
        pruner=options.pruner,
        seed=options.seed,
        tickets=range(options.trials),
        deadline=time.time() + options.timeout if options.timeout is not None else None,
        dataset=dataset,
        data_dir=options.data_dir,
        max_params=options.max_params,
        epochs=options.epochs,
        precision=precision,
        suggest_config=space.suggest_config,
        results_dir=options.results_dir,
        commit=code_commit(),
    )


def _rerank(
    options: SearchOptions,
    space: Space,
    study: optuna.Study,
    storage: RDBStorage,
    devices: list[str],
    view: View,
    search_job: SearchJob,
) -> bool:
    """Runs the leading trials again; returns whether it was interrupted."""
    leading = rerank.leading_trials(study, options.rerank)
    if not leading:
        return False
    reranking = rerank.open_rerank_study(storage, study, leading)
    job = rerank.RerankJob(
        storage_url=options.storage,
        study_name=reranking.study_name,
        tickets=rerank.tickets_of(leading),
        candidates=rerank.candidates(study, leading, space.suggest_config, space_hash(space.path)),
        max_params=search_job.max_params,
        epochs=search_job.epochs,
        dataset=search_job.dataset,
        data_dir=search_job.data_dir,
        precision=search_job.precision,
        commit=search_job.commit,
        deadline=search_job.deadline,
    )
    others = {standing.trial.number for standing in rerank.rank_again(study, reranking)}
    others -= {trial.number for trial in leading}
    if others:
        view.say(f"Trials {sorted(others)} were re-ranked before: they count, too.")
    if tickets_left(reranking, job.tickets):
        fewer = f" (--rerank {options.rerank}, but no more are complete)" if len(leading) < options.rerank else ""
        view.say(f"Re-ranking the leading {len(leading)}{fewer} by {rerank.NUM_RUNS} further runs each.")
    return run_job(job, reranking, storage, devices, view)


def set_up(options: SharedOptions, *, create: bool) -> tuple[list[str], str, RDBStorage]:
    """One device per worker, the precision, and the storage; fails before anything is computed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        check_writable(options.results_dir)
    except OSError as error:
        reason = error.strerror or error
        raise ExplainedError(f"--results-dir {options.results_dir} cannot be written to ({reason}).") from error
    device = choose_device(options.device)
    precision = choose_precision(device) if options.precision == "auto" else options.precision
    return worker_devices(device, options.workers), precision, open_storage(options.storage, create=create)


def run_job(
    job: Job,
    study: optuna.Study,
    storage: RDBStorage,
    devices: list[str],
    view: View,
    on_update: Callable[[], None] = lambda: None,
) -> bool:
    """Runs what is left of a job; returns whether it was interrupted."""
    precision, epochs = job.precision, job.epochs
    while True:  # a worker of another command may die while this one's are at their last trials
        released = release_dead_trials(study, storage)
        if released:
            view.say(f"Trials {released} were cut off; their parameters are tried again.")
        at_work = devices[: len(tickets_left(study, job.tickets))]
        if not at_work:
            return False
        with view.watch(study, tickets=job.tickets, epochs=epochs, devices=at_work, precision=precision) as update_view:

            def update(update_view: Callable[[], None] = update_view) -> None:
                update_view()
                on_update()

            interrupted = run_workers(
                job, at_work, study, storage, on_update=update, on_interrupt=lambda: view.warn(INTERRUPT_MESSAGE)
            )
        if interrupted or job.expired():
            return interrupted


def _check_study_name(name: str) -> None:
    """A study's name is that of its results folder, too."""
    if not name or Path(name).name != name or name.startswith("."):
        raise StudyError(f"Study name {name!r} cannot be used: it names a folder, so no slashes and no leading dot.")
    if SIDE_STUDY.search(name):
        raise StudyError(f"Study name {name!r} cannot be used: studies that follow a search are named so.")
    if name == REFERENCE_FOLDER:
        raise StudyError(f"Study name {name!r} cannot be used: results/{name} holds the committed reference study.")


def worker_devices(device: torch.device, workers: int | None) -> list[str]:
    """One device per worker; without a number, one worker per CPU core, or several per GPU as far as cores go.

    One worker is expected to leave a GPU idle, for a step of so small a network should be over before the CPU has
    sent off the next; each worker needs a core to send from.
    """
    if device.type == "cuda":
        num_gpus = torch.cuda.device_count()
        default = max(num_gpus, min(num_gpus * WORKERS_PER_GPU, num_cores()))
        return [f"cuda:{index % num_gpus}" for index in range(workers or default)]
    if device.type == "cpu":
        return ["cpu"] * (workers or num_cores())
    return [device.type] * (workers or 1)


def num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # what this process may use, not what the machine has
    return os.cpu_count() or 1
