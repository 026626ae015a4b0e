"""Orchestration: what a trial costs beside its training, by how much is recorded, workers and database.

python -m benchmarks.orchestration
python -m benchmarks.orchestration --json > results/reference/orchestration.json

The trials of these studies sleep where a search trains, so whatever else their workers do is the cost: taking turns,
drawing parameters with the default sampler, reporting every epoch, storing the result. PostgreSQL (Debian's
`postgresql`, and this tool's extra `postgres`) is started on a private port; without it only SQLite is measured.
Measured besides: how long a worker takes from its start to its first trial (imports, data, storage), and the start of
the command line.
"""

import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import optuna
from rich.console import Group
from rich.table import Table

from benchmarks.command import Benchmark, data_options, finish, tell
from benchmarks.databases import BACKENDS, available_backends, copy_rows
from benchmarks.light_study import STUDY_NAME, build_study
from benchmarks.records import Orchestration, OrchestrationRow, StartSeconds
from benchmarks.sleep_study import SleepTask
from benchmarks.trial_times import seconds_outside, seconds_to_first_trial
from search.commands.group import EXIT_INTERRUPTED
from search.commands.options import json_option
from search.config import DEFAULT_MAX_PARAMS, MAX_EPOCHS
from search.net.datasets import find_dataset
from search.net.device import num_cores
from search.provenance import code_commit, versions
from search.runs.session import Session
from search.runs.validating import Validation
from search.settings import SearchSettings
from search.show.live import LiveScreen
from search.studies.plan import DrawnPlan
from search.studies.space import load_space
from search.studies.storage import open_storage
from search.studies.study import StoredStudy

ROOT = Path(__file__).resolve().parent.parent
RECORDED = (100, 1_000, 10_000)
WORKERS = (1, 2, 4, 8)
STARTS = 7  # of the command line, of which the median counts


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a measurement is made under: the database, its recorded trials, workers, and trials for each of them."""

    backend: str
    url: str
    num_recorded: int
    num_workers: int
    num_trials: int


def measure(load: Load, validation: Validation, epoch_seconds: float) -> OrchestrationRow:
    """Runs so many trials per worker, after those that are recorded; tells the seconds per trial that were not slept.

    Raises:
        KeyboardInterrupt: After Ctrl-C, once the running epochs have ended.
    """
    with TemporaryDirectory() as folder:
        settings = SearchSettings(
            storage=load.url, results_dir=Path(folder), device="cpu", workers=load.num_workers, precision="fp32"
        )
        session = Session.open(settings, load_space(), LiveScreen(quiet=True), create=False)
        stored = StoredStudy.load(session.storage, STUDY_NAME)
        begun = len(stored.trials())
        num_trials = begun + load.num_trials * load.num_workers
        plan = DrawnPlan(num_trials=num_trials, sampler_name=settings.sampler, seed=settings.seed)
        task = SleepTask(validation=validation, folder=settings.results_dir, epoch_seconds=epoch_seconds)
        job = session.job(stored, plan, task, epochs=validation.epochs, pruner=settings.pruner)
        if session.run(stored, job):
            raise KeyboardInterrupt
        trials = stored.trials()[begun:]
        session.storage.engine.dispose()
    outside = seconds_outside(trials, validation.epochs * epoch_seconds)
    return OrchestrationRow(
        backend=load.backend,
        recorded=load.num_recorded,
        workers=load.num_workers,
        seconds_per_trial=statistics.median(outside),
        slowest=max(outside),
        seconds_to_first_trial=statistics.median(seconds_to_first_trial(trials)),
    )


def measure_start() -> StartSeconds:
    """Seconds until `python cli.py --help` has ended, and a click program that does nothing; the median of starts."""
    bare = "import click; click.command()(lambda: None)(['--help'])"
    commands = {"help": [str(ROOT / "cli.py"), "--help"], "bare_click": ["-c", bare]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(STARTS):
        for name, words in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
            seconds[name].append(time.perf_counter() - start)
    return StartSeconds(**{name: statistics.median(values) for name, values in seconds.items()})


def loads(
    backends: Iterable[str], recorded: Sequence[int], workers: Sequence[int], num_trials: int
) -> Generator[Load, None, None]:
    """Every database, number of recorded trials and number of workers; a database is there until the next load."""
    with TemporaryDirectory() as folder:
        built = {num_recorded: f"sqlite:///{folder}/built-{num_recorded}.db" for num_recorded in recorded}
        for num_recorded, url in built.items():
            build_study(url, num_recorded, DEFAULT_MAX_PARAMS)
        for backend in backends:
            with TemporaryDirectory() as place, BACKENDS[backend](Path(place)) as new_database:
                for num_recorded in recorded:
                    url = new_database(num_recorded)
                    open_storage(url, create=True).engine.dispose()
                    copy_rows(built[num_recorded], url)
                    for num_workers in workers:
                        yield Load(
                            backend=backend,
                            url=url,
                            num_recorded=num_recorded,
                            num_workers=num_workers,
                            num_trials=num_trials,
                        )


@click.command(cls=Benchmark)
@click.option("--recorded", multiple=True, type=click.IntRange(min=1), default=RECORDED, show_default=True)
@click.option("--workers", multiple=True, type=click.IntRange(min=1), default=WORKERS, show_default=True)
@click.option("--backend", "backends", multiple=True, type=click.Choice(list(BACKENDS)), help="Default: what is there.")
@click.option("--trials", type=click.IntRange(min=2), default=6, show_default=True, help="Per worker.")
@data_options
@click.option("--epoch-seconds", type=click.FloatRange(min=0), default=0.1, show_default=True)
@json_option
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
    digits = find_dataset(dataset, data_dir, tell)
    validation = Validation(
        dataset=digits.name, data_dir=data_dir, precision="fp32", max_params=DEFAULT_MAX_PARAMS, epochs=MAX_EPOCHS
    )
    rows: list[OrchestrationRow] = []
    interrupted = False
    try:
        with closing(loads(backends or available_backends(tell), recorded, workers, trials)) as all_loads:
            for load in all_loads:
                row = measure(load, validation, epoch_seconds)
                tell(f"{row.backend}, {row.recorded:,} recorded, {row.workers} workers: {row.seconds_per_trial:.3f} s")
                rows.append(row)
    except KeyboardInterrupt:
        interrupted = True
        tell("Interrupted. What was measured until then:")
    measured = Orchestration(
        trials=tuple(rows),
        interrupted=interrupted,
        start=measure_start(),
        seconds_to_first_trial=_worker_start(rows),
        dataset=digits.name,
        epochs=MAX_EPOCHS,
        epoch_seconds=epoch_seconds,
        num_cores=num_cores(),
        commit=code_commit(),
        versions=versions(),
    )
    finish(measured, report, as_json=as_json)
    if interrupted:
        sys.exit(EXIT_INTERRUPTED)


def _worker_start(rows: list[OrchestrationRow]) -> float | None:
    """The median over the rows with no more workers than cores; None without any."""
    seconds = [row.seconds_to_first_trial for row in rows if row.workers <= num_cores()]
    return statistics.median(seconds) if seconds else None


def report(measured: Orchestration) -> Group:
    table = Table(title="Seconds per trial outside training (median, slowest)")
    for heading in ("Database", "Recorded trials", "Workers", "Median", "Slowest"):
        table.add_column(heading, justify="left" if heading == "Database" else "right")
    for row in measured.trials:
        seconds = f"{row.seconds_per_trial:.3f}", f"{row.slowest:.3f}"
        table.add_row(row.backend, f"{row.recorded:,}", str(row.workers), *seconds)
    lines = []
    if measured.seconds_to_first_trial is not None:
        lines.append(f"From a worker's start to its first trial: {measured.seconds_to_first_trial:.1f} s.")
    start = measured.start
    lines.append(
        f"python cli.py --help: {start.help:.2f} s; a bare click program: {start.bare_click:.2f} s "
        f"({start.help - start.bare_click:+.2f} s)."
    )
    return Group(table, *lines)


if __name__ == "__main__":
    main()
