"""For what claims and runs trials."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import BINDING, REFERENCE
from optuna.storages import RDBStorage

from search.studies.opening import open_search_study
from search.studies.storage import open_storage
from search.studies.study import StoredStudy


@pytest.fixture(scope="session")
def database_of_search(empty_database: Path) -> Path:
    """A new search "small" of a space without networks."""
    path = empty_database.with_name("new search.db")
    shutil.copy(empty_database, path)
    storage = open_storage(f"sqlite:///{path}")
    open_search_study(storage, "small", BINDING, REFERENCE)
    storage.remove_session()
    storage.engine.dispose()
    return path


@pytest.fixture
def storage(
    request: pytest.FixtureRequest, storage_url: str, empty_database: Path, database_of_search: Path, tmp_path: Path
) -> Iterator[RDBStorage]:
    """An empty database, or one that `search` is in, where a test asks for that."""
    is_searched = "search" in request.fixturenames
    shutil.copy(database_of_search if is_searched else empty_database, tmp_path / "study.db")
    opened = open_storage(storage_url)
    yield opened
    opened.remove_session()
    opened.engine.dispose()


@pytest.fixture
def search(storage: RDBStorage) -> StoredStudy:
    """A copy of `database_of_search`'s study."""
    return StoredStudy.load(storage, "small")
