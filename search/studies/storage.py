"""Opens databases that many processes share, and tells them that a trial is alive."""

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import tenacity
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import URL, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from ..config import PROGRAM
from .optuna_private import record_heartbeat
from .turns import DATABASE_ERRORS, LONGEST_PAUSE, Patience, PatientStorage
from .urls import StorageError, cause_of, explain, hide_password, sqlite_path

LOCK_TIMEOUT = 60  # seconds that a process waits for another's transaction
HEARTBEAT_INTERVAL = 60  # seconds; shorter periods have failed live trials (Optuna issues 4234 and 5470)
GRACE_PERIOD = 240  # seconds without a heartbeat after which another host's trial counts as dead
OPTUNA_TABLES = {"studies", "version_info"}  # the first that Optuna creates
# Nobody waits for a host that has vanished, on either side: each notices within a minute.
KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}  # seconds, seconds, times
LIBPQ = {"connect_timeout": 10, "tcp_user_timeout": 60_000, **KEEPALIVE}  # seconds; milliseconds
SERVER = {
    "lock_timeout": f"{LOCK_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{LOCK_TIMEOUT}s",
    "tcp_user_timeout": "60000",
    **{f"tcp_{name}": str(value) for name, value in KEEPALIVE.items()},
}


def open_storage(
    url: str, *, create: bool = False, wait: bool = False, tell: Callable[[str], None] = lambda _message: None
) -> PatientStorage:
    """Opens an Optuna database; with `create`, makes it where there is none.

    Who writes to a SQLite file puts it into WAL mode first (readers such as the dashboard never block a writer); who
    only reads leaves every byte as it is. What may write begins its transaction immediately, so that two workers never
    both believe that they hold a trial.

    Args:
        wait: Whether to wait for a database that is away already now, as later on.
        tell: See `Patience`.

    Raises:
        StorageError: If the URL is malformed, nothing answers there, or what is there is not Optuna's.
    """
    path = sqlite_path(url)
    if path is not None:
        _refuse_place(path, create=create)
    patience = Patience(url, tell)
    hidden = hide_password(url)
    opening = functools.partial(_open, make_url(url), path, create=create)
    try:
        storage = patience(opening) if wait else opening()
    except ImportError as error:
        raise StorageError(
            f"The storage {hidden} needs a database driver that is not installed ({error}). For PostgreSQL: "
            f"pip install 'psycopg[binary]', and a URL that begins with postgresql://."
        ) from error
    except (SQLAlchemyError, StorageInternalError) as error:
        raise StorageError(explain(error, url)) from error
    except (RuntimeError, TypeError, ValueError) as error:
        # Another version's tables (Optuna's message says how to upgrade), or a wrong word in the URL's query.
        raise StorageError(f"The storage {hidden} cannot be used: {cause_of(error, url)}") from error
    storage.patience = patience
    return storage


def _refuse_place(path: Path, *, create: bool) -> None:
    if path.is_dir():
        raise StorageError(
            f"{path} cannot be used: it is a folder. Name a file with --storage, like sqlite:///{path / 'study.db'}."
        )
    if not create and not path.exists():
        raise StorageError(f"There is no study yet: {path} does not exist. Run '{PROGRAM} search' first.")
    if not path.parent.is_dir():
        raise StorageError(f"The folder of {path} does not exist. Make it first, or name another file with --storage.")


def _is_race(error: BaseException) -> bool:
    """Whether another process has made the same table or row meanwhile."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    return isinstance(cause, (IntegrityError, ProgrammingError)) or "already exists" in str(cause)


@tenacity.retry(
    retry=tenacity.retry_if_exception(_is_race),
    stop=tenacity.stop_after_attempt(10),
    wait=tenacity.wait_random(0, 0.2),
    reraise=True,
)
def _open(url: URL, path: Path | None, *, create: bool) -> PatientStorage:
    is_server = url.get_backend_name() == "postgresql"
    options = LIBPQ if is_server and url.get_driver_name() in ("psycopg", "psycopg2") else {}
    connect_args: dict[str, Any] = {name: value for name, value in options.items() if name not in url.query}
    if path is not None:
        connect_args = {"timeout": LOCK_TIMEOUT}
    _refuse_foreign_tables(url, connect_args, create=create)
    template = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")  # as Optuna fills it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = PatientStorage(
            template,
            # One connection is kept; a heartbeat opens another. A server allows a hundred, all in all.
            engine_kwargs={"connect_args": connect_args, "pool_pre_ping": path is None, "pool_size": 1},
            heartbeat_interval=HEARTBEAT_INTERVAL,
            grace_period=GRACE_PERIOD,
            skip_table_creation=not create,
        )
    storage.engine.dispose()  # connections made before the listeners
    if path is not None:
        event.listen(storage.engine, "connect", functools.partial(_set_up_sqlite, path))
        event.listen(storage.engine, "begin", functools.partial(_begin, path, storage))
    elif is_server:
        event.listen(storage.engine, "connect", _set_up_server)
    with storage.engine.connect():
        pass
    return storage


@contextlib.contextmanager
def heartbeat(storage: RDBStorage, trial: optuna.Trial) -> Iterator[None]:
    """Tells other hosts, from a thread, that this trial is alive."""
    done = threading.Event()

    def beat() -> None:
        while not done.is_set():
            pause = LONGEST_PAUSE  # a beat that fails is made up for: nobody knows how long the database was away
            with contextlib.suppress(*DATABASE_ERRORS, StorageError):
                record_heartbeat(storage, trial)
                pause = HEARTBEAT_INTERVAL
            done.wait(pause)

    thread = threading.Thread(target=beat, name=f"heartbeat-{trial.number}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _refuse_foreign_tables(url: URL, connect_args: dict[str, Any], *, create: bool) -> None:
    engine = sqlalchemy.create_engine(url, connect_args=connect_args)
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    name = hide_password(url.render_as_string(hide_password=False))
    if not tables and not create:
        raise StorageError(f"There is no study yet: {name} is empty. Run '{PROGRAM} search' first.")
    if tables and OPTUNA_TABLES.isdisjoint(tables):
        raise StorageError(f"{name} is not an Optuna database: it holds other tables. Name another file.")


def _set_up_server(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET {name} = '{value}'" for name, value in SERVER.items()))
    connection.commit()


def _set_up_sqlite(path: Path, connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself: _begin does
    connection.execute("PRAGMA synchronous=NORMAL")  # with WAL: a power cut loses no consistency
    record.info["file"] = path.stat().st_ino


def _begin(path: Path, storage: PatientStorage, connection: sqlalchemy.Connection) -> None:
    if not path.exists() or path.stat().st_ino != connection.info["file"]:
        raise StorageError(f"{path} was deleted or replaced while it was in use. What it held then is lost.")
    if storage.patience.reading:
        connection.exec_driver_sql("BEGIN")
        return
    if not connection.info.get("wal"):  # which can be chosen outside of a transaction only
        connection.exec_driver_sql("PRAGMA journal_mode=WAL").close()
        connection.info["wal"] = True
    connection.exec_driver_sql("BEGIN IMMEDIATE")
