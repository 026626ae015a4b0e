"""Orchestration: what a trial costs beside its training, by how much is recorded, workers and database.

python benchmarks/orchestration.py
python benchmarks/orchestration.py --json > results/reference/orchestration.json

The trials of these studies sleep where a search trains, so whatever else their workers do is the cost: taking turns,
drawing parameters with TPE, reporting every epoch, storing the result. PostgreSQL (Debian's `postgresql`, with `pip
install psycopg2-binary`) is started on a private port; without it only SQLite is measured. Measured besides: how long
a worker takes from its start to its first trial (imports, data, storage), and the start of the command line.
"""

import json
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from databases import copy_rows, find_postgresql, postgresql_databases, sqlite_databases  # noqa: E402 (the path comes first)
from sleep_study import STUDY_NAME, SleepJob, build_study, sleep_job  # noqa: E402

from search.config import MAX_EPOCHS, ExplainedError  # noqa: E402
from search.data import find_dataset  # noqa: E402
from search.provenance import code_commit, versions  # noqa: E402
from search.runner import num_cores  # noqa: E402
from search.storage import open_storage  # noqa: E402
from search.workers import run_workers  # noqa: E402

RECORDED = (100, 1_000, 10_000)
WORKERS = (1, 2, 4, 8)
STARTS = 7  # of the command line, of which the median counts


def measure(job: SleepJob, num_recorded: int, num_workers: int, num_trials: int) -> dict[str, float]:
    """Runs so many trials per worker, after those that are recorded; the seconds per trial that were not slept."""
    storage = open_storage(job.storage_url)
    study = optuna.load_study(storage=storage, study_name=STUDY_NAME)
    begun = len(study.get_trials(deepcopy=False))
    tickets = range(begun, begun + num_trials * num_workers)
    job = replace(job, tickets=tickets)
    ignore: Callable[[], None] = lambda: None  # noqa: E731
    if run_workers(job, ["cpu"] * num_workers, study, storage, on_update=ignore, on_interrupt=ignore):
        raise KeyboardInterrupt  # it was caught there, so that the running trials could end
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs["ticket"] in tickets]
    storage.engine.dispose()
    outside = seconds_outside(trials, job.epochs * job.epoch_seconds)
    return {
        "recorded": num_recorded,
        "workers": num_workers,
        "seconds_per_trial": statistics.median(outside),
        "slowest": max(outside),
        "seconds_to_first_trial": statistics.median(seconds_to_first_trial(trials)),
    }


def seconds_to_first_trial(trials: list[FrozenTrial]) -> list[float]:
    """For each worker: the time from the start of its process to the beginning of its first trial."""
    firsts = [own[0] for own in _by_worker(trials)]
    return [_start(first).timestamp() - first.user_attrs["owner"]["started"] for first in firsts]


def seconds_outside(trials: list[FrozenTrial], slept: float) -> list[float]:
    """For each trial but a worker's first: the time from the end of the worker's trial before, less the sleep.

    A worker's first trial is left out: before it lies the worker's start.
    """
    return [
        (_end(trial) - _end(before)).total_seconds() - slept
        for own in _by_worker(trials)
        for before, trial in pairwise(own)
    ]


def _by_worker(trials: list[FrozenTrial]) -> list[list[FrozenTrial]]:
    """Each worker's trials, in order."""
    by_worker = defaultdict(list)
    for trial in sorted(trials, key=lambda trial: trial.number):
        assert trial.state == TrialState.COMPLETE, trial
        by_worker[trial.user_attrs["owner"]["pid"]].append(trial)
    return list(by_worker.values())


def _start(trial: FrozenTrial) -> datetime:
    assert trial.datetime_start is not None
    return trial.datetime_start


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
    make_job: Callable[[str, Path], SleepJob],
    backends: Iterable[str],
    recorded: Iterable[int],
    workers: Iterable[int],
    num_trials: int,
) -> Iterator[dict[str, Any]]:
    """A row for every database, number of recorded trials and number of workers."""
    with TemporaryDirectory() as folder:
        built = {num_recorded: f"sqlite:///{folder}/built-{num_recorded}.db" for num_recorded in recorded}
        for num_recorded, url in built.items():
            build_study(url, num_recorded)
        for backend in backends:
            with TemporaryDirectory() as place, BACKENDS[backend](Path(place)) as new_database:
                for num_recorded in recorded:
                    url = new_database(num_recorded)
                    open_storage(url, create=True).engine.dispose()
                    copy_rows(built[num_recorded], url)
                    for num_workers in workers:
                        row = measure(make_job(url, Path(place)), num_recorded, num_workers, num_trials)
                        yield {"backend": backend, **row}


@click.command()
@click.option("--recorded", multiple=True, type=click.IntRange(min=1), default=RECORDED, show_default=True)
@click.option("--workers", multiple=True, type=click.IntRange(min=1), default=WORKERS, show_default=True)
@click.option("--backend", "backends", multiple=True, type=click.Choice(list(BACKENDS)), help="Default: what is there.")
@click.option("--trials", type=click.IntRange(min=2), default=6, show_default=True, help="Per worker.")
@click.option("--dataset", type=click.Choice(["auto", "mnist", "sample"]), default="auto", show_default=True)
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path("data"), envvar="MNIST_DIR")
@click.option("--epoch-seconds", type=click.FloatRange(min=0), default=0.1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def main(
    recorded: tuple[int, ...],
    workers: tuple[int, ...],
    backends: tuple[str, ...],
    trials: int,
    dataset: str,
    data_dir: Path,
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
    try:
        dataset = find_dataset(dataset, data_dir, progress.print)
    except ExplainedError as error:
        raise click.ClickException(str(error)) from error
    make_job = partial(sleep_job, dataset=dataset, data_dir=data_dir, epoch_seconds=epoch_seconds)
    rows: list[dict[str, Any]] = []
    interrupted = False
    try:
        for row in measure_all(make_job, backends, recorded, workers, trials):
            progress.print("{backend}, {recorded} recorded, {workers} workers: {seconds_per_trial:.3f} s".format(**row))
            rows.append(row)
    except KeyboardInterrupt:
        interrupted = True
        progress.print("Interrupted. What was measured until then:")
    facts = {
        "trials": rows,
        "interrupted": interrupted,
        "start": measure_start(),
        "seconds_to_first_trial": _worker_start(rows),
        "dataset": dataset,
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


def _worker_start(rows: list[dict[str, Any]]) -> float | None:
    """The median over the rows with no more workers than cores; None without any."""
    seconds = [row["seconds_to_first_trial"] for row in rows if row["workers"] <= num_cores()]
    return statistics.median(seconds) if seconds else None


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
    if facts["seconds_to_first_trial"] is not None:
        console.print(f"From a worker's start to its first trial: {facts['seconds_to_first_trial']:.1f} s.")
    start = facts["start"]
    console.print(
        f"python cli.py --help: {start['help']:.2f} s; a bare click program: {start['bare_click']:.2f} s "
        f"({start['help'] - start['bare_click']:+.2f} s)."
    )


if __name__ == "__main__":
    main()
