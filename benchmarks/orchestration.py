"""Orchestration: what a trial costs beside its training, by how much is recorded, workers and database.

python benchmarks/orchestration.py
python benchmarks/orchestration.py --json > results/reference/orchestration.json

The trials of these studies only sleep, so whatever else their workers do is the cost: taking turns, drawing
parameters with TPE, reporting every epoch, storing the result. PostgreSQL (Debian's `postgresql`, with `pip install
psycopg2-binary`) is started on a private port; without it only SQLite is measured. A second table has the start of
the command line.
"""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from databases import find_postgresql, postgresql_databases, sqlite_databases  # noqa: E402 (the path comes first)

from search.config import DEFAULT_MAX_PARAMS, MAX_EPOCHS  # noqa: E402
from search.provenance import code_commit, versions  # noqa: E402
from search.runner import num_cores  # noqa: E402
from search.storage import open_storage  # noqa: E402
from search.study import make_pruner  # noqa: E402
from search.workers import run_workers  # noqa: E402
from space import suggest_config  # noqa: E402

STUDY_NAME = "sleep"
RECORDED = (100, 1_000, 10_000)
WORKERS = (1, 2, 4, 8)
STARTS = 7  # of the command line, of which the median counts


@dataclass(frozen=True, kw_only=True)
class SleepJob:
    """Trials that do everything that a search's trials do, except to train.

    Attributes:
        epoch_seconds: How long each epoch sleeps.
    """

    storage_url: str
    study_name: str
    tickets: range
    epoch_seconds: float
    sampler: str = "tpe"
    seed: int = 0
    epochs: int = MAX_EPOCHS
    precision: str = "fp32"

    def fixed_params(self) -> dict[int, dict[str, Any]]:
        return {}

    def expired(self) -> bool:
        return False

    def prepare(self, device: str) -> None:
        """Nothing is shared."""

    def run(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        storage: RDBStorage,
        resources: None,
        should_stop: Callable[[], bool],
    ) -> None:
        study.pruner = make_pruner("percentile")
        suggest_config(trial, DEFAULT_MAX_PARAMS)
        slept = 0.0
        for epoch in range(1, self.epochs + 1):
            start = time.monotonic()
            time.sleep(self.epoch_seconds)
            slept += time.monotonic() - start
            trial.report(99.0 + epoch / 100, step=epoch)
            for key in ("epochs", "seconds", "train_loss", "val_loss"):
                trial.set_user_attr(key, epoch)
            trial.should_prune()  # asked as a search asks; the sleep goes on, so that all trials are as long
        trial.set_user_attr("slept", slept)
        study.tell(trial, 99.0)


def build_study(url: str, num_trials: int) -> None:
    """A study with so many complete trials, made without running them."""
    storage = open_storage(url, create=True)
    study = optuna.create_study(storage=storage, study_name=STUDY_NAME, direction="maximize")
    generator = random.Random(0)
    template = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(num_trials):
        drawn = template.ask()
        suggest_config(drawn, DEFAULT_MAX_PARAMS)
        value = 99.0 + generator.random() / 2
        study.add_trial(
            optuna.trial.create_trial(
                params=drawn.params,
                distributions=drawn.distributions,
                value=value,
                intermediate_values={epoch: value - 0.5 / epoch for epoch in range(1, MAX_EPOCHS + 1)},
                user_attrs={"ticket": drawn.number},
            )
        )
    storage.engine.dispose()


def measure(url: str, num_recorded: int, num_workers: int, num_trials: int, epoch_seconds: float) -> dict[str, float]:
    """Runs so many trials per worker, after those that are recorded; the seconds per trial that were not slept."""
    storage = open_storage(url)
    study = optuna.load_study(storage=storage, study_name=STUDY_NAME)
    begun = len(study.get_trials(deepcopy=False))
    tickets = range(begun, begun + num_trials * num_workers)
    job = SleepJob(storage_url=url, study_name=STUDY_NAME, tickets=tickets, epoch_seconds=epoch_seconds)
    ignore: Callable[[], None] = lambda: None  # noqa: E731
    if run_workers(job, ["cpu"] * num_workers, study, storage, on_update=ignore, on_interrupt=ignore):
        raise KeyboardInterrupt  # it was caught there, so that the running trials could end
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs["ticket"] in tickets]
    storage.engine.dispose()
    outside = seconds_outside(trials)
    return {
        "recorded": num_recorded,
        "workers": num_workers,
        "seconds_per_trial": statistics.median(outside),
        "slowest": max(outside),
    }


def seconds_outside(trials: list[FrozenTrial]) -> list[float]:
    """For each trial but a worker's first: the time from the end of the worker's trial before, less what it slept.

    A worker's first trial is left out: before it lies the worker's start.
    """
    by_worker = defaultdict(list)
    for trial in trials:
        assert trial.state == TrialState.COMPLETE, trial
        by_worker[trial.user_attrs["owner"]["pid"]].append(trial)
    outside = []
    for own in by_worker.values():
        own.sort(key=lambda trial: trial.number)
        for before, trial in pairwise(own):
            outside.append((_end(trial) - _end(before)).total_seconds() - trial.user_attrs["slept"])
    return outside


def _end(trial: FrozenTrial) -> datetime:
    assert trial.datetime_complete is not None
    return trial.datetime_complete


BACKENDS = {"sqlite": sqlite_databases, "postgresql": postgresql_databases}


def measure_start() -> dict[str, float]:
    """Seconds until `python cli.py --help` has ended, and a click program that does nothing."""
    bare = "import click; click.command()(lambda: None)(['--help'])"
    commands = {"help": [str(ROOT / "cli.py"), "--help"], "bare_click": ["-c", bare]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(STARTS):
        for name, words in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure_all(
    backends: Iterable[str], recorded: Iterable[int], workers: Iterable[int], num_trials: int, epoch_seconds: float
) -> Iterator[dict[str, Any]]:
    """A row for every database, number of recorded trials and number of workers."""
    for backend in backends:
        with TemporaryDirectory() as folder, BACKENDS[backend](Path(folder)) as new_database:
            for num_recorded in recorded:
                url = new_database(num_recorded)
                build_study(url, num_recorded)
                for num_workers in workers:
                    yield {"backend": backend, **measure(url, num_recorded, num_workers, num_trials, epoch_seconds)}


@click.command()
@click.option("--recorded", multiple=True, type=click.IntRange(min=1), default=RECORDED, show_default=True)
@click.option("--workers", multiple=True, type=click.IntRange(min=1), default=WORKERS, show_default=True)
@click.option("--backend", "backends", multiple=True, type=click.Choice(list(BACKENDS)), help="Default: what is there.")
@click.option("--trials", type=click.IntRange(min=2), default=6, show_default=True, help="Per worker.")
@click.option("--epoch-seconds", type=click.FloatRange(min=0), default=0.1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def main(
    recorded: tuple[int, ...],
    workers: tuple[int, ...],
    backends: tuple[str, ...],
    trials: int,
    epoch_seconds: float,
    as_json: bool,
) -> None:
    """Measures what a trial costs beside its training; takes half an hour with PostgreSQL."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: `timeout` must leave no server behind
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    progress = Console(stderr=True)
    if not backends:
        backends = tuple(BACKENDS)
        if find_postgresql() is None or find_spec("psycopg2") is None:
            progress.print("Without PostgreSQL (the server, or psycopg2, is not installed).")
            backends = ("sqlite",)
    rows: list[dict[str, Any]] = []
    interrupted = False
    try:
        for row in measure_all(backends, recorded, workers, trials, epoch_seconds):
            progress.print("{backend}, {recorded} recorded, {workers} workers: {seconds_per_trial:.3f} s".format(**row))
            rows.append(row)
    except KeyboardInterrupt:
        interrupted = True
        progress.print("Interrupted. What was measured until then:")
    facts = {
        "trials": rows,
        "interrupted": interrupted,
        "start": measure_start(),
        "epochs": MAX_EPOCHS,
        "epoch_seconds": epoch_seconds,
        "num_cores": num_cores(),
        "commit": code_commit(),
        "versions": versions(),
    }
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        _print(facts)
    if interrupted:
        sys.exit(130)


def _print(facts: dict[str, Any]) -> None:
    result = Table(title="Seconds per trial outside training (median, slowest)")
    for heading in ("Database", "Recorded trials", "Workers", "Median", "Slowest"):
        result.add_column(heading, justify="left" if heading == "Database" else "right")
    for row in facts["trials"]:
        result.add_row(
            row["backend"],
            f"{row['recorded']:,}",
            str(row["workers"]),
            f"{row['seconds_per_trial']:.3f}",
            f"{row['slowest']:.3f}",
        )
    console = Console()
    console.print(result)
    start = facts["start"]
    console.print(
        f"python cli.py --help: {start['help']:.2f} s; a bare click program: {start['bare_click']:.2f} s "
        f"({start['help'] - start['bare_click']:+.2f} s)."
    )


if __name__ == "__main__":
    main()
