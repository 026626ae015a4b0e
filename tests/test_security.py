"""What SECURITY.md promises: watched from inside every process of a real search, and tried with hostile files."""

import contextlib
import json
import pickle
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import sqlalchemy
from commands import run
from evidence import ON_THE_SAMPLE, make_proof
from sqlalchemy.engine import make_url

from benchmarks.databases import find_postgresql, postgresql_databases
from benchmarks.disturbance import Place
from search.config import RECIPE
from search.net.compiled.kept import cache_folder
from search.proof.evidence import KeptModel
from search.studies.space import Space

PASSWORD = "correct-horse-7431"
SEARCH = ["search", "--dataset", "sample", "--trials", "1", "--epochs", "1", "--max-params", "1000", "--rerank", "0"]
# Loaded by every Python process before anything else: notes what Python tells its auditors (PEP 578).
AUDITOR = """
import json, os, sys

log = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
written = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def note(event, *what):
    os.write(log, (json.dumps([event, *map(str, what)]) + "\\n").encode())

def hook(event, args):
    if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)) and args[2] & written:
        note("write", os.path.join(os.getcwd(), os.fsdecode(args[0])))
    elif event in ("os.rename", "os.mkdir", "os.symlink", "sqlite3.connect"):
        note("write", os.path.join(os.getcwd(), os.fsdecode(args[1 if event in ("os.rename", "os.symlink") else 0])))
    elif event in ("socket.bind", "socket.connect"):
        note(event, args[1])
    elif event == "pickle.find_class":
        package = os.path.dirname(sys._getframe(1).f_code.co_filename)  # of whatever has asked for it
        if os.path.basename(package) == "multiprocessing":
            note("pickle between own processes", *args)
        else:
            note("pickle of a kernel" if os.sep + "numba" + os.sep in package + os.sep else "pickle", *args, package)

note("process", *sys.orig_argv)
sys.addaudithook(hook)
"""


@contextlib.contextmanager
def database() -> Iterator[str]:
    """A URL with a password: of a PostgreSQL server where there is one, else of a SQLite file, which needs none."""
    driver = next((name for name in ("psycopg", "psycopg2") if find_spec(name) is not None), None)
    if find_postgresql() is None or driver is None:
        yield f"sqlite:///file:study.db?uri=true&password={PASSWORD}"
        return
    with TemporaryDirectory() as folder, postgresql_databases(Path(folder)) as new_database:
        url = make_url(new_database(0)).set(drivername=f"postgresql+{driver}", password=PASSWORD)
        yield url.render_as_string(hide_password=False)


def stored_text(url: str) -> str:
    """Everything that a database holds."""
    engine = sqlalchemy.create_engine(url)
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        rows = [list(connection.execute(sqlalchemy.select(table))) for table in tables.sorted_tables]
    engine.dispose()
    return str(rows)


@pytest.mark.slow
def test_a_search_listens_nowhere_loads_no_pickle_writes_in_its_folders_and_gives_no_password_away(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    (tmp_path / "audit").mkdir()
    # PyTorch makes a folder in the temporary one, and leaves it empty. A socket's path has to be short.
    (tmp_path / "audit" / "sitecustomize.py").write_text(AUDITOR, encoding="utf-8")
    with database() as url, TemporaryDirectory() as temporary:
        environment = {
            "OPTUNA_STORAGE": url,
            "PYTHONPATH": str(tmp_path / "audit"),
            "AUDIT_LOG": str(log),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": temporary,
            "TORCHINDUCTOR_CACHE_DIR": temporary,  # this process's PyTorch has set it
            "MPLCONFIGDIR": temporary,  # else matplotlib's list of fonts goes to the user's cache
        }
        place = Place(folder=tmp_path / "place", environment=environment)
        place.folder.mkdir()
        ended = place.run([*SEARCH, "--workers", "1"])
        left = [path for path in Path(temporary).rglob("*") if not path.is_dir()]
        (tmp_path / "database").write_text(stored_text(url.replace(":///", f":///{place.folder}/")), encoding="utf-8")
    assert ended.faults == ()  # the system, too, saw no socket that listens
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    processes = [words for kind, *words in events if kind == "process"]
    assert len(processes) >= 2  # the command, its worker
    own = f"{temporary}/pymp-"  # a folder that nobody else can enter, with a socket that is a file
    sockets = [place for kind, place, *_ in events if kind in ("socket.bind", "socket.connect")]
    assert [place for place in sockets if not place.startswith(own)] == []
    assert [event for event in events if event[0] == "pickle"] == []
    heard = {event[0] for event in events if event[0].startswith("pickle")}
    assert heard == {"pickle between own processes", "pickle of a kernel"}
    allowed = [place.folder / name for name in ("results", "study.db", "study.db.lock")]
    allowed.append(cache_folder())
    allowed += [Path(temporary), Path("/dev/null")]
    written = {Path(path) for kind, path, *_ in events if kind == "write"}
    assert place.folder / "results" / "sample-1000p-1e" / "summary.json" in written
    others = [path for path in written if not any(path == each or each in path.parents for each in allowed)]
    assert [path for path in others if path.parent != Path("/dev/shm")] == []  # memory that workers share
    texts = [place.output, tmp_path / "database", *(path for path in place.folder.rglob("*") if path.is_file())]
    assert [path for path in texts if PASSWORD.encode() in path.read_bytes()] == []
    assert PASSWORD not in str(processes)
    assert [path for path in left if not path.name.startswith("fontlist-")] == []  # that of the figures
    shared = [path for path in written if path.parent == Path("/dev/shm") and path != Path(temporary)]
    assert [path for path in shared if path.exists()] == []


class Hostile:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.mkdir, (self.folder,)


MODEL = "verify-31-seed-10000.safetensors"


@pytest.fixture
def proved(the_space: Space, tmp_path: Path) -> Path:
    """The folder of a proof, whose model is missing."""
    model = KeptModel(file=MODEL, seed=10_000, errors=9, errors_one_view=18)
    proof = make_proof([9, 9], **ON_THE_SAMPLE, recipe=RECIPE, space=the_space.hash, model=model)
    proof.write(tmp_path / "proved" / "verify.json")
    return tmp_path / "proved"


@pytest.mark.parametrize("name", [MODEL, "verify.json", "study.db"])
def test_a_hostile_pickle_in_the_place_of_a_file_is_refused_and_not_loaded(
    name: str, proved: Path, places: list[str], tmp_path: Path
) -> None:
    hostile = pickle.dumps(Hostile(tmp_path / "loaded"))
    (proved / name).write_bytes(hostile)
    storage = f"sqlite:///{proved / 'study.db'}"
    refused = run("reproduce", proved, *places, "--storage", storage, "--workers", "0")
    assert refused.exit_code == 1
    complaint = refused.stderr.splitlines()[-1]
    assert complaint.startswith("Error: ")
    assert str(proved / name) in complaint
    assert not (tmp_path / "loaded").exists()
    pickle.loads(hostile)
    assert (tmp_path / "loaded").exists()  # it would have been
