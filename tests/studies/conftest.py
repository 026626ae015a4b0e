"""For what claims and runs trials."""

import pytest
from fakes import BINDING, REFERENCE
from optuna.storages import RDBStorage

from search.studies.opening import open_search_study
from search.studies.study import StoredStudy


@pytest.fixture
def search(storage: RDBStorage) -> StoredStudy:
    """A new search "small" of a space without networks."""
    return open_search_study(storage, "small", BINDING, REFERENCE)
