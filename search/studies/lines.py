"""A table of lines beside Optuna's: what must outlive the studies that it came from. Lines are only ever added."""

import sqlalchemy
from optuna.storages import RDBStorage

from .turns import patient, reading

_METADATA = sqlalchemy.MetaData()
_LINES = sqlalchemy.Table(
    "tiny_search_ledger",
    _METADATA,
    sqlalchemy.Column("id", sqlalchemy.String(16), primary_key=True),
    sqlalchemy.Column("line", sqlalchemy.Text, nullable=False),
)


@patient()
def add_line(storage: RDBStorage, identity: str, line: str) -> None:
    """Adds a line, unless one of this identity is there. The caller holds the database's lock."""
    with storage.scoped_session() as session, session.begin():
        _METADATA.create_all(session.connection())
        if session.scalar(sqlalchemy.select(_LINES.c.id).where(_LINES.c.id == identity)) is None:
            session.execute(_LINES.insert().values(id=identity, line=line))


@patient()
def read_lines(storage: RDBStorage) -> list[tuple[str, str]]:
    """All lines, each with its identity."""
    with reading(storage), storage.scoped_session() as session, session.begin():
        if not sqlalchemy.inspect(session.connection()).has_table(_LINES.name):
            return []
        return [(identity, line) for identity, line in session.execute(sqlalchemy.select(_LINES))]
