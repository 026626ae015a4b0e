"""A table of lines beside Optuna's: what must outlive the studies that it came from. Lines are only ever added."""

import sqlalchemy
from optuna.storages import RDBStorage

_METADATA = sqlalchemy.MetaData()
_LINES = sqlalchemy.Table(
    "tiny_search_ledger",
    _METADATA,
    sqlalchemy.Column("id", sqlalchemy.String(16), primary_key=True),
    sqlalchemy.Column("line", sqlalchemy.Text, nullable=False),
)


def add_line(storage: RDBStorage, identity: str, line: str) -> None:
    """Adds a line, unless one of this identity is there. The caller holds the database's lock."""
    with storage.engine.begin() as connection:
        _METADATA.create_all(connection)
        if connection.scalar(sqlalchemy.select(_LINES.c.id).where(_LINES.c.id == identity)) is None:
            connection.execute(_LINES.insert().values(id=identity, line=line))


def read_lines(storage: RDBStorage) -> list[tuple[str, str]]:
    """All lines, each with its identity."""
    with storage.engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table(_LINES.name):
            return []
        return [(identity, line) for identity, line in connection.execute(sqlalchemy.select(_LINES))]
