"""Databases that many processes share: opening one, taking turns, and telling that a trial is alive."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from search.config import ExplainedError
from search.studies.optuna_private import record_heartbeat

LOCK_TIMEOUT = 60  # seconds that a process waits for another's transaction
HEARTBEAT_INTERVAL = 60  # seconds; shorter periods have failed live trials (Optuna issues 4234 and 5470)
GRACE_PERIOD = 240  # seconds without a heartbeat after which another host's trial counts as dead
OPTUNA_TABLES = {"studies", "version_info"}  # the first that Optuna creates
# What a URL may say in its query without giving away a secret.
HARMLESS = {"application_name", "charset", "connect_timeout", "host", "mode", "port", "sslmode", "timeout", "uri"}
DATABASE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)


class StorageError(ExplainedError):
    """The database cannot be used."""


def open_storage(url: str, *, create: bool = False) -> RDBStorage:
    """Opens an Optuna database; with `create`, makes it where there is none.

    A SQLite file is put into WAL mode (readers such as the dashboard never block a writer), and its
    transactions begin immediately, so that two workers never both believe that they hold a trial.

    Raises:
        StorageError: If the URL is malformed, nothing answers there, or what is there is not Optuna's.
    """
    path = sqlite_path(url)
    if path is not None and not create and not path.exists():
        raise StorageError(f"There is no study yet: {path} does not exist. Run 'python cli.py search' first.")
    try:
        _refuse_foreign_tables(url)
        # Tables are made before transactions can be immediate: one command at a time.
        creation = FileLock(f"{path}.lock") if path is not None and create else contextlib.nullcontext()
        with creation, warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": LOCK_TIMEOUT}} if path is not None else None,
                heartbeat_interval=HEARTBEAT_INTERVAL,
                grace_period=GRACE_PERIOD,
            )
        if path is not None:
            storage.engine.dispose()  # connections made before the listeners
            event.listen(storage.engine, "connect", _set_up_sqlite)
            event.listen(storage.engine, "begin", _begin_immediate)
        with storage.engine.connect():
            pass
    except ImportError as error:
        raise StorageError(
            f"The storage {hide_password(url)} needs a database driver that is not installed ({error})."
        ) from error
    except SQLAlchemyError as error:
        raise StorageError(explain(error, url)) from error
    except optuna.exceptions.StorageInternalError as error:
        raise StorageError(f"{hide_password(url)} is not an Optuna database. Name another with --storage.") from error
    except RuntimeError as error:  # another version's tables; Optuna's message says how to upgrade
        raise StorageError(f"The storage {hide_password(url)} cannot be used: {error}") from error
    return storage


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL; None for a database server.

    Raises:
        StorageError: If the URL is malformed, or names a database in memory.
    """
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError) as error:
        raise StorageError("--storage is not a database URL. Use one like sqlite:///study.db.") from error
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:":
        raise StorageError("A database in memory cannot be shared by workers. Use a file, like sqlite:///study.db.")
    return Path(parsed.database.removeprefix("file:"))


def hide_password(url: str) -> str:
    """The URL without its secrets: the password, and whatever a driver's query may hold but for harmless words."""
    parsed = make_url(url)
    hidden = {key: "hidden" for key in parsed.query if key.lower() not in HARMLESS}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def explain(error: SQLAlchemyError, url: str) -> str:
    """One line for a database error, with what to look at."""
    words = str(getattr(error, "orig", None) or "").strip() or str(error)
    cause = words.splitlines()[0]
    return f"The storage {hide_password(url)} cannot be used ({cause}). Check --storage, and that it can be written."


@contextlib.contextmanager
def exclusive(storage: RDBStorage) -> Iterator[None]:
    """Holds the database's one lock, which outlives no process: a crash releases it.

    SQLite: an operating-system lock on a file beside the database. A server: the row of Optuna's version
    table, which Optuna itself only ever reads.
    """
    path = sqlite_path(storage.url)
    if path is not None:
        with FileLock(f"{path}.lock"):
            yield
    else:
        version = sqlalchemy.table("version_info", sqlalchemy.column("version_info_id"))
        with storage.engine.begin() as connection:
            connection.execute(sqlalchemy.select(version).with_for_update()).all()
            yield


@contextlib.contextmanager
def heartbeat(storage: RDBStorage, trial: optuna.Trial) -> Iterator[None]:
    """Tells other hosts, from a thread, that this trial is alive."""
    done = threading.Event()

    def beat() -> None:
        while not done.is_set():
            with contextlib.suppress(*DATABASE_ERRORS):
                record_heartbeat(storage, trial)  # a beat that fails is made up for by the next
            done.wait(HEARTBEAT_INTERVAL)

    thread = threading.Thread(target=beat, name=f"heartbeat-{trial.number}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _refuse_foreign_tables(url: str) -> None:
    engine = sqlalchemy.create_engine(url)
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    if tables and OPTUNA_TABLES.isdisjoint(tables):
        raise StorageError(f"{hide_password(url)} is not an Optuna database: it holds other tables. Name another file.")


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself: _begin_immediate does
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # with WAL: a power cut loses no consistency


def _begin_immediate(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
