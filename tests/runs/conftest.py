"""For what trains on a search's digits."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from optuna.storages import RDBStorage
from tiny import TinySearch
from training import EveryTenth

from search.net.data import Split
from search.net.datasets import DATASETS
from search.net.device import Runtime
from search.provenance import Code
from search.runs.validating import ValidationResources


@pytest.fixture(scope="session")
def few_to_validate(sample_splits: tuple[Split, Split], few_digits: Split, cpu: Runtime) -> ValidationResources:
    """256 digits to train on and 100 to validate with, of all classes."""
    validation = sample_splits[1].select(torch.arange(0, 800, 8))
    return ValidationResources(training=few_digits, validation=validation, runtime=cpu)


@pytest.fixture
def tiny(storage: RDBStorage, few_to_validate: ValidationResources, code: Code, tmp_path: Path) -> TinySearch:
    """A new search of tiny networks."""
    return TinySearch.open(storage, few_to_validate, code, tmp_path)


@pytest.fixture(scope="module")
def few_digits_are_a_dataset() -> Iterator[None]:
    """A data set "few": every tenth digit of the sample."""
    few = replace(DATASETS["sample"], name="few", source=EveryTenth(), held_out=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "few", few)
        yield
