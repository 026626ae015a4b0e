"""Databases for a measurement: files, or a PostgreSQL server of our own that ends with it."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import MetaData, create_engine, func, insert, select


@contextlib.contextmanager
def sqlite_databases(folder: Path) -> Iterator[Callable[[int], str]]:
    """A new database for every number of recorded trials."""
    yield lambda num_recorded: f"sqlite:///{folder / f'{num_recorded}.db'}"


@dataclass(frozen=True, kw_only=True)
class PostgresqlServer:
    """A PostgreSQL server of our own.

    Attributes:
        user: The system's user that it runs as; None for that of this process.
        settings: Of the server, beside where it listens.
    """

    programs: Path
    folder: Path
    port: int
    user: str | None
    settings: Mapping[str, str]

    @property
    def pid(self) -> int:
        """Of the process that starts all others of a running server."""
        return int((self.folder / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])

    def start(self) -> None:
        places = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.folder)}
        words = [f"-c {name}={value}" for name, value in {**places, **self.settings}.items()]
        options = f"--options=-p {self.port} {' '.join(words)}"
        self.call(
            "pg_ctl", "start", "--wait", f"--pgdata={self.folder / 'data'}", f"--log={self.folder / 'log'}", options
        )

    def stop(self, mode: str = "fast") -> None:
        """Args: mode: As pg_ctl has it; "immediate" is as good as a crash."""
        self.call("pg_ctl", "stop", "--wait", f"--mode={mode}", f"--pgdata={self.folder / 'data'}")

    def create_database(self, name: str) -> str:
        """Returns its URL."""
        self.call("createdb", "--host=127.0.0.1", f"--port={self.port}", "--username=postgres", name)
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def call(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        subprocess.run(command, check=True, user=self.user, cwd=self.folder, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def postgresql_server(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[PostgresqlServer]:
    """A server of our own, which ends with us.

    Args:
        folder: Empty, and where another user may go.
    """
    programs = find_postgresql()
    assert programs is not None
    user = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
    data = folder / "data"
    folder.chmod(0o755)
    data.mkdir()
    if user is not None:
        shutil.chown(data, user)
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = PostgresqlServer(programs=programs, folder=folder, port=port, user=user, settings=settings or {})
    server.call("initdb", "--no-sync", "--auth=trust", "--username=postgres", f"--pgdata={data}")
    server.start()
    try:
        yield server
    finally:
        server.stop("immediate")  # nobody needs what it holds


@contextlib.contextmanager
def postgresql_databases(folder: Path) -> Iterator[Callable[[int], str]]:
    """The same, on a server of our own."""
    with postgresql_server(folder) as server:
        yield lambda num_recorded: server.create_database(f"trials{num_recorded}")


BACKENDS = {"sqlite": sqlite_databases, "postgresql": postgresql_databases}


def available_backends(tell: Callable[[str], None]) -> tuple[str, ...]:
    """The databases that can be measured here; says so where one cannot."""
    if find_postgresql() is None or find_spec("psycopg") is None:
        tell("Without PostgreSQL (the server, or psycopg, is not installed).")
        return ("sqlite",)
    return tuple(BACKENDS)


def copy_rows(source_url: str, target_url: str) -> None:
    """Fills Optuna's empty tables in one database with the rows of another.

    Table by table: recording 10,000 trials through Optuna takes seven minutes, whatever the database.
    """
    source, target = create_engine(source_url), create_engine(target_url)
    tables, filled = MetaData(), MetaData()
    tables.reflect(source)
    filled.reflect(target)
    with source.connect() as reading, target.begin() as writing:
        for table in filled.sorted_tables:
            if writing.execute(select(table).limit(1)).first() is not None:
                continue  # the version of the tables, which is there already
            rows = [dict(row) for row in reading.execute(select(tables.tables[table.name])).mappings()]
            if not rows:
                continue
            writing.execute(insert(table), rows)
            [key] = table.primary_key.columns
            if target.dialect.name == "postgresql":  # which counts keys apart from the rows
                sequence = func.pg_get_serial_sequence(table.name, key.name)
                writing.execute(select(func.setval(sequence, max(row[key.name] for row in rows))))
    source.dispose()
    target.dispose()


def find_postgresql() -> Path | None:
    """The folder of PostgreSQL's programs, of the newest release that is installed; Debian keeps it off the path."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    return folders[-1] if folders else None
