"""Databases that many processes share: taking turns, and patience where one is away."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy
import tenacity
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)

from .optuna_private import IDEMPOTENT, forget_cache
from .urls import cause_of

PATIENCE = 600  # seconds without a database after which it is given up: a fail-over or a reboot takes less
LONGEST_PAUSE = 1.0  # seconds between two tries, which also is how long Ctrl-C may take
DATABASE_ERRORS = (SQLAlchemyError, StorageInternalError)
P = ParamSpec("P")
T = TypeVar("T")


class Patience(threading.local):
    """Tries again what a database has failed, until it answers, or has been away for too long. A thread has its own.

    Attributes:
        tell: Told once that the database is awaited, and once that it is back.
        is_interrupted: Whether a person has asked to stop: then nothing is awaited.
        at_work: Whether something is being tried: what is called meanwhile is tried again with it, not by itself.
        reading: Whether what is being called changes nothing: then it keeps no writer waiting.
    """

    def __init__(self, url: str, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.is_interrupted: Callable[[], bool] = lambda: False
        self.at_work = False
        self.reading = False
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
            cause = cause_of(state.outcome.exception(), self._url)
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


@contextlib.contextmanager
def reading(storage: RDBStorage) -> Iterator[None]:
    """For what changes nothing."""
    assert isinstance(storage, PatientStorage)
    before, storage.patience.reading = storage.patience.reading, True
    try:
        yield
    finally:
        storage.patience.reading = before


def _reading(method: Callable[Concatenate[PatientStorage, P], T]) -> Callable[Concatenate[PatientStorage, P], T]:
    """For a method that changes nothing."""

    @functools.wraps(method)
    def run(storage: PatientStorage, /, *args: P.args, **options: P.kwargs) -> T:
        with reading(storage):
            return method(storage, *args, **options)

    return run


for _name in IDEMPOTENT:
    _method = getattr(RDBStorage, _name)
    setattr(PatientStorage, _name, patient()(_reading(_method) if _name.lstrip("_").startswith("get_") else _method))


def is_outage(error: BaseException) -> bool:
    """Whether the database, and not what it was asked, is at fault: away, overloaded, locked, or without disk."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, DBAPIError):
        if getattr(cause.orig, "sqlite_errorname", "").startswith(("SQLITE_READONLY", "SQLITE_ERROR")):
            return False  # no right to write, or another table: that does not pass
        if cause.connection_invalidated:
            return True
    return isinstance(cause, (OperationalError, InterfaceError, InternalError, PendingRollbackError))


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
