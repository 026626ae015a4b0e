"""What a server adds: it is elsewhere, it is restarted, and its connections and clients vanish."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import optuna
import psutil
import pytest
import sqlalchemy
from commands import run
from fakes import BINDING, REFERENCE, FakeTask, claim, draw, drawn, make_job, ticket_of
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from benchmarks.databases import PostgresqlServer
from search.provenance import Code
from search.studies import storage as module
from search.studies.executors import in_processes
from search.studies.job import ShouldStop
from search.studies.opening import open_search_study
from search.studies.storage import open_storage
from search.studies.study import StoredStudy
from search.studies.turns import PatientStorage, exclusive, patient

pytestmark = pytest.mark.postgresql

PASSWORD = "correct-horse"

# Four processes, which all begin at the same moment, database after database.
OPEN_EACH = """
import multiprocessing, sys
from search.studies.storage import open_storage
processes = multiprocessing.get_context("fork")
barrier = processes.Barrier(4)
def open_each():
    for url in sys.argv[1:]:
        barrier.wait(20)
        open_storage(url, create=True)
started = [processes.Process(target=open_each) for _ in range(4)]
for process in started:
    process.start()
for process in started:
    process.join()
sys.exit(sum(process.exitcode != 0 for process in started))
"""

# Takes its turn, and writes in it; before that, in its first turn, it waits to be told to go on.
TAKE_A_TURN = """
import sys
import optuna
from search.studies import storage as module, turns
module.SERVER["idle_in_transaction_session_timeout"] = "1s"
storage = module.open_storage(sys.argv[1])
study = optuna.load_study(storage=storage, study_name="small")
numbers_seen = []
@turns.patient()
def take_turn(storage):
    with turns.exclusive(storage):
        numbers_seen.append(len(study.get_trials(states=[optuna.trial.TrialState.RUNNING])))
        if len(numbers_seen) == 1:
            print("held", flush=True)
            sys.stdin.readline()
        study.set_user_attr("running, seen in each turn", numbers_seen)
take_turn(storage)
storage.engine.dispose()
"""


@dataclass(frozen=True, kw_only=True)
class SleepingTask(FakeTask):
    """Reports an epoch every so often."""

    def befall(self, trial: optuna.Trial, should_stop: ShouldStop) -> None:
        for epoch in range(10):
            trial.report(90.0, step=epoch)
            time.sleep(0.05)


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def server_storage(postgresql_url: str, messages: list[str]) -> Iterator[PatientStorage]:
    storage = open_storage(postgresql_url, create=True, tell=messages.append)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


@pytest.fixture
def search(server_storage: PatientStorage) -> StoredStudy:
    return open_search_study(server_storage, "small", BINDING, REFERENCE)


def drop_connections(storage: RDBStorage) -> None:
    """All of the database but one, which is new."""
    other = sqlalchemy.create_engine(storage.url)
    with other.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    other.dispose()


@pytest.mark.slow
def test_first_commands_at_once_on_an_empty_server_all_succeed(postgresql: PostgresqlServer) -> None:
    urls = [postgresql.create_database(f"first{number}") for number in range(4)]
    ended = subprocess.run([sys.executable, "-c", OPEN_EACH, *urls], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    engine = sqlalchemy.create_engine(urls[0])
    assert "trials" in sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()


def test_status_says_that_an_empty_server_has_no_study_and_creates_nothing(postgresql_url: str) -> None:
    result = run("status", "--storage", postgresql_url)
    assert result.exit_code == 1
    assert "There is no study yet" in result.output
    assert result.output.count("\n") == 1
    assert PASSWORD not in result.output
    engine = sqlalchemy.create_engine(postgresql_url)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()


def test_nobody_waits_for_ever_for_a_lock_or_a_vanished_client(server_storage: PatientStorage) -> None:
    with server_storage.engine.connect() as connection:
        for name, value in module.SERVER.items():
            shown = connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            assert shown in (value, value.replace("60s", "1min")), name


@pytest.mark.slow
def test_a_search_outlives_a_crash_of_its_server_and_comes_to_as_many_trials_as_planned(
    search: StoredStudy, postgresql: PostgresqlServer, postgresql_url: str, messages: list[str], code: Code
) -> None:
    command_lines: list[str] = []
    notes: list[str] = []

    def crash() -> None:
        deadline = time.monotonic() + 60
        while sum(trial.state == TrialState.RUNNING for trial in watched.trials()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        command_lines.extend(" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True))
        postgresql.stop("immediate")
        time.sleep(1.5)
        postgresql.start()

    storage = open_storage(postgresql_url)
    watched = StoredStudy.load(storage, "small")
    job = make_job(postgresql_url, code, SleepingTask(), 8)
    thread = threading.Thread(target=crash)
    thread.start()
    try:
        interrupted = in_processes(
            job,
            ["cpu"] * 2,
            search,
            on_update=lambda: search.trials() and None,
            on_interrupt=lambda: None,
            on_note=notes.append,
        )
    finally:
        thread.join()
        storage.engine.dispose()
    assert not interrupted
    assert sorted(ticket_of(trial) for trial in search.complete_trials()) == list(range(8))
    assert search.trials((TrialState.RUNNING,)) == []
    steps = [len(trial.intermediate_values) for trial in search.complete_trials()]
    assert steps == [10] * 8
    away, back = messages
    assert "does not answer" in away
    assert "10 minutes" in away
    assert back == "The database answers again."
    assert PASSWORD not in " ".join([*messages, *notes])
    assert command_lines
    assert PASSWORD not in " ".join(command_lines)


def test_a_dropped_connection_is_replaced_without_a_word(search: StoredStudy, messages: list[str]) -> None:
    for _ in range(3):
        drop_connections(search.storage)
        trial = claim(search, drawn(3))
        drop_connections(search.storage)
        draw(trial)
        drop_connections(search.storage)
        search.study.tell(trial, 90.0)
    assert [ticket_of(trial) for trial in search.complete_trials()] == [0, 1, 2]
    assert messages == []


def test_a_turn_whose_connection_is_dropped_leaves_nothing_and_is_taken_again(search: StoredStudy) -> None:
    seen = []

    @patient()
    def take_turn(stored: StoredStudy) -> None:
        with exclusive(stored.storage):
            stored.study.add_trial(optuna.trial.create_trial(value=1.0))
            seen.append([trial.state.name for trial in stored.trials()])
            if len(seen) == 1:
                drop_connections(stored.storage)
            stored.study.set_user_attr("seen", value=len(seen))

    take_turn(search)
    assert seen == [["WAITING", "COMPLETE"]] * 2
    assert [trial.state.name for trial in search.trials()] == seen[0]
    assert search.study.user_attrs["seen"] == 2


@pytest.mark.slow
def test_a_lock_holder_that_falls_silent_loses_the_lock_and_takes_its_turn_anew(
    search: StoredStudy, postgresql_url: str
) -> None:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    holder = subprocess.Popen([sys.executable, "-c", TAKE_A_TURN, postgresql_url], text=True, **pipes)
    try:
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        claim(search, drawn(2))
        holder.send_signal(signal.SIGCONT)
        _, complaints = holder.communicate("go on\n", timeout=30)
    finally:
        holder.kill()
        holder.wait()
    assert holder.returncode == 0, complaints
    assert search.study.user_attrs["running, seen in each turn"] == [0, 1]


def test_a_server_that_does_not_answer_is_told_in_one_line_without_the_password(postgresql: PostgresqlServer) -> None:
    url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:9/optuna?sslkey=hush"
    result = run("status", "--storage", url)
    assert result.exit_code == 1
    assert "refused" in result.output
    assert result.output.count("\n") == 1
    assert PASSWORD not in result.output
    assert "hush" not in result.output
