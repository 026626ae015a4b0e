"""Databases that many processes share: opening one, taking turns, patience, and telling that a trial is alive."""

import contextlib
import functools
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import optuna
import sqlalchemy
import tenacity
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import URL, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    PendingRollbackError,
    ProgrammingError,
    SQLAlchemyError,
)

from search.config import ExplainedError
from search.studies.optuna_private import IDEMPOTENT, forget_cache, record_heartbeat

LOCK_TIMEOUT = 60  # seconds that a process waits for another's transaction
PATIENCE = 600  # seconds without a database after which it is given up: a fail-over or a reboot takes less
LONGEST_PAUSE = 1.0  # seconds between two tries, which also is how long Ctrl-C may take
HEARTBEAT_INTERVAL = 60  # seconds; shorter periods have failed live trials (Optuna issues 4234 and 5470)
GRACE_PERIOD = 240  # seconds without a heartbeat after which another host's trial counts as dead
OPTUNA_TABLES = {"studies", "version_info"}  # the first that Optuna creates
# What a URL may say in its query without giving away a secret.
HARMLESS = {"application_name", "charset", "connect_timeout", "host", "mode", "port", "sslmode", "timeout", "uri"}
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
# Nobody waits for a host that has vanished, on either side: each notices within a minute.
KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}  # seconds, seconds, times
LIBPQ = {"connect_timeout": 10, "tcp_user_timeout": 60_000, **KEEPALIVE}  # seconds; milliseconds
SERVER = {
    "lock_timeout": f"{LOCK_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{LOCK_TIMEOUT}s",
    "tcp_user_timeout": "60000",
    **{f"tcp_{name}": str(value) for name, value in KEEPALIVE.items()},
}

P = ParamSpec("P")
T = TypeVar("T")


class StorageError(ExplainedError):
    """The database cannot be used."""


class Patience(threading.local):
    """Tries again what a database has failed, until it answers, or has been away for too long. A thread has its own.

    Attributes:
        tell: Told once that the database is awaited, and once that it is back.
        is_interrupted: Whether a person has asked to stop: then nothing is awaited.
        at_work: Whether something is being tried: what is called meanwhile is tried again with it, not by itself.
    """

    def __init__(self, url: str, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.is_interrupted: Callable[[], bool] = lambda: False
        self.at_work = False
        self._url = url
        self._away_since: float | None = None
        self._told = False

    def __call__(self, function: Callable[[], T], undo: Callable[[], object] = lambda: None) -> T:
        """Calls the function, and `undo` before each further try.

        Raises:
            KeyboardInterrupt: If somebody has asked to stop.
            Exception: The function's, after the last try.
        """
        self.at_work = True
        try:
            result: T
            for attempt in tenacity.Retrying(
                retry=tenacity.retry_if_exception(is_outage),
                stop=self._is_over,
                wait=tenacity.wait_random_exponential(multiplier=0.1, max=LONGEST_PAUSE),
                before_sleep=self._tell_cause,
                reraise=True,
            ):
                with attempt:
                    if attempt.retry_state.attempt_number > 1:
                        undo()
                    result = function()
        finally:
            self.at_work = False
        if self._told:
            self.tell("The database answers again.")
        self._away_since, self._told = None, False
        return result

    def _is_over(self, _state: tenacity.RetryCallState) -> bool:
        """An outage counts from its first error: what is called after its end is tried once."""
        if self._away_since is None:
            self._away_since = time.monotonic()
        return time.monotonic() - self._away_since >= PATIENCE

    def _tell_cause(self, state: tenacity.RetryCallState) -> None:
        if self.is_interrupted():
            raise KeyboardInterrupt
        if state.attempt_number > 3 and not self._told and state.outcome is not None:  # the first tries take no time
            cause = _cause(state.outcome.exception(), self._url)
            self.tell(f"The database does not answer ({cause}); trying again for up to {PATIENCE // 60} minutes.")
            self._told = True


class PatientStorage(RDBStorage):
    """Optuna's storage; each of its methods that may be done twice waits for a database that is away."""

    patience: Patience

    @property
    def in_turn(self) -> bool:
        """Whether this thread is in an `exclusive` block."""
        return self.scoped_session.registry.has() and self.scoped_session().bind is not self.engine


def wait_unless(storage: RDBStorage, is_interrupted: Callable[[], bool]) -> None:
    """For where Ctrl-C is counted and does not raise: after the first, a database that is away is not awaited."""
    assert isinstance(storage, PatientStorage)
    storage.patience.is_interrupted = is_interrupted


def patient(*, undo: Callable[..., object] | None = None) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """For a function that may be done twice: it is, where a database that is away has failed it.

    Its first argument is a storage, or has one. What takes turns is tried again as a whole, from outside its
    `exclusive` block, never within.

    Args:
        undo: Called before a further try with the function's arguments, for what the last may have left: a commit
            whose answer was lost may have happened.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def run(*args: P.args, **options: P.kwargs) -> T:
            owner: Any = args[0]
            storage: PatientStorage = getattr(owner, "storage", owner)
            if storage.in_turn or storage.patience.at_work:
                return function(*args, **options)

            def prepare() -> None:
                _forget(owner)
                if undo is not None:
                    undo(*args, **options)

            try:
                return storage.patience(functools.partial(function, *args, **options), prepare)
            except BaseException:
                _forget(owner)
                raise

        return run

    return decorate


def _forget(owner: Any) -> None:
    """What a study has cached in a turn may have been undone with it."""
    if hasattr(owner, "study"):
        forget_cache(owner.study, owner.storage)


for _name in IDEMPOTENT:
    setattr(PatientStorage, _name, patient()(getattr(RDBStorage, _name)))


def is_outage(error: BaseException) -> bool:
    """Whether the database, and not what it was asked, is at fault: away, overloaded, locked, or without disk."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, DBAPIError):
        if getattr(cause.orig, "sqlite_errorname", "").startswith(("SQLITE_READONLY", "SQLITE_ERROR")):
            return False  # no right to write, or another table: that does not pass
        if cause.connection_invalidated:
            return True
    return isinstance(cause, (OperationalError, InterfaceError, InternalError, PendingRollbackError))


def open_storage(
    url: str, *, create: bool = False, wait: bool = False, tell: Callable[[str], None] = lambda _message: None
) -> PatientStorage:
    """Opens an Optuna database; with `create`, makes it where there is none.

    A SQLite file is put into WAL mode (readers such as the dashboard never block a writer), and its
    transactions begin immediately, so that two workers never both believe that they hold a trial.

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
        raise StorageError(f"The storage {hidden} cannot be used: {_cause(error, url)}") from error
    storage.patience = patience
    return storage


def _refuse_place(path: Path, *, create: bool) -> None:
    if path.is_dir():
        raise StorageError(
            f"{path} cannot be used: it is a folder. Name a file with --storage, like sqlite:///{path / 'study.db'}."
        )
    if not create and not path.exists():
        raise StorageError(f"There is no study yet: {path} does not exist. Run 'python cli.py search' first.")
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
    _refuse_foreign_tables(url, create=create)
    is_server = url.get_backend_name() == "postgresql"
    options = LIBPQ if is_server and url.get_driver_name() in ("psycopg", "psycopg2") else {}
    connect_args: dict[str, Any] = {name: value for name, value in options.items() if name not in url.query}
    if path is not None:
        connect_args = {"timeout": LOCK_TIMEOUT}
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
        event.listen(storage.engine, "begin", functools.partial(_begin_immediate, path))
    elif is_server:
        event.listen(storage.engine, "connect", _set_up_server)
    with storage.engine.connect():
        pass
    return storage


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL; None for a database server.

    Raises:
        StorageError: If the URL is malformed, or names a database in memory.
    """
    encode = "In a password, write @ as %40, : as %3A and / as %2F."
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError) as error:
        raise StorageError(f"--storage is not a database URL. Use one like sqlite:///study.db. {encode}") from error
    if parsed.drivername == "postgres":
        raise StorageError("--storage begins with postgres://. Write postgresql:// instead.")
    if "@" in f"{parsed.host}{parsed.database if parsed.host else ''}":
        raise StorageError(f"--storage holds more than one @. {encode}")
    if parsed.get_backend_name() != "sqlite":
        return None
    name = (parsed.database or "").removeprefix("file:")
    if name in ("", ":memory:") or parsed.query.get("mode") == "memory":
        raise StorageError("A database in memory cannot be shared by workers. Use a file, like sqlite:///study.db.")
    if "\0" in name:
        raise StorageError("--storage names a file with a zero byte (%00). Use one like sqlite:///study.db.")
    return Path(name)


def hide_password(url: str) -> str:
    """The URL without its secrets: the password, and whatever a driver's query may hold but for harmless words."""
    parsed = make_url(url)
    hidden = {key: "hidden" for key in parsed.query if key.lower() not in HARMLESS}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def explain(error: SQLAlchemyError | StorageInternalError, url: str) -> str:
    """One line for a database error, with what to look at."""
    cause = _cause(error, url)
    return f"The storage {hide_password(url)} cannot be used ({cause}). Check --storage, and that it can be written."


def _cause(error: BaseException | None, url: str) -> str:
    """What a driver says, in one line, without the secrets of the URL."""
    if isinstance(error, StorageInternalError):
        error = error.__cause__
    words = str(getattr(error, "orig", None) or "").strip() or str(error)
    line = words.splitlines()[0]
    parsed = make_url(url)
    for secret in (parsed.password, *(value for key, value in parsed.query.items() if key.lower() not in HARMLESS)):
        line = line.replace(str(secret), "***") if secret else line
    return line


@contextlib.contextmanager
def exclusive(storage: RDBStorage) -> Iterator[None]:
    """Holds the database's one lock for one transaction: all that is written meanwhile counts, or nothing.

    Optuna's own transactions are parts of this one, so lock and writes are lost together, if they are: with the
    process, with the connection, or with an error. SQLite: the lock for writing, that of the file itself. A server:
    the row of Optuna's version table, which Optuna itself only ever reads.
    """
    with storage.engine.begin() as connection:
        if connection.dialect.name != "sqlite":
            version = sqlalchemy.table("version_info", sqlalchemy.column("version_info_id"))
            connection.execute(sqlalchemy.select(version).with_for_update()).all()
        storage.remove_session()
        storage.scoped_session(bind=connection, join_transaction_mode="create_savepoint")
        try:
            yield
        finally:
            with contextlib.suppress(SQLAlchemyError):  # where the connection is lost
                storage.scoped_session().close()
            storage.scoped_session.registry.clear()


@contextlib.contextmanager
def heartbeat(storage: RDBStorage, trial: optuna.Trial) -> Iterator[None]:
    """Tells other hosts, from a thread, that this trial is alive."""
    done = threading.Event()

    def beat() -> None:
        while not done.is_set():
            pause = LONGEST_PAUSE  # a beat that fails is made up for: nobody knows how long the database was away
            with contextlib.suppress(*DATABASE_ERRORS):
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


def _refuse_foreign_tables(url: URL, *, create: bool) -> None:
    engine = sqlalchemy.create_engine(url)
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
    name = hide_password(url.render_as_string(hide_password=False))
    if not tables and not create:
        raise StorageError(f"There is no study yet: {name} is empty. Run 'python cli.py search' first.")
    if tables and OPTUNA_TABLES.isdisjoint(tables):
        raise StorageError(f"{name} is not an Optuna database: it holds other tables. Name another file.")


def _set_up_server(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET {name} = '{value}'" for name, value in SERVER.items()))
    connection.commit()


def _set_up_sqlite(path: Path, connection: Any, record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself: _begin_immediate does
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # with WAL: a power cut loses no consistency
    record.info["file"] = path.stat().st_ino


def _begin_immediate(path: Path, connection: sqlalchemy.Connection) -> None:
    if not path.exists() or path.stat().st_ino != connection.info["file"]:
        raise StorageError(f"{path} was deleted or replaced while it was in use. What it held then is lost.")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
