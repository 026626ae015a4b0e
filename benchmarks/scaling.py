"""Scaling: how many workers one PostgreSQL server bears, what a trial costs it, and how many connections they hold.

python -m benchmarks.scaling
python -m benchmarks.scaling --plot results/reference/scaling.png --json > results/reference/scaling.json

The trials sleep where a search trains, and report each epoch as a search does; their workers load no PyTorch, so that
64 of them fit here. All of them share this machine with the server and take its cores from it, so what is measured is
less than what workers on other hosts would reach. A trial of minutes instead of seconds leaves room for more workers
in the same proportion. Measured besides: a claim, by how many trials are recorded.
"""

import signal
import statistics
import sys
import time
from collections.abc import Generator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import optuna
from optuna.trial import FrozenTrial
from rich.console import Group
from rich.table import Table

from benchmarks.claims import RECORDED_FOR_CLAIMS, claim_rows
from benchmarks.command import Benchmark, finish, tell
from benchmarks.databases import PostgresqlServer, available_backends, copy_rows, postgresql_server
from benchmarks.light_study import STUDY_NAME, build_study
from benchmarks.processes import light_search, started
from benchmarks.records import ClaimRow, Scaling, ScalingRow
from benchmarks.trial_times import seconds_outside
from benchmarks.watch import SAMPLE_SECONDS, watching
from search.commands.group import EXIT_INTERRUPTED
from search.commands.options import json_option
from search.config import DEFAULT_MAX_PARAMS, MAX_EPOCHS, ExplainedError
from search.net.device import num_cores
from search.provenance import code_commit, versions
from search.studies.storage import open_storage
from search.studies.study import StoredStudy

WORKERS = (1, 2, 4, 8, 16, 32, 64)
RECORDED = 100  # before the workers start
MAX_CONNECTIONS = 500  # of the server: more than all workers hold
TRIALS_PER_WORKER = 3  # at least, on average
START_SECONDS = 900.0  # that all workers may take to start
END_SECONDS = 300.0  # that they may take to end after Ctrl-C
# Trials planned per worker: the first workers search while the last ones start.
SPARE_TRIALS = 100
PARTS = ("workers", "claims")

ENDED = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
OWNERS = "SELECT count(DISTINCT value_json) FROM trial_user_attributes WHERE key = 'owner'"


def measure(
    server: PostgresqlServer, url: str, folder: Path, num_workers: int, epoch_seconds: float, seconds: float
) -> ScalingRow:
    """Lets so many workers search, and measures from the moment at which all of them are at work.

    Raises:
        ExplainedError: If they fail, or take too long to start.
    """
    words = light_search(
        url, trials=RECORDED + SPARE_TRIALS * num_workers, workers=num_workers, epoch_seconds=epoch_seconds
    )
    with started(words, folder / f"{num_workers}.log") as search, watching(server, url, search) as watch:
        end = time.monotonic() + START_SECONDS
        while watch.count(OWNERS) < num_workers:
            if time.monotonic() > end:
                raise ExplainedError(f"{num_workers} workers have not started within {START_SECONDS:.0f} seconds.")
            watch.sleep(SAMPLE_SECONDS)
        begin, cpu_before, ended_before = datetime.now(), watch.cpu_seconds(), watch.count(ENDED)
        watch.sleep(seconds)
        while watch.count(ENDED) < ended_before + TRIALS_PER_WORKER * num_workers:
            watch.sleep(SAMPLE_SECONDS)
        stop, cpu_after = datetime.now(), watch.cpu_seconds()
        search.interrupt(END_SECONDS)
    trials = _ended_between(_finished(url), begin, stop)
    outside = seconds_outside(trials, MAX_EPOCHS * epoch_seconds)
    workers_cpu, server_cpu = (
        (after - before) / len(trials) for before, after in zip(cpu_before, cpu_after, strict=True)
    )
    lasted = (stop - begin).total_seconds()
    return ScalingRow(
        workers=num_workers,
        seconds=round(lasted, 1),
        trials=len(trials),
        trials_per_second=round(len(trials) / lasted, 3),
        seconds_per_trial=round(statistics.median(outside), 3),
        slowest=round(max(outside), 3),
        worker_cpu_seconds=round(workers_cpu, 4),
        server_cpu_seconds=round(server_cpu, 4),
        connections=watch.peaks.total,
        connections_per_worker=watch.peaks.worker,
        connections_of_command=watch.peaks.command,
    )


def _finished(url: str) -> list[FrozenTrial]:
    storage = open_storage(url)
    trials = StoredStudy.load(storage, STUDY_NAME).complete_trials()
    storage.engine.dispose()
    return trials


def _ended_between(trials: list[FrozenTrial], begin: datetime, end: datetime) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.datetime_complete and begin <= trial.datetime_complete <= end]


def scaling_rows(workers: tuple[int, ...], epoch_seconds: float, seconds: float) -> Generator[ScalingRow, None, None]:
    """A row for each number of workers, each in a database of its own."""
    with TemporaryDirectory() as place, TemporaryDirectory() as folder:
        built = f"sqlite:///{folder}/built.db"
        build_study(built, RECORDED, DEFAULT_MAX_PARAMS)
        with postgresql_server(Path(place), {"max_connections": str(MAX_CONNECTIONS)}) as server:
            for num_workers in workers:
                url = server.create_database(f"workers{num_workers}")
                open_storage(url, create=True).engine.dispose()
                copy_rows(built, url)
                yield measure(server, url, Path(folder), num_workers, epoch_seconds, seconds)


@click.command(cls=Benchmark)
@click.option("--workers", multiple=True, type=click.IntRange(min=1), default=WORKERS, show_default=True)
@click.option("--epoch-seconds", type=click.FloatRange(min=0.001), default=0.2, show_default=True)
@click.option("--seconds", type=click.FloatRange(min=1), default=60, show_default=True, help="For each number.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS, show_default=True)
@click.option("--plot", "plot_path", type=click.Path(path_type=Path), help="Gets a plot, as a PNG file.")
@json_option
def main(
    workers: tuple[int, ...],
    epoch_seconds: float,
    seconds: float,
    parts: tuple[str, ...],
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """Measures how many workers one PostgreSQL server bears; takes a quarter of an hour on two cores."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: `timeout` must leave no server behind
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if "postgresql" not in available_backends(tell):
        raise ExplainedError("PostgreSQL is what this measures. On Debian: apt install postgresql")
    rows: list[ScalingRow] = []
    claimed: list[ClaimRow] = []
    interrupted = False
    try:
        with closing(scaling_rows(workers if "workers" in parts else (), epoch_seconds, seconds)) as all_rows:
            for row in all_rows:
                tell(f"{row.workers} workers: {row.trials_per_second:.2f} trials/s, {row.connections} connections")
                rows.append(row)
        with closing(claim_rows(RECORDED_FOR_CLAIMS if "claims" in parts else ())) as all_claims:
            for claim in all_claims:
                tell(f"{claim.backend}, {claim.recorded:,} recorded: a claim takes {claim.seconds:.3f} s")
                claimed.append(claim)
    except KeyboardInterrupt:
        interrupted = True
        tell("Interrupted. What was measured until then:")
    measured = Scaling(
        rows=tuple(rows),
        claims=tuple(claimed),
        interrupted=interrupted,
        recorded=RECORDED,
        epochs=MAX_EPOCHS,
        epoch_seconds=epoch_seconds,
        num_cores=num_cores(),
        commit=code_commit(),
        versions=versions(),
    )
    finish(measured, report, as_json=as_json)
    if interrupted:
        sys.exit(EXIT_INTERRUPTED)
    if plot_path is not None:
        plot(measured, plot_path)


def report(measured: Scaling) -> Group:
    slept = measured.epochs * measured.epoch_seconds
    table = Table(title=f"Trials that sleep for {slept:.1f} s, server and workers on {measured.num_cores} cores")
    for heading in ("Workers", "Trials/s", "Ideal", "Lost", "Slowest", "CPU", "Server's", "Connections"):
        table.add_column(heading, justify="right")
    for row in measured.rows:
        ideal = row.workers / slept
        table.add_row(
            str(row.workers),
            f"{row.trials_per_second:.2f}",
            f"{row.trials_per_second / ideal:.0%}",
            f"{row.seconds_per_trial:.2f}",
            f"{row.slowest:.2f}",
            f"{row.worker_cpu_seconds:.2f}",
            f"{row.server_cpu_seconds:.3f}",
            f"{row.connections} ({row.connections_per_worker} + {row.connections_of_command})",
        )
    table.caption = (
        "Lost: seconds of a trial that were not slept, the median. CPU: seconds per trial, of the workers with their "
        "command, and of the server. Connections: the most at once (of a worker + of the command)."
    )
    claims = Table(title="Seconds per claim")
    for heading in ("Database", "Recorded trials", "First", "Then", "Others waited"):
        claims.add_column(heading, justify="left" if heading == "Database" else "right")
    for claim in measured.claims:
        seconds = claim.first_seconds, claim.seconds, claim.others_waited
        claims.add_row(claim.backend, f"{claim.recorded:,}", *(f"{each:.3f}" for each in seconds))
    return Group(table, claims)


def plot(measured: Scaling, path: Path) -> None:
    """Trials per second, and seconds lost per trial, by the number of workers."""
    from matplotlib.figure import Figure

    slept = measured.epochs * measured.epoch_seconds
    workers = [row.workers for row in measured.rows]
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    rates, lost = figure.subplots(1, 2)
    rates.plot(workers, [count / slept for count in workers], "--", color="grey", label="nothing lost")
    rates.plot(workers, [row.trials_per_second for row in measured.rows], "o-", label="measured")
    rates.set_ylabel("trials per second")
    rates.legend()
    lost.plot(workers, [row.seconds_per_trial for row in measured.rows], "o-")
    lost.set_ylabel("seconds lost per trial (median)")
    for axes in (rates, lost):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(workers, [str(count) for count in workers])
        axes.set_xlabel("workers")
        axes.grid(alpha=0.3)
    machine = f"{measured.num_cores} cores, which the workers share"
    figure.suptitle(f"One PostgreSQL server, trials that sleep for {slept:.1f} s; {machine}")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
