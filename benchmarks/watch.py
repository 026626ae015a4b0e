"""Watches a search on a PostgreSQL server: its connections, and what it and the server compute."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import sqlalchemy

from benchmarks.databases import PostgresqlServer
from benchmarks.processes import Started, connections_to, seconds_of_cores

SAMPLE_SECONDS = 1.0

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@dataclass
class Peaks:
    """The most connections that were seen at once."""

    total: int = 0
    worker: int = 0
    command: int = 0

    def see(self, total: int, command: int, workers: list[int]) -> None:
        self.total = max(self.total, total)
        self.command = max(self.command, command)
        self.worker = max(self.worker, *workers, 0)


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Watches a search on a server."""

    server: PostgresqlServer
    connection: sqlalchemy.Connection
    search: Started
    peaks: Peaks = field(default_factory=Peaks)

    def count(self, statement: str) -> int:
        return int(self.connection.exec_driver_sql(statement).scalar_one())

    def sleep(self, seconds: float) -> None:
        """Looks, until the time is up, how many connections there are.

        Raises:
            ExplainedError: If the search has ended.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(SAMPLE_SECONDS, left))
            command, *workers = [connections_to(self.server.port, each) for each in self.search.family()] or [0]
            self.peaks.see(self.count(OTHERS), command, workers)
            if self.search.has_ended:
                raise self.search.failure()

    def cpu_seconds(self) -> tuple[float, float]:
        """What the workers with their command, and the server, have computed so far."""
        postmaster = psutil.Process(self.server.pid)
        return seconds_of_cores(self.search.family()), seconds_of_cores([postmaster, *postmaster.children()])


@contextmanager
def watching(server: PostgresqlServer, url: str, search: Started) -> Iterator[Watch]:
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield Watch(server=server, connection=connection, search=search)
    finally:
        engine.dispose()
