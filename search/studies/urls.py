"""URLs of databases: what is wrong with one, and how one is named without its secrets."""

from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from ..config import ExplainedError

# What a URL may say in its query without giving away a secret.
HARMLESS = {"application_name", "charset", "connect_timeout", "host", "mode", "port", "sslmode", "timeout", "uri"}

UNTOLD = "with the same --storage, or with OPTUNA_STORAGE set to it"  # where a URL with a secret is left out


class StorageError(ExplainedError):
    """The database cannot be used."""


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL; None for a database server.

    Raises:
        StorageError: If the URL is malformed, or names a database in memory.
    """
    encode = "In a password, write @ as %40, : as %3A and / as %2F."
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError) as error:
        is_file = url.endswith(".db") and "@" not in url  # what may hold a password is not told again
        hint = f"Or did you mean sqlite:///{url}?" if is_file else encode
        raise StorageError(f"--storage is not a database URL. Use one like sqlite:///study.db. {hint}") from error
    if parsed.drivername == "postgres":
        raise StorageError("--storage begins with postgres://. Write postgresql:// instead.")
    if "@" in f"{parsed.host}{parsed.database if parsed.host else ''}":
        raise StorageError(f"--storage holds more than one @. {encode}")
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.host:
        raise StorageError("--storage names a SQLite file after two slashes. Write three: sqlite:///study.db.")
    name = (parsed.database or "").removeprefix("file:")
    if name in ("", ":memory:") or parsed.query.get("mode") == "memory":
        raise StorageError("A database in memory cannot be shared by workers. Use a file, like sqlite:///study.db.")
    if "\0" in name:
        raise StorageError("--storage names a file with a zero byte (%00). Use one like sqlite:///study.db.")
    return Path(name)


def holds_secret(url: str) -> bool:
    """Whether it has to be left out of what others may read."""
    return hide_password(url) != make_url(url).render_as_string(hide_password=False)


def hide_password(url: str) -> str:
    """The URL without its secrets: the password, and whatever a driver's query may hold but for harmless words."""
    parsed = make_url(url)
    hidden = {key: "hidden" for key in parsed.query if key.lower() not in HARMLESS}
    return parsed.update_query_dict(hidden).render_as_string(hide_password=True)


def explain(error: SQLAlchemyError | StorageInternalError, url: str) -> str:
    """One line for a database error, with what to look at."""
    cause = cause_of(error, url)
    return f"The storage {hide_password(url)} cannot be used ({cause}). Check --storage, and that it can be written."


def cause_of(error: BaseException | None, url: str) -> str:
    """What a driver says, in one line, without the secrets of the URL."""
    if isinstance(error, StorageInternalError):
        error = error.__cause__ or error
    words = str(getattr(error, "orig", None) or "").strip() or str(error) or type(error).__name__
    line = words.splitlines()[0]
    parsed = make_url(url)
    for secret in (parsed.password, *(value for key, value in parsed.query.items() if key.lower() not in HARMLESS)):
        line = line.replace(str(secret), "***") if secret else line
    return line
