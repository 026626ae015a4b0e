"""Shared by all tests: the bundled digits, and shapes in annotations checked at run time."""

import functools
import gc
import itertools
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

from jaxtyping import install_import_hook

install_import_hook(
    [f"search.net.{name}" for name in ("augment", "crops", "data", "idx", "model", "model_file", "sample", "train")],
    "beartype.beartype",
)

from search import provenance  # noqa: E402 (the hook comes first)

provenance.code_commit = functools.cache(provenance.code_commit)  # asks Git twice; before others import it

import optuna  # noqa: E402
import pytest  # noqa: E402
import sqlalchemy  # noqa: E402
import torch  # noqa: E402
from click.testing import CliRunner  # noqa: E402
from filelock import FileLock  # noqa: E402
from hypothesis import settings  # noqa: E402
from optuna.storages import RDBStorage  # noqa: E402
from optuna.storages._rdb.storage import _VersionManager  # noqa: E402
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite  # noqa: E402
from sqlalchemy.util import LRUCache  # noqa: E402

import space  # noqa: E402
from benchmarks.databases import PostgresqlServer, find_postgresql, postgresql_server  # noqa: E402
from cli import cli  # noqa: E402
from search.config import TrialConfig  # noqa: E402
from search.net import sample  # noqa: E402
from search.net.data import Split, fingerprint, load_final_splits, load_search_splits  # noqa: E402
from search.net.datasets import DATASETS, IdxFiles  # noqa: E402
from search.net.device import Runtime  # noqa: E402
from search.provenance import Code  # noqa: E402
from search.runs import pages  # noqa: E402
from search.runs.following import open_follower  # noqa: E402
from search.runs.winner import Choice, choose_trial, rebuild_config  # noqa: E402
from search.studies.facts import TrialFacts, network_facts  # noqa: E402
from search.studies.kinds import Kind  # noqa: E402
from search.studies.opening import open_search_study  # noqa: E402
from search.studies.plan import DrawnPlan  # noqa: E402
from search.studies.space import Space  # noqa: E402
from search.studies.storage import open_storage  # noqa: E402
from search.studies.study import Binding, StoredStudy  # noqa: E402
from search.studies.tickets import claim_trial  # noqa: E402

MEMORY = Path("/dev/shm")  # on Linux, a folder in memory; small in some containers
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 * 1024**3:
    # Tests make thousands of databases: waiting for the disk to confirm them takes half of a run.
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
sample.load_sample = functools.cache(sample.load_sample)
torch.set_num_threads(1)  # as in a worker: sums then repeat to the last bit
optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

settings.register_profile("quick", max_examples=40, deadline=None)  # of hypothesis; a busy machine may pause
settings.load_profile("quick")

NOWHERE = Path("there-is-no-such-folder")
NO_PAGE = create_autospec(pages.write_page, return_value=())
SAMPLE = DATASETS["sample"]
SPACE = Space(suggest_config=space.suggest_config, reference=space.REFERENCE, path=Path(space.__file__))


def _find_newest_tables_once() -> None:
    """Optuna loads a dozen modules for it whenever a database is opened, which takes longer than most tests."""
    find, found = _VersionManager.get_head_version, {}

    def newest_tables(manager: _VersionManager) -> str:
        if not found:
            found["head"] = find(manager)
        return found["head"]

    _VersionManager.get_head_version = newest_tables


_find_newest_tables_once()


def _compile_statements_once() -> None:
    """SQLAlchemy compiles each statement anew for each engine: of SQLite's, tests make thousands, all alike."""
    begin, compiled = sqlalchemy.Engine.__init__, LRUCache(2_000)

    def share(engine: sqlalchemy.Engine, *args: Any, **options: Any) -> None:
        begin(engine, *args, **options)
        if type(engine.dialect) is SQLiteDialect_pysqlite:
            engine._compiled_cache = compiled

    sqlalchemy.Engine.__init__ = share
    # What is compiled is kept by dialect, of which each engine has its own.
    SQLiteDialect_pysqlite.__eq__ = lambda one, other: type(one) is type(other)
    SQLiteDialect_pysqlite.__hash__ = lambda one: hash(type(one))


_compile_statements_once()


def pytest_collection_finish() -> None:
    """What modules hold stays to the end: a worker that collects garbage after a failure need not look through it."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_weights_in_any_order() -> None:
    """A test's networks do not depend on which tests ran before it in this process."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_looks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed reference's looks at the test images would count as a test's own."""
    monkeypatch.setattr("search.runs.history.COMMITTED", ())


@pytest.fixture(autouse=True)
def _pages_are_drawn_for_those_who_look(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests of a command do not look at the page that it leaves, whose figures take as long as all else."""
    if request.node.get_closest_marker("page") is None:
        NO_PAGE.reset_mock()
        monkeypatch.setattr(pages, "write_page", NO_PAGE)


@pytest.fixture(scope="session")
def sample_splits() -> tuple[Split, Split]:
    """The 3,200 training and 800 validation images of the sample."""
    return load_search_splits(SAMPLE, NOWHERE)


@pytest.fixture(scope="session")
def final_splits() -> tuple[Split, Split]:
    """All 4,000 training and the 1,000 test images of the sample."""
    return load_final_splits(SAMPLE, NOWHERE)


@pytest.fixture(scope="session")
def few_digits(sample_splits: tuple[Split, Split]) -> Split:
    """256 training images of all classes (the sample is sorted by class), for what does not need accuracy."""
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


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A real PostgreSQL server."""
    if find_postgresql() is None:
        pytest.skip("PostgreSQL's server is not installed")
    if find_spec("psycopg") is None:
        pytest.skip("psycopg, PostgreSQL's driver, is not installed (extra `postgres`)")
    # Not in pytest's folder, where the user that PostgreSQL runs as may not go.
    with tempfile.TemporaryDirectory() as folder, postgresql_server(Path(folder), {"fsync": "off"}) as server:
        yield server


_database_numbers = itertools.count()


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> str:
    """A new, empty database on a real PostgreSQL server, with a password, which must not be seen anywhere."""
    url = postgresql.create_database(f"test{next(_database_numbers)}")
    return url.replace("postgres@", "postgres:correct-horse@")


@pytest.fixture
def places(storage_url: str, tmp_path: Path) -> list[str]:
    """Options that keep a command off the folder that the tests run in."""
    return ["--storage", storage_url, "--results-dir", str(tmp_path / "results"), "--data-dir", str(tmp_path / "data")]


@pytest.fixture(scope="session")
def the_space() -> Space:
    """The search space of `space.py`."""
    return SPACE


@pytest.fixture
def code() -> Code:
    """What a command would be started with now: you may have edited a file since the tests began."""
    return Code.at_hand(SPACE.path)


@pytest.fixture
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server answers: downloads fail at once."""
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/"])


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder of the complete MNIST; tests that need it carry the `full` marker."""
    folder = Path(os.environ.get("MNIST_DIR", NOWHERE))
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip("MNIST_DIR does not hold the complete MNIST")
    return folder


@pytest.fixture
def training_files(mnist_dir: Path, tmp_path: Path) -> Path:
    """A data folder that holds the complete MNIST's training files, and no test images."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    source = DATASETS["mnist"].source
    assert isinstance(source, IdxFiles)
    for name in source.training:
        (raw / name).symlink_to((mnist_dir / "MNIST" / "raw" / name).resolve())
    return raw.parent.parent


@pytest.fixture(scope="session")
def sample_binding(sample_splits: tuple[Split, Split]) -> Binding:
    """What `search --dataset sample --epochs 4 --max-params 1999` binds its study to: small, for speed."""
    split = fingerprint(*sample_splits)
    return Binding(dataset="sample", split=split, max_params=1_999, epochs=4, space=SPACE.hash)


@pytest.fixture(scope="session")
def searched_database(empty_database: Path, sample_binding: Binding) -> Path:
    """A study "small" that nothing was trained for: five trials of four epochs, as a search records them.

    Complete; pruned after an epoch; complete and best; interrupted after an epoch; the same again, running.
    """
    path = empty_database.with_name("searched.db")
    shutil.copy(empty_database, path)
    storage = open_storage(f"sqlite:///{path}")
    search = open_search_study(storage, "small", sample_binding, SPACE.reference)
    for ending, accuracies in (
        ("complete", [90.0, 95.0, 97.0, 98.0]),
        ("pruned", [60.0]),
        ("complete", [91.0, 96.0, 98.0, 98.5]),
        ("interrupted", [92.0]),
        ("running", [92.0, 96.5]),
    ):
        trial = claim_trial(search, DrawnPlan(num_trials=4, sampler_name="random", seed=0))
        assert trial is not None
        model = space.suggest_config(trial, sample_binding.max_params).model
        TrialFacts(drawn=True, num_params=model.num_params, **network_facts(model)).write(trial)
        for epoch, accuracy in enumerate(accuracies, start=1):
            trial.report(accuracy, step=epoch)
            TrialFacts(epochs=epoch, seconds=2.0 * epoch, worker_peak_memory_mb=600 + trial.number).write(trial)
        TrialFacts(seed=trial.number, device="cpu", precision="fp32", train_loss=0.2, val_loss=0.1).write(trial)
        if ending == "complete":
            search.study.tell(trial, accuracies[-1])
        elif ending == "pruned":
            TrialFacts(prune_reason="not promising").write(trial)
            search.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif ending == "interrupted":
            search.study.tell(trial, state=optuna.trial.TrialState.FAIL)
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
def search_study(searched_storage: RDBStorage) -> StoredStudy:
    """A copy of `searched_database`'s study."""
    return StoredStudy.load(searched_storage, "small")


@pytest.fixture
def winner(search_study: StoredStudy) -> Choice:
    return choose_trial(search_study, None)


@pytest.fixture
def winner_config(search_study: StoredStudy, winner: Choice) -> TrialConfig:
    return rebuild_config(search_study, winner.trial, SPACE)


@pytest.fixture
def verification(search_study: StoredStudy, winner: Choice, winner_config: TrialConfig) -> StoredStudy:
    """The study that verifies the best trial of `search_study`; still empty."""
    return open_follower(search_study, Kind.VERIFY, winner, winner_config)


@pytest.fixture(scope="session")
def finished_search(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """A real search of three trials on the sample, by a worker; its `args` are what one would type for it.

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
    return _copied(ended, original, tmp_path_factory.mktemp("copy of a") / original.name)


@pytest.fixture
def own_search(finished_search: subprocess.CompletedProcess[str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """A copy of it for a test that goes on with it."""
    [url] = [word for word in finished_search.args if word.startswith("sqlite:///")]
    original = Path(url.removeprefix("sqlite:///")).parent
    return _copied(finished_search, original, tmp_path / original.name)


def _copied(ended: subprocess.CompletedProcess[str], original: Path, copy: Path) -> subprocess.CompletedProcess[str]:
    """The same search, as if it had been made in the folder that it is copied to."""
    shutil.copytree(original, copy)
    args = [word.replace(str(original), str(copy)) for word in ended.args]
    stdout = ended.stdout.replace(str(original), str(copy))
    return subprocess.CompletedProcess(args, ended.returncode, stdout, ended.stderr)


def _search(folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    options = [
        "--dataset",
        "sample",
        "--trials",
        "3",
        "--epochs",
        "1",
        "--rerank",
        "1",
        "--compare",
        "0",
        "--workers",
        "1",
        "--json",
    ]
    options += ["--max-params", "1999"]  # for speed
    places = ["--storage", f"sqlite:///{folder / 'study.db'}", "--results-dir", str(folder / "results")]
    command = [sys.executable, "cli.py", "search", *options, *places]
    stderr = ""
    # A worker takes long to start, as the command itself does, and a page to be drawn: once is enough.
    for last, changes in ((False, ["--rerank", "0"]), (True, ["--workers", "0"])):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("search.runs.history.COMMITTED", ())
            if not last:
                patch.setattr(pages, "write_page", NO_PAGE)
            ended = CliRunner().invoke(cli, [*command[2:], *changes], prog_name="python cli.py")
        stderr += ended.stderr
        if ended.exit_code != 0:
            break
    return subprocess.CompletedProcess(command, ended.exit_code, ended.stdout, stderr)
