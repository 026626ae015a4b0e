"""Databases for a measurement: files, or a PostgreSQL server of our own that ends with it."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import MetaData, create_engine, func, insert, select


@contextlib.contextmanager
def sqlite_databases(folder: Path) -> Iterator[Callable[[int], str]]:
    """A new database for every number of recorded trials."""
    yield lambda num_recorded: f"sqlite:///{folder / f'{num_recorded}.db'}"


@contextlib.contextmanager
def postgresql_databases(folder: Path) -> Iterator[Callable[[int], str]]:
    """The same, on a server of our own, which ends with us."""
    programs = find_postgresql()
    assert programs is not None
    user = "postgres" if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
    data, log = folder / "data", folder / "log"
    folder.chmod(0o755)
    data.mkdir()
    if user is not None:
        shutil.chown(data, user)
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)

    call("initdb", "--auth=trust", "--username=postgres", f"--pgdata={data}")
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    call("pg_ctl", "start", "--wait", f"--pgdata={data}", f"--log={log}", f"--options={settings}")
    address = ["--host=127.0.0.1", f"--port={port}", "--username=postgres"]

    def new_database(num_recorded: int) -> str:
        call("createdb", *address, f"trials{num_recorded}")
        return f"postgresql+psycopg2://postgres@127.0.0.1:{port}/trials{num_recorded}"

    try:
        yield new_database
    finally:
        call("pg_ctl", "stop", "--mode=fast", f"--pgdata={data}")


BACKENDS = {"sqlite": sqlite_databases, "postgresql": postgresql_databases}


def available_backends(tell: Callable[[str], None]) -> tuple[str, ...]:
    """The databases that can be measured here; says so where one cannot."""
    if find_postgresql() is None or find_spec("psycopg2") is None:
        tell("Without PostgreSQL (the server, or psycopg2, is not installed).")
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
