import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import OperationalError

from search.studies import turns
from search.studies.kinds import Kind
from search.studies.optuna_private import start_trial
from search.studies.storage import heartbeat, open_storage
from search.studies.study import StoredStudy
from search.studies.turns import PatientStorage, exclusive, patient, wait_unless
from search.studies.urls import StorageError, explain, hide_password, sqlite_path

HOLD_THE_LOCK = """
import sys, time
from search.studies.storage import open_storage
from search.studies.turns import exclusive
with exclusive(open_storage(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

OPEN_EACH = """
import sys
from search.studies.storage import open_storage
print("ready", flush=True)
sys.stdin.readline()
for url in sys.argv[1:]:
    open_storage(url, create=True)
"""


class UnreachableServer(PGDialect):
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        return sqlite3  # any driver's error classes do

    def connect(self, *_args: Any, **_options: Any) -> NoReturn:
        raise sqlite3.OperationalError("connection to server failed: Connection refused\nIs the server running?")


registry.register("postgresql.unreachable", __name__, "UnreachableServer")


def refusal(url: str, *, create: bool = True) -> str:
    with pytest.raises(StorageError) as caught:
        open_storage(url, create=create)
    message = str(caught.value)
    assert "\n" not in message
    return message


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def file_with(path: Path, *statements: str) -> str:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return f"sqlite:///{path}"


def test_who_only_reads_a_sqlite_file_changes_no_byte_of_it(tmp_path: Path, empty_database: Path) -> None:
    path = tmp_path / "study.db"
    shutil.copy(empty_database, path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=DELETE")  # as a database is that was closed and packed up
    connection.close()
    before = path.read_bytes()
    storage = open_storage(f"sqlite:///{path}")
    assert storage.get_all_studies() == []
    storage.remove_session()
    storage.engine.dispose()
    assert path.read_bytes() == before


def test_a_sqlite_file_that_is_written_to_is_in_wal_mode(storage: RDBStorage, tmp_path: Path) -> None:
    optuna.create_study(storage=storage)
    connection = sqlite3.connect(tmp_path / "study.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_transaction_excludes_other_writers_from_its_start_but_no_readers(
    storage: RDBStorage, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "study.db", timeout=0, isolation_level=None)
    with storage.engine.begin():
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT count(*) FROM studies").fetchone() == (0,)
    other.execute("BEGIN IMMEDIATE")
    other.close()


def test_who_reads_keeps_no_writer_waiting(search: StoredStudy, storage_url: str) -> None:
    other = StoredStudy.load(open_storage(storage_url), search.name)
    with exclusive(search.storage):  # else this would wait for a minute, and fail
        assert [trial.number for trial in other.trials()] == [0]
        assert other.facts.kind == Kind.SEARCH
        search.study.add_trial(optuna.trial.create_trial(value=1.0))
        assert len(other.trials()) == 1
    assert len(other.trials()) == 2


def test_every_connection_waits_a_minute_for_anothers_transaction(storage: RDBStorage) -> None:
    with storage.engine.connect() as first, storage.engine.connect():
        assert first.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000


def test_what_is_stored_is_there_when_opened_again(storage: RDBStorage, storage_url: str) -> None:
    optuna.create_study(storage=storage, study_name="kept")
    assert optuna.get_all_study_names(open_storage(storage_url)) == ["kept"]


@pytest.mark.slow
def test_two_processes_that_open_a_new_file_at_once_both_succeed(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path / name}" for name in ("a.db", "b.db", "c.db")]
    command = [sys.executable, "-c", OPEN_EACH, *urls]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    complaints = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], complaints
    for url in urls:
        assert optuna.get_all_study_names(open_storage(url)) == []


@pytest.mark.parametrize("url", ["study.db", "", "sqlite:/study.db", "mysql://user:secret@localhost:port/optuna"])
def test_a_malformed_url_is_refused_with_an_example(url: str) -> None:
    message = refusal(url)
    assert "sqlite:///study.db" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true", "sqlite:///file:x?mode=memory&uri=true"],
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    assert "memory" in refusal(url)


def test_a_missing_file_is_refused_and_not_created(storage_url: str, tmp_path: Path) -> None:
    message = refusal(storage_url, create=False)
    assert "study.db" in message
    assert "search" in message
    assert list(tmp_path.iterdir()) == []


def test_a_text_file_is_refused_and_kept(storage_url: str, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("Shopping list: milk, bread, and a good deal of patience.\n" * 40)
    assert "study.db" in refusal(storage_url)
    assert (tmp_path / "study.db").read_text().startswith("Shopping list")


def test_another_programs_database_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    url = file_with(tmp_path / "music.db", "CREATE TABLE albums (title TEXT)")
    assert "not an Optuna database" in refusal(url)
    connection = sqlite3.connect(tmp_path / "music.db")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("albums",)]
    connection.close()


def test_tables_of_an_older_optuna_are_refused_with_the_way_to_upgrade(storage_url: str, storage: RDBStorage) -> None:
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v2.4.0.a'")
    assert "optuna storage upgrade" in refusal(storage_url)


def test_a_database_with_optunas_table_names_alone_is_refused(tmp_path: Path) -> None:
    url = file_with(tmp_path / "app.db", "CREATE TABLE version_info (release TEXT)")
    assert "app.db" in refusal(url)


@pytest.mark.parametrize("place", ["", "no-such-folder/study.db"])
def test_a_place_that_can_hold_no_file_is_refused(tmp_path: Path, place: str) -> None:
    assert str(tmp_path) in refusal(f"sqlite:///{tmp_path / place}")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://user:se@cret@localhost/optuna", "%40"),
        ("postgresql://user:secret@host:po@rt/optuna", "%40"),
        ("postgres://user:secret@localhost/optuna", "postgresql://"),
        ("sqlite:///study%00.db", "%00"),
        ("sqlite:///{folder}/study.db?timeout=abc", "'abc'"),
        ("sqlite:///{folder}", "it is a folder"),
        ("sqlite:///{folder}/none/study.db", "does not exist"),
    ],
)
def test_what_is_wrong_in_a_url_is_named_without_its_password(tmp_path: Path, url: str, words: str) -> None:
    message = refusal(url.format(folder=tmp_path))
    assert words in message
    assert "cret" not in message
    assert list(tmp_path.iterdir()) == []


def test_braces_in_a_url_are_taken_as_they_are(tmp_path: Path) -> None:
    open_storage(f"sqlite:///{tmp_path}/{{a}}.db", create=True).engine.dispose()
    assert [path.name for path in tmp_path.iterdir()] == ["{a}.db"]


def test_what_a_driver_quotes_of_a_url_is_hidden() -> None:
    error = OperationalError("SELECT 1", {}, sqlite3.OperationalError("no entry for user:secret, sslkey=hush"))
    message = explain(error, "postgresql://user:secret@host/optuna?sslkey=hush&sslmode=require")
    assert "secret" not in message
    assert "hush" not in message
    assert "sslmode=require" in message


def test_a_missing_driver_is_named_without_the_password() -> None:
    message = refusal("mysql+pymysql://user:secret@localhost/optuna")
    assert "pymysql" in message
    assert "secret" not in message


def test_an_unknown_kind_of_database_is_refused_without_the_password() -> None:
    message = refusal("cleverdb://user:secret@localhost/optuna")
    assert "cleverdb" in message
    assert "secret" not in message


def test_an_unreachable_server_is_told_in_one_line_without_the_password() -> None:
    message = refusal("postgresql+unreachable://user:secret@localhost/optuna")
    assert "Connection refused" in message
    assert "user:***@localhost" in message
    assert "secret" not in message


def test_an_error_without_words_is_explained_all_the_same() -> None:
    silent = OperationalError("SELECT 1", {}, sqlite3.OperationalError())
    assert "study.db" in explain(silent, "sqlite:///study.db")


def test_only_the_password_of_a_url_is_hidden() -> None:
    assert hide_password("mysql://user:secret@host/optuna") == "mysql://user:***@host/optuna"
    assert hide_password("sqlite:///study.db") == "sqlite:///study.db"


def test_what_a_drivers_query_may_keep_secret_is_hidden_and_the_rest_told() -> None:
    url = "postgresql://user:secret@host/optuna?sslmode=require&sslkey=hush&Options=hush"
    hidden = hide_password(url)
    assert "secret" not in hidden
    assert "hush" not in hidden
    assert "sslmode=require" in hidden


def test_a_servers_url_names_no_file() -> None:
    assert sqlite_path("postgresql://host/optuna") is None
    assert sqlite_path("sqlite:////srv/study.db") == Path("/srv/study.db")


def test_the_lock_excludes_another_process_until_that_is_killed(storage: RDBStorage, storage_url: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD_THE_LOCK, storage_url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    entered = threading.Event()

    def enter() -> None:
        with exclusive(storage):
            entered.set()

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    assert not entered.wait(0.5)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert entered.wait(30)
    thread.join()


def test_the_lock_is_released_when_its_holder_raises(storage: RDBStorage) -> None:
    with pytest.raises(KeyError), exclusive(storage):
        raise KeyError
    with exclusive(storage):
        pass


def test_what_was_written_under_the_lock_is_undone_when_its_holder_raises(storage: RDBStorage) -> None:
    study = optuna.create_study(storage=storage)

    def break_off() -> None:
        with exclusive(storage):
            study.set_user_attr("half", value=True)
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert study.user_attrs == {}


def test_another_thread_waits_for_the_lock_to_write(storage: RDBStorage) -> None:
    study = optuna.create_study(storage=storage)
    thread = threading.Thread(target=lambda: study.set_user_attr("last", "thread"))
    with exclusive(storage):
        thread.start()
        time.sleep(0.2)
        assert thread.is_alive()
        study.set_user_attr("last", "holder")
    thread.join()
    assert study.user_attrs["last"] == "thread"


def test_a_database_that_is_deleted_while_it_is_in_use_is_told_plainly(storage: RDBStorage, tmp_path: Path) -> None:
    study = optuna.create_study(storage=storage)
    (tmp_path / "study.db").unlink()
    with pytest.raises(StorageError, match=r"study\.db was deleted or replaced"):
        study.set_user_attr("lost", value=True)
    assert not (tmp_path / "study.db").exists()


class Outage:
    """Fails as often as is wanted, as a disk that is full does."""

    def __init__(self, num_failures: int) -> None:
        self.num_calls = 0
        self._num_failures = num_failures

    def __call__(self, _storage: RDBStorage) -> str:
        self.num_calls += 1
        if self.num_calls <= self._num_failures:
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
        return "written"


@pytest.fixture
def told(storage: RDBStorage) -> list[str]:
    assert isinstance(storage, PatientStorage)
    messages: list[str] = []
    storage.patience.tell = messages.append
    return messages


def test_what_a_database_fails_is_tried_again_and_told_once(storage: RDBStorage, told: list[str]) -> None:
    assert patient()(Outage(5))(storage) == "written"
    assert told == [
        "The database does not answer (database or disk is full); trying again for up to 10 minutes.",
        "The database answers again.",
    ]


def test_a_passing_failure_is_not_worth_a_word(storage: RDBStorage, told: list[str]) -> None:
    assert patient()(Outage(2))(storage) == "written"
    assert told == []


def test_patience_ends_once_for_all_that_follows(storage: RDBStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.3)
    for least, most in ((2, 20), (1, 1)):
        outage = Outage(1_000)
        with pytest.raises(OperationalError, match="disk is full"):
            patient()(outage)(storage)
        assert least <= outage.num_calls <= most


def test_what_does_not_pass_is_not_awaited(storage: RDBStorage) -> None:
    @patient()
    def read(storage: RDBStorage) -> None:
        with storage.engine.connect() as connection:
            connection.exec_driver_sql("SELECT * FROM no_such_table")

    with pytest.raises(OperationalError, match="no_such_table"):
        read(storage)


def test_what_is_called_by_what_is_tried_again_neither_prolongs_nor_ends_an_outage(
    storage: RDBStorage, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 1)
    outage = Outage(1_000)

    @patient(undo=optuna.get_all_study_names)
    def read_and_write(storage: RDBStorage) -> None:
        optuna.get_all_study_names(storage)  # a full disk can be read
        outage(storage)

    with pytest.raises(OperationalError, match="disk is full"):
        read_and_write(storage)
    assert len(told) == 1


def test_an_error_of_what_was_asked_is_not_tried_again(storage: RDBStorage) -> None:
    calls = []

    @patient()
    def ask(_storage: RDBStorage) -> None:
        calls.append("asked")
        raise KeyError

    with pytest.raises(KeyError):
        ask(storage)
    assert calls == ["asked"]


def test_a_database_that_is_away_is_not_awaited_after_an_interrupt(storage: RDBStorage) -> None:
    outage = Outage(1_000)
    wait_unless(storage, lambda: True)
    with pytest.raises(KeyboardInterrupt):
        patient()(outage)(storage)
    assert outage.num_calls == 1
    wait_unless(storage, lambda: False)
    assert patient()(Outage(1))(storage) == "written"


def test_a_heartbeat_is_recorded_from_the_start(storage: RDBStorage, tmp_path: Path) -> None:
    study = optuna.create_study(storage=storage)
    _, trial = (start_trial(study, {}, {}) for _ in range(2))
    reader = sqlite3.connect(tmp_path / "study.db")
    beats = "SELECT number FROM trial_heartbeats JOIN trials USING (trial_id)"
    with heartbeat(storage, trial):
        wait_until(lambda: reader.execute(beats).fetchall() == [(trial.number,)])
    reader.close()
    assert not any("heartbeat" in thread.name for thread in threading.enumerate())


def test_a_file_for_a_url_is_told_as_one_and_what_may_hold_a_password_is_not_told_again() -> None:
    with pytest.raises(StorageError, match=r"Or did you mean sqlite:///study\.db\?$"):
        sqlite_path("study.db")
    with pytest.raises(StorageError) as told:
        sqlite_path("user:secret@host.db")
    assert "secret" not in str(told.value)
