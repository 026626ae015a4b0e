"""Crowds: nothing is lost and nothing done twice, however many work, read, vanish or come back.

python -m benchmarks.crowds
python -m benchmarks.crowds --json > results/reference/crowds.json

1. Crowds: 2,000 short trials by 8 workers on SQLite and on PostgreSQL, while the dashboard and `status` read.
2. A lost host: two hosts, with names and process numbers of their own (`unshare`), search together on PostgreSQL, until
   one is killed with all its processes. The other takes over what it held, once it has been silent for long enough:
   here that is 20 seconds instead of the tool's four minutes.
3. A restart: the server crashes (`pg_ctl stop -m immediate`) in the middle of a search, and comes back.

The trials sleep where a search trains; everything else is as in a search. A command that ends before the work is done
is started again, as a person would, and counted.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import optuna
from rich.console import Group
from rich.table import Table

from benchmarks.command import Benchmark, finish, tell
from benchmarks.counted import EVENT_AFTER, Database, search_to_end
from benchmarks.databases import PostgresqlServer, available_backends, postgresql_server
from benchmarks.hosts import lose_host, why_no_hosts
from benchmarks.processes import ROOT, light_search
from benchmarks.readers import dashboard, reading
from benchmarks.records import Crowd, Crowds, LostHost, Restart, Tally
from search.commands.group import EXIT_INTERRUPTED
from search.commands.options import json_option
from search.config import ExplainedError
from search.net.device import num_cores
from search.provenance import code_commit, versions
from search.studies.storage import open_storage

CROWD_EPOCHS, CROWD_EPOCH_SECONDS = 3, 0.05
RESTART_WORKERS, RESTART_TRIALS, RESTART_EPOCHS, RESTART_EPOCH_SECONDS = 4, 60, 15, 0.1
RESTARTS = (("fast", 5.0), ("immediate", 5.0), ("immediate", 90.0))
PARTS = ("crowds", "hosts", "restarts")


def crowd(backend: str, url: str, folder: Path, num_trials: int, num_workers: int) -> Crowd:
    """Many short trials, while others read."""
    database = Database(url=url, planned=num_trials)
    open_storage(url, create=True).engine.dispose()  # the dashboard would make tables by itself
    words = light_search(
        url, trials=num_trials, workers=num_workers, epochs=CROWD_EPOCHS, epoch_seconds=CROWD_EPOCH_SECONDS
    )
    with dashboard(url, folder / f"{backend}-dashboard.log") as ask, reading(ask) as asked:
        status = [sys.executable, "cli.py", "status", "--storage", url, "--json"]
        with reading(partial(subprocess.run, status, check=True, cwd=ROOT, capture_output=True)) as read:
            begin = time.monotonic()
            starts = search_to_end(words, folder / f"{backend}.log", database, lambda: None)
            seconds = time.monotonic() - begin
    return Crowd(
        backend=backend,
        workers=num_workers,
        epochs=CROWD_EPOCHS,
        epoch_seconds=CROWD_EPOCH_SECONDS,
        seconds=round(seconds, 1),
        starts=starts,
        tally=database.tally(),
        dashboard_requests=asked.times,
        dashboard_failures=asked.failures,
        status_reads=read.times,
        status_failures=read.failures,
    )


def restart(server: PostgresqlServer, url: str, folder: Path, mode: str, seconds_away: float) -> Restart:
    """Stops the server in the middle of a search, and starts it again."""
    database = Database(url=url, planned=RESTART_TRIALS)
    open_storage(url, create=True).engine.dispose()
    words = light_search(
        url,
        trials=RESTART_TRIALS,
        workers=RESTART_WORKERS,
        epochs=RESTART_EPOCHS,
        epoch_seconds=RESTART_EPOCH_SECONDS,
    )
    is_over = False

    def restart_in_the_middle() -> None:
        nonlocal is_over
        if not is_over and database.tally().finished >= EVENT_AFTER * RESTART_TRIALS:
            server.stop(mode)
            time.sleep(seconds_away)
            server.start()
            is_over = True

    begin = time.monotonic()
    starts = search_to_end(words, folder / f"{mode}-{seconds_away:.0f}.log", database, restart_in_the_middle)
    assert is_over
    return Restart(
        mode=mode,
        seconds_away=seconds_away,
        workers=RESTART_WORKERS,
        epochs=RESTART_EPOCHS,
        epoch_seconds=RESTART_EPOCH_SECONDS,
        seconds=round(time.monotonic() - begin, 1),
        starts=starts,
        tally=database.tally(),
    )


def measure_all(
    parts: Sequence[str], num_trials: int, num_workers: int, left_out: list[str]
) -> Generator[Crowd | LostHost | Restart, None, None]:
    """What was found, one after the other.

    Args:
        left_out: Gets what cannot be measured here, and why.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        if "crowds" in parts:
            yield crowd("sqlite", f"sqlite:///{folder}/crowd.db", folder, num_trials, num_workers)
        if "postgresql" not in available_backends(tell):
            left_out.append("PostgreSQL: its server, or psycopg, is not installed")
            return
        server = stack.enter_context(postgresql_server(Path(stack.enter_context(TemporaryDirectory()))))
        if "crowds" in parts:
            yield crowd("postgresql", server.create_database("crowd"), folder, num_trials, num_workers)
        if "hosts" in parts:
            reason = why_no_hosts()
            if reason is None:
                yield lose_host(server.create_database("hosts"), folder)
            else:
                left_out.append(reason)
        if "restarts" in parts:
            for number, (mode, seconds_away) in enumerate(RESTARTS):
                yield restart(server, server.create_database(f"restart{number}"), folder, mode, seconds_away)


@click.command(cls=Benchmark)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS, show_default=True)
@click.option("--trials", type=click.IntRange(min=1), default=2_000, show_default=True, help="Of each crowd.")
@click.option("--workers", type=click.IntRange(min=1), default=8, show_default=True, help="Of each crowd.")
@json_option
def main(parts: tuple[str, ...], trials: int, workers: int, as_json: bool) -> None:
    """Counts what is left after crowds, lost hosts and restarts; takes three quarters of an hour on two cores."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: `timeout` must leave no server behind
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: list[Crowd | LostHost | Restart] = []
    left_out: list[str] = []
    interrupted = False
    try:
        with closing(measure_all(parts, trials, workers, left_out)) as all_found:
            for each in all_found:
                tell(str(each))
                found.append(each)
    except KeyboardInterrupt:
        interrupted = True
        tell("Interrupted. What was found until then:")
    measured = Crowds(
        crowds=tuple(each for each in found if isinstance(each, Crowd)),
        lost_hosts=tuple(each for each in found if isinstance(each, LostHost)),
        restarts=tuple(each for each in found if isinstance(each, Restart)),
        left_out=tuple(left_out),
        interrupted=interrupted,
        num_cores=num_cores(),
        commit=code_commit(),
        versions=versions(),
    )
    finish(measured, report, as_json=as_json)
    if interrupted:
        sys.exit(EXIT_INTERRUPTED)
    if not all(is_exact(each.tally) for each in found):
        raise ExplainedError("A trial was lost, or done twice, or is said to run.")


def is_exact(tally: Tally) -> bool:
    """Whether every planned trial has finished, exactly once, and none is said to run."""
    return tally.finished == tally.planned and not (tally.missing or tally.twice or tally.running)


def report(measured: Crowds) -> Group:
    table = Table(title=f"What is left in the end, {measured.num_cores} cores")
    for heading in ("", "Finished", "Missing", "Twice", "Running", "Starts", "Seconds"):
        table.add_column(heading, justify="right" if heading else "left")
    lines = []
    for crowd in measured.crowds:
        _add(table, f"crowd, {crowd.backend}", crowd)
        lines.append(
            f"{crowd.backend}: {crowd.dashboard_requests} looks at the dashboard, of which {crowd.dashboard_failures} "
            f"failed, and {crowd.status_reads} at status, of which {crowd.status_failures} failed."
        )
    for lost in measured.lost_hosts:
        _add(table, "lost host", lost)
        lines.append(
            f"The killed host held {lost.held} trials; {lost.taken_over} were taken over, the last after "
            f"{lost.seconds_until_taken_over} s ({lost.silence:.0f} s of silence count as death here)."
        )
    for back in measured.restarts:
        _add(table, f"{back.mode}, {back.seconds_away:.0f} s", back)
    return Group(table, *lines, *(f"Left out: {reason}." for reason in measured.left_out))


def _add(table: Table, what: str, row: Crowd | LostHost | Restart) -> None:
    tally = row.tally
    counts = (tally.missing, tally.twice, tally.running, row.starts)
    table.add_row(what, f"{tally.finished:,} of {tally.planned:,}", *map(str, counts), f"{row.seconds:.0f}")


if __name__ == "__main__":
    main()
