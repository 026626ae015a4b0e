"""The two long commands, from their options to their records."""

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import optuna
import torch
from optuna.storages import RDBStorage

from search import report, verdict, verify
from search.data import find_dataset, fingerprint, load_final_splits, load_search_splits
from search.files import check_writable, write_atomically
from search.objective import SearchJob, SuggestConfig
from search.provenance import code_commit, space_hash
from search.storage import open_storage
from search.study import (
    HELD,
    Binding,
    StudyError,
    default_name,
    find_search_study,
    open_search_study,
    release_dead_trials,
)
from search.train import choose_device, choose_precision
from search.worker import Job
from search.workers import run_workers


@dataclass(frozen=True, kw_only=True)
class Space:
    """The search space, as `space.py` defines it."""

    suggest_config: SuggestConfig
    reference: dict[str, Any]
    path: Path


@dataclass(frozen=True, kw_only=True)
class SharedOptions:
    """What the commands that compute have in common; named as at the command line.

    Attributes:
        device: "auto", "cuda", "mps" or "cpu".
        precision: "auto", "bf16" or "fp32".
        workers: None for one per core or GPU.
        study_name: None for the default.
    """

    storage: str
    study_name: str | None
    data_dir: Path
    results_dir: Path
    device: str
    precision: str
    workers: int | None


@dataclass(frozen=True, kw_only=True)
class SearchOptions(SharedOptions):
    """The options of `search`; the timeout is in seconds."""

    trials: int
    dataset: str
    max_params: int
    epochs: int
    sampler: str
    pruner: str
    seed: int
    timeout: float | None


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(SharedOptions):
    """The options of `verify-best`; the target is in percent."""

    seeds: int
    first_seed: int
    trial: int | None
    target: Decimal


INTERRUPT_MESSAGE = "Stopping after the running epoch. Press Ctrl-C again to stop at once."


class View(Protocol):
    """What a person sees of a command at work."""

    def say(self, message: str) -> None:
        """Tells what is going on."""

    def warn(self, message: str) -> None:
        """Tells what must not be missed, also where little is to be told."""

    def watch(
        self, study: optuna.Study, *, tickets: range, epochs: int, devices: list[str], precision: str
    ) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Follows a study; the function that it yields is called a few times a second."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended.

    Attributes:
        facts: Its record, as `--json` prints it; None if it was interrupted before there was one.
    """

    facts: dict[str, Any] | None
    interrupted: bool


def run_search(options: SearchOptions, space: Space, view: View) -> Ended:
    """Finishes the study of `options.trials` trials, be it new or begun.

    Raises:
        OSError: If results cannot be written.
        DeviceError, StorageError, DataError, StudyError, WorkerError: See their modules.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.study_name is not None:
        _check_study_name(options.study_name)
    check_writable(options.results_dir)
    devices, precision = _settle_runtime(options)
    storage = open_storage(options.storage, create=True)
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
    job = SearchJob(
        storage_url=options.storage,
        study_name=name,
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
    )
    notes = report.NoteKeeper(study)
    interrupted = _run(job, study, storage, devices, view, on_update=notes.update)
    summary = report.summarise(study, options.storage)
    report.write_search_records(study, summary, options.results_dir / name)
    return Ended(facts=summary, interrupted=interrupted)


def run_verification(options: VerifyOptions, space: Space, view: View) -> Ended:
    """Trains the trial anew with each seed, and judges it. Raises as `run_search` does."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    check_writable(options.results_dir)
    devices, precision = _settle_runtime(options)
    storage = open_storage(options.storage)
    study = find_search_study(storage, options.study_name)
    trial = verify.choose_trial(study, options.trial)
    config = verify.rebuild_config(study, trial, space.suggest_config, space_hash(space.path))
    load_final_splits(study.user_attrs["dataset"], options.data_dir)  # a missing file is told before anything starts
    verification = verify.open_verify_study(storage, study, trial, config, options.first_seed)
    view.say(f"Verifying trial {trial.number} of {study.study_name}: {trial.value:.2f} % on validation.")
    folder = options.results_dir / study.study_name
    job = verify.VerifyJob(
        storage_url=options.storage,
        study_name=verification.study_name,
        tickets=range(options.first_seed, options.first_seed + options.seeds),
        config=config,
        epochs=study.user_attrs["epochs"],
        dataset=study.user_attrs["dataset"],
        data_dir=options.data_dir,
        precision=precision,
        model_path=folder / f"verify-{trial.number}-seed-{options.first_seed}.safetensors",
        commit=code_commit(),
    )
    interrupted = _run(job, verification, storage, devices, view)
    measured = verify.measured_seeds(verification, options.first_seed)
    if interrupted:
        return Ended(facts=None, interrupted=True)
    if len(measured) < options.seeds:
        raise StudyError(
            "Another command is still at work on some of these seeds. Run this one again when it has ended."
        )
    attempts = verify.count_attempts(storage, study.study_name)
    facts = verdict.make_record(verification, measured, target=options.target, attempts=attempts)
    write_atomically(folder / "verify.json", json.dumps(facts, indent=2) + "\n")
    write_atomically(folder / "verify.md", verdict.to_markdown(facts))
    return Ended(facts=facts, interrupted=False)


def _run(
    job: Job,
    study: optuna.Study,
    storage: RDBStorage,
    devices: list[str],
    view: View,
    on_update: Callable[[], None] = lambda: None,
) -> bool:
    """Runs what is left of a job; returns whether it was interrupted."""
    precision, epochs = job.precision, job.epochs
    interrupted = False
    while not interrupted and not job.expired():
        # In a loop: a worker of another command may die while this one's are at their last trials.
        released = release_dead_trials(study, storage)
        if released:
            view.say(f"Trials {released} were cut off; their parameters are tried again.")
        num_left = len(_tickets_left(study, job.tickets))
        if num_left == 0:
            break
        at_work = devices[:num_left]
        with view.watch(study, tickets=job.tickets, epochs=epochs, devices=at_work, precision=precision) as update_view:

            def update(update_view: Callable[[], None] = update_view) -> None:
                update_view()
                on_update()

            interrupted = run_workers(
                job, at_work, study, storage, on_update=update, on_interrupt=lambda: view.warn(INTERRUPT_MESSAGE)
            )
    return interrupted


def _tickets_left(study: optuna.Study, tickets: range) -> set[int]:
    """The tickets of a plan that no trial holds."""
    trials = study.get_trials(deepcopy=False, states=HELD)
    return set(tickets) - {trial.user_attrs.get("ticket", -1) for trial in trials}


def _check_study_name(name: str) -> None:
    """A study's name is that of its results folder, too."""
    if not name or Path(name).name != name or name.startswith("."):
        raise StudyError(f"Study name {name!r} cannot be used: it names a folder, so no slashes and no leading dot.")


def _settle_runtime(options: SharedOptions) -> tuple[list[str], str]:
    """One device per worker, and the precision."""
    device = choose_device(options.device)
    precision = choose_precision(device) if options.precision == "auto" else options.precision
    return _worker_devices(device, options.workers), precision


def _worker_devices(device: torch.device, workers: int | None) -> list[str]:
    """One device per worker: a CPU gives one worker per core, GPUs one each unless more are asked for."""
    if device.type == "cuda":
        num_gpus = torch.cuda.device_count()
        return [f"cuda:{index % num_gpus}" for index in range(workers or num_gpus)]
    if device.type == "cpu":
        return ["cpu"] * (workers or _num_cores())
    return [device.type] * (workers or 1)


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))  # what this process may use, not what the machine has
    return os.cpu_count() or 1
