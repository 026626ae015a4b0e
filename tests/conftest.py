"""Shared by all tests: the bundled digits, and shapes in annotations checked at run time."""

import os
import warnings
from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook(["search.data", "search.model", "search.train"], "beartype.beartype")

import optuna  # noqa: E402 (the hook comes first)
import pytest  # noqa: E402
import torch  # noqa: E402

from search.data import Split, load_final_splits, load_search_splits  # noqa: E402
from search.train import Runtime  # noqa: E402

torch.set_num_threads(1)  # as in a worker: sums then repeat to the last bit
optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

NOWHERE = Path("there-is-no-such-folder")


@pytest.fixture(scope="session")
def sample_splits() -> tuple[Split, Split]:
    """The 3,200 training and 800 validation digits of the sample."""
    return load_search_splits("sample", NOWHERE)


@pytest.fixture(scope="session")
def final_splits() -> tuple[Split, Split]:
    """All 4,000 training and the 1,000 test digits of the sample."""
    return load_final_splits("sample", NOWHERE)


@pytest.fixture(scope="session")
def few_digits(sample_splits: tuple[Split, Split]) -> Split:
    """256 training digits, for what does not need accuracy."""
    return sample_splits[0].select(torch.arange(256))


@pytest.fixture(scope="session")
def cpu() -> Runtime:
    return Runtime(device=torch.device("cpu"), precision="fp32")


@pytest.fixture
def storage_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder of the complete MNIST; tests that need it carry the `full` marker."""
    folder = Path(os.environ.get("MNIST_DIR", NOWHERE))
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip("MNIST_DIR does not hold the complete MNIST")
    return folder
