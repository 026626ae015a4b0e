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

import itertools
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState
from rich.console import Group
from rich.table import Table

from benchmarks.command import Benchmark, finish, tell
from benchmarks.databases import PostgresqlServer, available_backends, postgresql_server
from benchmarks.light_study import STUDY_NAME
from benchmarks.processes import ROOT, light_search, started
from benchmarks.records import Crowd, Crowds, LostHost, Restart, Tally
from search.commands.group import EXIT_INTERRUPTED
from search.commands.options import json_option
from search.config import MAX_EPOCHS, ExplainedError
from search.net.device import num_cores
from search.provenance import code_commit, versions
from search.studies.facts import TrialFacts
from search.studies.storage import open_storage
from search.studies.study import FINISHED, StoredStudy

LIMIT_SECONDS = 3_600.0  # for each part
POLL_SECONDS = 0.5
PAUSE_SECONDS = 2.0  # before a person starts a command again
READ_SECONDS = 5.0  # between two looks at the dashboard, and between two at `status`
EVENT_AFTER = 1 / 3  # of the trials: then the host is killed, or the server stopped

CROWD_EPOCHS, CROWD_EPOCH_SECONDS = 3, 0.05
HOST_WORKERS, HOST_TRIALS, HOST_EPOCH_SECONDS, SILENCE = 2, 60, 0.2, 20.0
RESTART_WORKERS, RESTART_TRIALS, RESTART_EPOCHS, RESTART_EPOCH_SECONDS = 4, 60, 15, 0.1
RESTARTS = (("fast", 5.0), ("immediate", 5.0), ("immediate", 90.0))
PARTS = ("crowds", "hosts", "restarts")

NAMESPACES = ("unshare", "--uts", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database with a study of so many planned trials."""

    url: str
    planned: int

    def trials(self) -> list[FrozenTrial]:
        """All trials, by a connection of its own; none where there is no study yet."""
        storage = open_storage(self.url)
        try:
            if STUDY_NAME not in optuna.get_all_study_names(storage):
                return []
            return StoredStudy.load(storage, STUDY_NAME).trials()
        finally:
            storage.engine.dispose()

    def is_done(self) -> bool:
        return self.tally().missing == 0

    def tally(self) -> Tally:
        trials = self.trials()
        finished = [trial for trial in trials if trial.state in FINISHED]
        tickets = Counter(TrialFacts.of(trial).ticket for trial in finished)
        states = Counter(trial.state for trial in trials)
        return Tally(
            planned=self.planned,
            finished=len(finished),
            missing=len({*range(self.planned)} - tickets.keys()),
            twice=sum(count > 1 for count in tickets.values()),
            running=states[TrialState.RUNNING],
            interrupted=states[TrialState.FAIL],
        )


def search_to_end(words: Sequence[str], log: Path, database: Database, look: Callable[[], None]) -> int:
    """Starts a command, and again where it ends before the work is done; returns how often.

    Args:
        look: Called about twice a second.

    Raises:
        ExplainedError: If it takes too long.
    """
    end = time.monotonic() + LIMIT_SECONDS
    for starts in itertools.count(1):
        with started(words, log) as command:
            while not command.has_ended:
                time.sleep(POLL_SECONDS)
                look()
                if time.monotonic() > end:
                    raise ExplainedError(f"Not done within {LIMIT_SECONDS:.0f} seconds. {command.failure()}")
        if database.is_done():
            return starts
        time.sleep(PAUSE_SECONDS)
    raise AssertionError


# Crowds


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


@contextmanager
def dashboard(url: str, log: Path) -> Iterator[Callable[[], None]]:
    """The dashboard's own server; asks it for all that it shows of all studies, as a browser that is opened does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = str(Path(sys.executable).with_name("optuna-dashboard"))

    def get(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/{path}", timeout=120) as answer:
            content: bytes = answer.read()
            return content

    def ask() -> None:
        for study in json.loads(get("studies"))["study_summaries"]:
            get(f"studies/{study['study_id']}")

    with started([program, url, "--host", "127.0.0.1", "--port", str(port)], log) as server:
        while True:
            try:
                get("meta")
            except OSError as error:
                if server.has_ended:
                    raise server.failure() from error
                time.sleep(POLL_SECONDS)
            else:
                break
        yield ask


@dataclass
class Reads:
    """How often something was read, and how often that failed."""

    times: int = 0
    failures: int = 0


@contextmanager
def reading(read: Callable[[], object]) -> Iterator[Reads]:
    """Reads again and again, in a thread."""
    reads, done = Reads(), threading.Event()

    def loop() -> None:
        while not done.is_set():
            try:
                read()
            except (OSError, ValueError, subprocess.CalledProcessError) as error:
                reads.failures += 1
                tell(f"A reader failed: {error}")
            reads.times += 1
            done.wait(READ_SECONDS)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield reads
    finally:
        done.set()
        thread.join()


# Hosts


def on_host(name: str, words: Sequence[str]) -> list[str]:
    """Runs a program on a host of its own, as it were: with a name and process numbers that no other host has."""
    return [*NAMESPACES, "sh", "-c", 'hostname "$0" && exec "$@"', name, *words]


def why_no_hosts() -> str | None:
    """Why there can be no hosts here; None if there can."""
    try:
        subprocess.run(on_host("a", ["true"]), check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        return f"hosts: unshare is refused here ({reason.strip()})"
    return None


def is_of_host(trial: FrozenTrial, name: str) -> bool:
    owner = TrialFacts.of(trial).owner
    return owner is not None and owner.host.split()[0] == name


def lose_host(url: str, folder: Path) -> LostHost:
    """Kills one of two hosts in the middle of a search."""
    database = Database(url=url, planned=HOST_TRIALS)
    open_storage(url, create=True).engine.dispose()
    words = light_search(
        url, trials=HOST_TRIALS, workers=HOST_WORKERS, epoch_seconds=HOST_EPOCH_SECONDS, silence=SILENCE
    )
    held: list[FrozenTrial] = []
    killed_at = datetime.max
    with started(on_host("a", words), folder / "a.log") as host:

        def kill_in_the_middle() -> None:
            nonlocal killed_at
            if held:
                return
            trials = database.trials()
            finished = sum(trial.state in FINISHED for trial in trials)
            if finished < EVENT_AFTER * HOST_TRIALS or not _held_by(trials, "a"):
                return
            [init] = psutil.Process(host.process.pid).children()
            init.kill()  # and with it all processes of its namespace
            host.process.wait()
            killed_at = datetime.now()
            held.extend(_held_by(database.trials(), "a"))

        begin = time.monotonic()
        starts = search_to_end(on_host("b", words), folder / "b.log", database, kill_in_the_middle)
        seconds = time.monotonic() - begin
    tickets = {TrialFacts.of(trial).ticket for trial in held}
    again = [
        trial.datetime_start
        for trial in database.trials()
        if trial.state in FINISHED and TrialFacts.of(trial).ticket in tickets and is_of_host(trial, "b")
    ]
    since = [(start - killed_at).total_seconds() for start in again if start is not None]
    return LostHost(
        workers=HOST_WORKERS,
        epochs=MAX_EPOCHS,
        epoch_seconds=HOST_EPOCH_SECONDS,
        silence=SILENCE,
        seconds=round(seconds, 1),
        held=len(held),
        taken_over=len(since),
        seconds_until_taken_over=round(max(since), 1) if held and len(since) == len(held) else None,
        starts=starts,
        tally=database.tally(),
    )


def _held_by(trials: Sequence[FrozenTrial], host: str) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state == TrialState.RUNNING and is_of_host(trial, host)]


# Restarts


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
