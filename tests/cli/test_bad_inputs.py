"""Inputs that are wrong, damaged, foreign or hostile: each is one line and an exit code, and none is changed.

A table of cases, run in this process; nothing in it trains. At the end, options and bytes that nobody has thought of.
"""

import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import optuna
import pytest
from click.testing import Result
from commands import ROOT, assert_refused, run
from evidence import make_proof
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from pydantic import TypeAdapter, ValidationError

from cli import cli
from search.config import MAX_TRIALS, RECIPE, AugmentConfig, ModelConfig, TrialConfig
from search.files import LONGEST_NAME
from search.net.datasets import DATASETS, DataError, IdxFiles
from search.net.idx import provide_files
from search.net.model import TinyCNN
from search.net.model_file import load_model, save_model
from search.net.model_origin import read_origin
from search.proof.answers import Answers, Bin, Miss, SeedAnswers
from search.proof.evidence import Proof
from search.proof.frontier import Frontier, FrontierPoint
from search.proof.parts import Record, RecordError, agree
from search.proof.summaries import ModelOrigin
from search.studies.facts import FactsError, MeasuredFacts, StudyFacts, TrialFacts
from search.studies.space import Space
from tools.schema import RECORDS

pytestmark = pytest.mark.usefixtures("no_mirror", "_no_hang")

LIMIT = 20  # seconds: far more than any case takes
CONFIG = TrialConfig(
    model=ModelConfig(channels=((4,), (5,), (6,))), augment=AugmentConfig(), lr=0.02, weight_decay=0.01
)
MODEL = "verify-31-seed-10000.safetensors"
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
REFERENCE = ROOT / "results" / "reference"
HUGE = 10 * 2**30  # bytes
BOMB = gzip.compress(bytes(2**27), 1)  # comes to twice of what is read
SMALL = "search --dataset sample --epochs 4 --max-params 1999 --study-name small --trials 4"
Change = Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is typed, in which folder, and how it ends.

    Attributes:
        name: What is wrong.
        typed: The command; "{}" is the folder that all is in.
        change: What was done to the folder before.
        code: The exit code.
        told: A part of the last line.
    """

    name: str
    typed: str | list[str]
    change: Change = lambda folder: None
    code: int = 1
    told: str
    env: dict[str, str] = field(default_factory=dict)


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TimeoutError("the command hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def recorded_proof(space: Space) -> dict[str, Any]:
    """The committed proof, made one of two seeds of a tiny network on the sample."""
    found = json.loads((REFERENCE / "verify.json").read_bytes())
    seeds = [
        {"command": "verify-best", "seed": seed, "test_accuracy": 94.0, "errors": 60, "errors_one_view": 69}
        for seed in (10_000, 10_001)
    ]
    changes = {
        "study_name": "small",
        "trial": 31,
        "config": TypeAdapter(TrialConfig).dump_python(CONFIG, mode="json"),
        "recipe": RECIPE,
        "space": space.hash,
        "epochs": 4,
        "dataset": "sample",
        "judged": False,
        "num_images": 1_000,
        "asked": [found["asked"][-1] | {"first_seed": 10_000, "num_seeds": 2}],
        "seeds": seeds,
        "earlier_attempts": [],
        "other_looks": [],
        "model": {"file": MODEL, "seed": 10_000, "errors": 60, "errors_one_view": 69},
    }
    measured = {name: value for name, value in found.items() if name not in Proof.model_computed_fields}
    content: dict[str, Any] = json.loads(Proof.model_validate_json(json.dumps(measured | changes)).to_json())
    return content


@pytest.fixture(scope="module")
def world(searched_database: Path, the_space: Space, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as one may look after a search and a proof: the study "small", a record, its model; no MNIST."""
    folder = tmp_path_factory.mktemp("world")
    shutil.copy(searched_database, folder / "study.db")
    content = recorded_proof(the_space)
    for place in ("proof", "results/small"):
        (folder / place).mkdir(parents=True)
        (folder / place / "verify.json").write_text(json.dumps(content), encoding="utf-8")
        save_model(folder / place / MODEL, TinyCNN(CONFIG.model), CONFIG.model, "{}")
    (folder / "data").mkdir()
    (folder / "file").write_text("a file\n", encoding="utf-8")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    folder = tmp_path / "world"
    shutil.copytree(world, folder, ignore=shutil.ignore_patterns("pipe"))
    os.mkfifo(folder / "pipe")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """The files of a folder, without what a database keeps beside it while it is open; of a huge one the size."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.stat().st_size < HUGE
        else str(path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm", ".lock"))
    }


# How files are spoilt


def write(name: str, content: bytes) -> Change:
    return lambda folder: _write(folder / name, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def replaced_by_folder(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir(parents=True)

    return change


def replaced_by_pipe(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(folder / name)

    return change


def linked_to(name: str, target: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return change


def huge(name: str) -> Change:
    """A file of 10 GB that takes no room."""

    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as file:
            file.truncate(HUGE)

    return change


def edited(name: str, edit: Callable[[bytes], bytes]) -> Change:
    return lambda folder: _write(folder / name, edit((folder / name).read_bytes()))


def flipped(name: str, place: int) -> Change:
    """A bit of the byte at that place, counted from the end where it is negative."""
    return edited(name, lambda whole: whole[:place] + bytes([whole[place] ^ 1]) + whole[place:][1:])


def with_value(place: str, value: Any, name: str = "proof/verify.json") -> Change:
    """A value of a record replaced; `...` removes it."""

    def change(folder: Path) -> None:
        record = json.loads((folder / name).read_bytes())
        *parents, last = place.split(".")
        part = record
        for key in parents:
            part = part[int(key) if key.isdecimal() else key]
        if value is ...:
            del part[last]
        else:
            part[int(last) if last.isdecimal() else last] = value
        (folder / name).write_text(json.dumps(record), encoding="utf-8")

    return change


def sql(statement: str) -> Change:
    """What somebody has done to the database by hand."""

    def change(folder: Path) -> None:
        with contextlib.closing(sqlite3.connect(folder / "study.db")) as database:
            database.execute(statement)
            database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    return change


def study_value(key: str, value: str) -> Change:
    return sql(f"UPDATE study_user_attributes SET value_json='{value}' WHERE key='{key}'")


def trial_value(key: str, value: str) -> Change:
    return sql(f"UPDATE trial_user_attributes SET value_json='{value}' WHERE key='{key}'")


def named(name: str) -> Change:
    return sql(f"UPDATE studies SET study_name={name}")


# Values of options

NUMBERS = [
    "",
    "-1",
    "1.5",
    "1e3",
    "many",
    "NaN",
    "0x10",
    "½",
    "99999999999999999999",
    "9" * 5_000,
    "\udcff",
    "\x1b[31m",
]
BEYOND: list[tuple[str, str, list[str]]] = [  # more than what any may be
    ("search", "--trials", ["0", str(MAX_TRIALS + 1)]),
    ("search", "--epochs", ["0", "16"]),
    ("search", "--max-params", ["499", "100001"]),
    ("search", "--rerank", [str(MAX_TRIALS + 1)]),
    ("search", "--seed", [str(2**63)]),
    ("search", "--workers", ["1025", "999999999999", "²"]),
    ("verify-best", "--seeds", ["0", "10001"]),
    ("verify-best", "--first-seed", [str(2**31)]),
    ("verify-best", "--trial", [str(2**63)]),
    ("verify-best", "--workers", ["999999999999"]),
    ("reproduce {}/proof", "--seeds", ["0", "10001"]),
    ("reproduce {}/proof", "--first-seed", [str(2**31)]),
    ("reproduce {}/proof", "--workers", ["999999999999"]),
    ("ablate", "--seeds", ["0", "101"]),
    ("ablate", "--trial", [str(2**63)]),
    ("ablate", "--workers", ["999999999999"]),
]
WRONG: list[tuple[str, str, list[str]]] = [
    ("search", "--timeout", ["", "soon", "0", "-1", "nan", "inf", "1e300", "1d", "9999h", "9" * 400, "m", "\udcff"]),
    ("search", "--dataset", ["", "cifar10", "MNIST", "\udcff"]),
    ("search", "--sampler", ["", "grid"]),
    ("search", "--pruner", ["", "hyperband"]),
    ("search", "--device", ["", "tpu", "cuda:0"]),
    ("search", "--precision", ["", "fp16"]),
    ("verify-best", "--target", ["", "high", "0", "1", "0.994", "100.1", "-99", "nan", "inf", "1e999999999", "\udcff"]),
    ("verify-best", "--device", ["tpu"]),
    ("ablate", "--precision", ["fp16"]),
    ("reproduce {}/proof", "--device", ["tpu"]),
]
OPTIONS = [
    Case(
        name=f"{command.split()[0]} {option} {value[:20]!a}",
        typed=[*command.split(), f"{option}={value}"],
        code=2,
        told=option,
    )
    for command, option, values in [
        *((command, option, NUMBERS) for command, option, _ in BEYOND if "{}" not in command and option != "--workers"),
        *BEYOND,
        *WRONG,
    ]
    for value in values
]

MISTYPED = [
    Case(name=typed or "nothing after the program's name", typed=typed, code=2, told=told)
    for typed, told in [
        ("search --trails 5", "--trails"),
        ("--verbose search", "--verbose"),
        ("reproduce {}/proof --trial 2", "--trial"),
        ("reproduce {}/proof --study-name small", "--study-name"),
        ("delete --all", "--all"),
        ("search --trials", "--trials"),
        ("search fifty", "fifty"),
        ("seach", "seach"),
        ("--trials 5", "--trials"),
        ("verify-best small", "small"),
        ("verify-best --from x", "--from"),
        ("reproduce", "PLACE"),
        ("reproduce one two", "two"),
        ("reproduce {}/proof --target 99", "--target"),
        ("ablate --target 99", "--target"),
        ("status small other", "other"),
        ("status small --top 0", "0"),
        ("status --study-name small", "--study-name"),
        ("delete", "NAME"),
        ("delete one two", "two"),
        ("delete small --no", "--no"),
    ]
]

# Names of studies, typed and found

TYPED_NAMES = {
    "empty": "",
    "a dot": ".",
    "two dots": "..",
    "hidden": ".hidden",
    "a path": "a/b",
    "an absolute path": "/tmp/x",
    "a way out": "../../x",
    "an option": "-x",
    "a long option": "--yes",
    "a line break": "a\nb",
    "a carriage return": "a\rb",
    "an escape sequence": "\x1b[2Ja",
    "a bell": "a\x07",
    "text that runs backwards": "a\u202eb",
    "bytes that are no text": "a\udcff",
    "a space that is none": "a\u200b",
    "a name of 201 bytes": "x" * 201,
    "a name of 400 bytes in 200 letters": "ä" * 200,
    "one of 100,000 letters": "x" * 100_000,
    "the committed study's": "reference",
    "another committed study's": "fashion-mnist",
    "a re-ranking's": "small-rerank",
    "a verification's": "small-verify-2",
    "a ladder's": "small-ablate-2",
    "a reproduction's": "small-reproduce-2-0123ab",
}
NAMES = [
    Case(name=f"search: {what}", typed=["search", f"--study-name={name}"], told="cannot be used")
    for what, name in TYPED_NAMES.items()
]
NAMES += [
    Case(name=f"{command}: {what}", typed=[*command.split(), f"--study-name={name}"], told="There is no search study ")
    for command in ("verify-best", "ablate")
    for what, name in TYPED_NAMES.items()
    if what in ("empty", "a way out", "an escape sequence", "bytes that are no text", "one of 100,000 letters")
]
NAMES += [
    Case(name=f"delete: {what}", typed=["delete", "--yes", "--", name], told="There is no study ")
    for what, name in TYPED_NAMES.items()
    if what in ("empty", "a way out", "an option", "an escape sequence", "bytes that are no text", "a line break")
]
FOUND_NAMES = {
    "a way out": "'../../x'",
    "empty": "''",
    "an escape sequence": "char(27)||'[2Jx'",
    "line breaks": "'a'||char(10)||'b'",
    "too long": f"'{'x' * (LONGEST_NAME + 1)}'",
    "an option": "'--yes'",
    "a verification's": "'small-verify-2'",
}
NAMES += [
    Case(
        name=f"{command}: the database's study is called {what}", typed=command, change=named(name), told="Study name "
    )
    for command in ("verify-best", "ablate")
    for what, name in FOUND_NAMES.items()
]
NAMES += [
    Case(
        name=f"status: the database's study is called {what}",
        typed="status",
        change=named(name),
        code=0,
        told="Study name ",
    )
    for what, name in FOUND_NAMES.items()
]
NAMES += [
    Case(
        name="status: an escape sequence in a name is shown, not sent",
        typed="status",
        change=named(FOUND_NAMES["an escape sequence"]),
        code=0,
        told="\\x1b[2Jx",
    ),
    Case(name="status: a name that is no text", typed="status", change=named("x'ff00'"), told="a name is no text"),
]

# Storages

STORAGES = [
    Case(name=f"{command}: {url[:40]!a}", typed=[*command.split(), f"--storage={url}"], told=told)
    for command in ("status", "search", "reproduce {}/proof")
    for url, told in [
        ("", "database URL"),
        ("study.db", "database URL"),
        ("sqlite://", "memory"),
        ("sqlite:///:memory:", "memory"),
        ("sqlite:///{}/absent/study.db", "absent"),
        ("sqlite:///{}", "cannot be used"),
        ("sqlite:///{}/file", "database"),
        ("sqlite:///{}/proof/verify.json", "database"),
        ("nosuchdb://host/name", "nosuchdb"),
        ("http://127.0.0.1/x", "http"),
        ("\udcff", "database URL"),
        ("sqlite+nosuch:///{}/study.db", "sqlite+nosuch"),
    ]
]
STORAGES += [
    Case(name=f"OPTUNA_STORAGE={url}", typed="status", env={"OPTUNA_STORAGE": url}, told=told)
    for url, told in [("study.db", "database URL"), ("sqlite:///{}/file", "database"), ("sqlite:///{}/none", "none")]
]
STORAGES += [
    Case(name=f"the database is {what}", typed="status", change=change, told=told)
    for what, change, told in [
        ("empty", write("study.db", b""), ""),
        ("cut", edited("study.db", lambda whole: whole[:9_000]), "cannot be used"),
        ("overwritten", edited("study.db", lambda whole: whole[:4_096] + bytes(len(whole) - 4_096)), "cannot be used"),
        ("a page of noise", write("study.db", bytes(range(256)) * 64), "not a database"),
        ("a folder", replaced_by_folder("study.db"), "cannot be used"),
        ("a link to nowhere", linked_to("study.db", "nowhere"), "does not exist"),
        ("of another version", sql("UPDATE alembic_version SET version_num='x'"), "optuna version"),
    ]
    if what != "empty"  # is an Optuna database in the making: status creates its tables
]

# Studies that were edited by hand

DAMAGED = "Study 'small' is damaged in the database"
UNLISTED = "The list of studies is damaged in the database"
NONE_LEFT = "There is no search study"
EDITED = [
    Case(name=f"{command}: {what}", typed=command, change=change, code=code, told=told)
    for what, change, in_status, otherwise in [
        ("kind 7", study_value("kind", "7"), "other", NONE_LEFT),
        ("kind []", study_value("kind", "[]"), "other", NONE_LEFT),
        ("an unknown kind", study_value("kind", '"dream"'), "other", NONE_LEFT),
        ("epochs without end", study_value("epochs", "1000000000"), "carries 1000000000 as 'epochs'", NONE_LEFT),
        ("epochs of another type", study_value("epochs", '"4"'), "carries '4' as 'epochs'", NONE_LEFT),
        ("a negative budget", study_value("max_params", "-1"), "carries -1 as 'max_params'", NONE_LEFT),
        ("no attributes", sql("DELETE FROM study_user_attributes"), "other", NONE_LEFT),
        ("a row that is no JSON", study_value("kind", "{"), UNLISTED, UNLISTED),
        ("system attributes", sql("UPDATE study_system_attributes SET value_json='{'"), UNLISTED, UNLISTED),
        ("another direction", sql("UPDATE study_directions SET direction='UP'"), UNLISTED, UNLISTED),
        ("an owner that is none", trial_value("owner", "5"), "carries 5 as 'owner'", None),
        ("epochs of a trial", trial_value("epochs", '"35"'), "carries '35' as 'epochs'", None),
        ("a heartbeat", sql("UPDATE trial_heartbeats SET heartbeat='x'"), DAMAGED, None),
        ("a trial that is no JSON", trial_value("channels", "{"), DAMAGED, DAMAGED),
        ("a trial in no state", sql("UPDATE trials SET state='DONE'"), DAMAGED, DAMAGED),
        ("a trial of yesterday", sql("UPDATE trials SET datetime_start='yesterday'"), DAMAGED, DAMAGED),
        ("an accuracy that is a word", sql("UPDATE trial_values SET value='NaN'"), DAMAGED, DAMAGED),
        ("an accuracy that is null", sql("UPDATE trial_values SET value=NULL"), DAMAGED, DAMAGED),
        ("an infinite accuracy", sql("UPDATE trial_values SET value_type='INF_POS', value=NULL"), DAMAGED, DAMAGED),
        ("an accuracy of no type", sql("UPDATE trial_values SET value_type='x'"), DAMAGED, DAMAGED),
        ("no accuracies", sql("DELETE FROM trial_values"), DAMAGED, DAMAGED),
        ("a parameter that is a word", sql("UPDATE trial_params SET param_value='x'"), DAMAGED, DAMAGED),
        ("a distribution that is no JSON", sql("UPDATE trial_params SET distribution_json='{'"), DAMAGED, DAMAGED),
    ]
    for command, code, told in [
        ("status", int(in_status == UNLISTED), in_status),
        ("verify-best", 1, otherwise),
        ("ablate", 1, otherwise),
    ]
    if told is not None
]
EDITED += [
    Case(name="search: a trial's owner that is none", typed=SMALL, change=trial_value("owner", "5"), told="as 'owner'"),
    Case(
        name="search: trials that say nothing of themselves",
        typed=f"{SMALL} --rerank 0 --trials 2 --workers 0",
        change=sql("DELETE FROM trial_user_attributes"),
        told="does not say which network it had",
    ),
    Case(name="search: a study that is no search", typed=SMALL, change=study_value("kind", "7"), told="as 'kind'"),
    Case(
        name="search: a study of an older recipe",
        typed=SMALL,
        change=study_value("recipe", "3"),
        told=f"(3, now {RECIPE}). Go on with what it was made with (at commit ",
    ),
    Case(
        name="search: a study of an older recipe, with what to type",
        typed=SMALL,
        change=study_value("recipe", "3"),
        told="add --study-name small-2, or type 'make search STUDY=small-2'.",
    ),
    Case(name="verify-best: an older recipe", typed="verify-best", change=study_value("recipe", "3"), told="recipe 3"),
    Case(name="verify-best: another space", typed="verify-best", change=study_value("space", '"0"'), told="space.py"),
    Case(
        name="verify-best: an unknown data set", typed="verify-best", change=study_value("dataset", '"x"'), told="'x'"
    ),
    Case(
        name="verify-best: a trial's network is another",
        typed="verify-best",
        change=trial_value("num_params", "7"),
        told="rebuilt has",
    ),
    Case(
        name="verify-best: a trial's parameters are gone",
        typed="verify-best",
        change=sql("DELETE FROM trial_params"),
        told="'convs_1' is not found",
    ),
    Case(name="verify-best: a trial that is not there", typed="verify-best --trial 99", told="no trial 99"),
    Case(name="verify-best: a pruned trial", typed="verify-best --trial 1", told="Trial 1 is pruned"),
    Case(name="ablate: a trial that failed", typed="ablate --trial 3", told="Trial 3 is fail"),
    Case(
        name="delete: another tool's study", typed="delete small --yes", change=study_value("kind", "7"), told="alone"
    ),
]

# Records

RECORD = "proof/verify.json"
VALUES: list[tuple[str, Any, str]] = [
    ("epochs", 1_000_000_000, "epochs: "),
    ("epochs", 16, "epochs: "),
    ("epochs", 0, "epochs: "),
    ("epochs", "4", "epochs is '4'"),
    ("epochs", True, "epochs is True"),
    ("epochs", 4.5, "epochs: "),
    ("epochs", None, "epochs: "),
    ("epochs", 10**400, "epochs: "),
    ("epochs", ..., "no 'epochs'"),
    ("schema_version", 99, "another version"),
    ("schema_version", ..., "an earlier version"),
    ("schema_version", [], "another version"),
    ("study_name", "../../x", "study_name: "),
    ("study_name", "..", "study_name: "),
    ("study_name", "", "study_name: "),
    ("study_name", "x" * 201, "study_name: "),
    ("study_name", "\x1b[2J", "study_name: "),
    ("study_name", 7, "study_name: "),
    ("trial", -1, "trial: "),
    ("trial", 2**63, "trial: "),
    ("trial", 10**400, "trial: "),
    ("trial", "31", "trial is '31'"),
    ("trial", [[[]]], "trial: "),
    ("recipe", 3, "another version of this tool"),
    ("recipe", "4", "recipe is '4'"),
    ("space", 0, "space: "),
    ("dataset", "cifar10", "no data set 'cifar10'"),
    ("dataset", "", "no data set ''"),
    ("dataset", {}, "dataset: "),
    ("judged", 0, "judged is 0"),
    ("num_images", 0, "num_images: "),
    ("num_images", 10**400, "is damaged"),
    ("num_images", 7, "the rest of the record gives"),
    ("target", "99.4", "target is '99.4'"),
    ("target", float("nan"), "target is nan"),
    ("target", float("inf"), "target is inf"),
    ("target", 10**400, "target is 1000"),
    ("asked", [], "asked: "),
    ("asked.0.target", "99.4", "target is '99.4'"),
    ("asked.0.target", float("nan"), "asked.0.target: "),
    ("asked.0.target", 10**400, "asked.0.target: "),
    ("asked.0.target", None, "is damaged"),
    ("asked.0.first_seed", 10**400, "asked.0.first_seed: "),
    ("asked.0.num_seeds", 10**12, "asked.0.num_seeds: "),
    ("mean", 10**400, "mean is 1000"),
    ("mean", float("nan"), "mean is nan"),
    ("mean", 99.99, "mean is 99.99"),
    ("confirmed", True, "confirmed is True"),
    ("one_view", [], "one_view is []"),
    ("seeds", [], "seeds: "),
    ("seeds", {}, "seeds: "),
    ("seeds.0", None, "seeds.0: "),
    ("seeds.0.seed", 10_007, "not in order"),
    ("seeds.0.seed", 10**400, "seeds.0.seed: "),
    ("seeds.0.errors", -1, "seeds.0.errors: "),
    ("seeds.0.errors", "60", "errors is '60'"),
    ("seeds.0.errors", 59, "the rest of the record gives"),
    ("seeds.0.test_accuracy", float("nan"), "seeds.0.test_accuracy: "),
    ("seeds.0.more", 1, "more: "),
    ("versions", {"torch": 2}, "versions.torch: "),
    ("versions", [], "versions: "),
    ("model", "verify.safetensors", "model: "),
    ("model.file", "gone.safetensors", "gone.safetensors is missing"),
    ("model.file", "../../../etc/passwd", "is no file in the record's folder"),
    ("model.seed", 9, "the kept model is of none of the seeds"),
    ("config", None, "config: "),
    ("config.lr", "0.02", "config is "),
    ("config.lr", -1, "Learning rate must be positive"),
    ("config.lr", float("inf"), "config.lr: "),
    ("config.lr", 10**400, "config.lr: "),
    ("config.batch_size", 1, "two or more images"),
    ("config.batch_size", 10**9, "A batch has at most"),
    ("config.average_horizon", 1, "averaging horizon"),
    ("config.weight_decay", None, "config.weight_decay: "),
    ("config.final_augment", 2, "final augmentation"),
    ("config.augment.scale", 1, "Scale must be below 1"),
    ("config.augment.rotation", -1, "Augmentation strengths"),
    ("config.model.channels", [], "3 stages"),
    ("config.model.channels", [[], [], []], "3 stages"),
    ("config.model.channels", [[0], [1], [1]], "at least one channel"),
    ("config.model.channels", [[10**400], [1], [1]], "at most 100 convolutions and 2,000,000 parameters"),
    ("config.model.channels", [[100_000], [100_000], [100_000]], "at most 100 convolutions and 2,000,000 parameters"),
    ("config.model.channels", [[1] * 99, [1], [1]], "at most 100 convolutions and 2,000,000 parameters"),
    ("config.model.channels", [["4"], [5], [6]], "config is "),
    ("config.model.dropout", 1, "Dropout must be in"),
    ("config.model.norm", "yes", "config is "),
    ("config.model", 7, "config.model: "),
    ("extra", 1, "extra: "),
]
RECORDED = [
    Case(
        name=f"{place}: {'nothing' if value is ... else repr(value)[:40]}",
        typed="reproduce {}/proof",
        change=with_value(place, value),
        told=told,
    )
    for place, value, told in VALUES
]
SPOILT: list[tuple[str, Change, str]] = [
    ("empty", write(RECORD, b""), "it is not JSON"),
    ("cut", edited(RECORD, lambda whole: whole[: len(whole) // 2]), "it is not JSON"),
    ("with a line too many", edited(RECORD, lambda whole: whole + b"}\n"), "it is not JSON"),
    ("two of them", edited(RECORD, lambda whole: whole + whole), "it is not JSON"),
    ("noise", write(RECORD, bytes(range(256))), "it is not JSON"),
    ("a flipped bit in its bracket", flipped(RECORD, 0), "it is not JSON"),
    ("in UTF-16", edited(RECORD, lambda whole: whole.decode().encode("utf-16")), "it is not JSON"),
    ("with a byte order mark", edited(RECORD, lambda whole: b"\xef\xbb\xbf" + whole), "it is not JSON"),
    ("with bytes that are no text", edited(RECORD, lambda whole: whole.replace(b"small", b"\xff")), "is damaged"),
    ("with half a surrogate", edited(RECORD, lambda whole: whole.replace(b"small", b"\\ud800")), "is damaged"),
    ("a list", write(RECORD, b"[]"), "is damaged"),
    ("a number", write(RECORD, b"7"), "is damaged"),
    ("null", write(RECORD, b"null"), "is damaged"),
    ("an empty object", write(RECORD, b"{}"), "an earlier version"),
    ("10,000 lists deep", write(RECORD, b"[" * 10_000 + b"]" * 10_000), "it is not JSON"),
    ("10,000 objects deep", write(RECORD, b'{"a":' * 10_000 + b"1" + b"}" * 10_000), "it is not JSON"),
    ("1,000 lists deep", with_value("trial", json.loads("[" * 900 + "]" * 900)), "it is not JSON"),
    ("a name given twice", edited(RECORD, lambda whole: b'{"epochs": 4, ' + whole[1:]), "two values of one name"),
    ("an integer of 10,000 digits", write(RECORD, b'{"schema_version": ' + b"9" * 10_000 + b"}"), "it is not JSON"),
    ("a summary", edited(RECORD, lambda _: (REFERENCE / "summary.json").read_bytes()), "another version"),
    ("a ladder", edited(RECORD, lambda _: (REFERENCE / "ablation.json").read_bytes()), "is damaged"),
    ("a reproduction", edited(RECORD, lambda _: (REFERENCE / "reproduce.json").read_bytes()), "is damaged"),
    ("a benchmark's", edited(RECORD, lambda _: (REFERENCE / "throughput.json").read_bytes()), "verify.json"),
    ("a model", edited(RECORD, lambda _: b"\x10" + bytes(7) + b"{}              "), "it is not JSON"),
    ("a database", edited(RECORD, lambda _: b"SQLite format 3\0" + bytes(1_000)), "it is not JSON"),
    ("a pipe", replaced_by_pipe(RECORD), "verify.json cannot be used (not a regular file)"),
    ("a folder", replaced_by_folder(RECORD), "verify.json cannot be used (not a regular file)"),
    ("a device", linked_to(RECORD, "/dev/zero"), "verify.json cannot be used (not a regular file)"),
    ("a link to nowhere", linked_to(RECORD, "nowhere"), "verify.json is missing"),
    ("a link to itself", linked_to(RECORD, "verify.json"), "verify.json cannot be used"),
    ("of 10 GB", huge(RECORD), "verify.json cannot be used (larger than"),
]
RECORDED += [
    Case(name=f"the record is {what}", typed="reproduce {}/proof", change=change, told=told)
    for what, change, told in SPOILT
]
RECORDED += [
    Case(name=f"PLACE is {place[:30]!a}", typed=["reproduce", place], told=told)
    for place, told in [
        ("{}/pipe", "pipe/verify.json cannot be used (Not a directory)"),
        ("{}/file", "it is not JSON"),
        ("{}/data", "data/verify.json is missing"),
        ("{}/nowhere", "nowhere/verify.json is missing"),
        ("{}/study.db", "it is not JSON"),
        ("/dev/zero", "cannot be used"),
        ("/dev/null", "cannot be used"),
        ("", "verify.json is missing"),
        ("{}/\udcff", "verify.json is missing"),
        ("{}/\x1b[2J", "verify.json is missing"),
        ("{}/" + "x" * 300, "cannot be used (File name too long)"),
    ]
]
# A record that another command reads on its way: what it tells of must not be forgotten.
RESULTS = "results/small/verify.json"
RECORDED += [
    Case(name=f"{command}: {what} among the results", typed=command, change=change, told=told)
    for command in ("verify-best",)
    for what, change, told in [
        ("a cut record", edited(RESULTS, lambda whole: whole[:99]), "small/verify.json is damaged"),
        ("a record with another mean", with_value("mean", 99.99, RESULTS), "small/verify.json is damaged"),
        ("a record of another version", with_value("schema_version", 99, RESULTS), "another version"),
        ("a pipe", replaced_by_pipe(RESULTS), "small/verify.json cannot be used (not a regular file)"),
        ("a folder", replaced_by_folder(RESULTS), "small/verify.json cannot be used (not a regular file)"),
        ("a record of 10 GB", huge("results/other/verify-3.json"), "verify-3.json cannot be used (larger than"),
        ("a record without end", linked_to(RESULTS, "/dev/zero"), "small/verify.json cannot be used"),
    ]
]

LEDGER = "results/small/attempts.jsonl"
LINE = (REFERENCE / "attempts.jsonl").read_bytes().splitlines(keepends=True)[0]
RECORDED += [
    Case(name=f"the ledger is {what}", typed="verify-best", change=change, told=told)
    for what, change, told in [
        (
            "cut in a line before the last",
            write(LEDGER, LINE[:99] + b"\n" + LINE),
            "line 1, is damaged",
        ),
        ("noise", write(LEDGER, bytes(range(256))), "line 1, is damaged"),
        ("with bytes that are no text", write(LEDGER, LINE.replace(b"study", b"\xff", 1)), "line 1, is damaged"),
        ("in UTF-16", write(LEDGER, LINE.decode().encode("utf-16")), "line 1, is damaged"),
        ("10,000 lists deep", write(LEDGER, b"[" * 10_000 + b"\n"), "line 1, is damaged"),
        ("a pipe", replaced_by_pipe(LEDGER), "attempts.jsonl cannot be used (not a regular file)"),
        ("a folder", replaced_by_folder(LEDGER), "attempts.jsonl cannot be used (not a regular file)"),
        ("of 10 GB", huge(LEDGER), "attempts.jsonl cannot be used (larger than"),
    ]
]

# Models beside a record

KEPT = f"proof/{MODEL}"


def header(metadata: dict[str, str] | None, **tensors: Any) -> bytes:
    """A file of safetensors, as it is told to be."""
    words = json.dumps(({"__metadata__": metadata} if metadata is not None else {}) | tensors).encode()
    return struct.pack("<Q", len(words)) + words


MODELS = [
    Case(name=f"the model is {what}", typed="reproduce {}/proof", change=change, told=told)
    for what, change, told in [
        ("empty", write(KEPT, b""), "is not a model"),
        ("cut", edited(KEPT, lambda whole: whole[:-1]), "is not a model"),
        ("cut in its header", edited(KEPT, lambda whole: whole[:50]), "is not a model"),
        ("noise", write(KEPT, bytes(range(256)) * 4), "is not a model"),
        ("longer than it says", edited(KEPT, lambda whole: whole + bytes(8)), "is not a model"),
        ("flipped in its length", flipped(KEPT, 0), "is not a model"),
        ("flipped in its header", flipped(KEPT, 8), "is not a model"),
        ("said to have no end", edited(KEPT, lambda whole: b"\xff" * 8 + whole[8:]), "is not a model"),
        ("without metadata", write(KEPT, header(None)), "is not a model"),
        ("without tensors", write(KEPT, header({"model": '{"channels": [[4], [5], [6]]}'})), "is not a model"),
        ("of no network", write(KEPT, header({"model": "{}", "record": "{}"})), "is not a model"),
        ("of a network that nests", write(KEPT, header({"model": "[" * 10_000})), "is not a model"),
        (
            "of a network too large to build",
            write(KEPT, header({"model": '{"channels": [[99999999], [99999999], [99999999]]}'})),
            "is not a model",
        ),
        (
            "of a tensor too large to load",
            write(KEPT, header({"model": "{}"}, x={"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]})),
            "is not a model",
        ),
        ("a pickle", write(KEPT, b"\x80\x04cos\nsystem\n(S'touch hacked'\ntR."), "is not a model"),
        ("a record", edited(KEPT, lambda _: b"{}"), "is not a model"),
        ("a pipe", replaced_by_pipe(KEPT), "cannot be read (not a regular file)"),
        ("a folder", replaced_by_folder(KEPT), "cannot be read (not a regular file)"),
        ("a device", linked_to(KEPT, "/dev/zero"), "cannot be read (not a regular file)"),
        ("of 10 GB", huge(KEPT), "cannot be read (larger than"),
        ("gone", lambda folder: (folder / KEPT).unlink(), "is missing"),
    ]
]

# Data

RAW = "data/MNIST/raw"
DATA = [
    Case(name=f"--dataset {dataset}: {what}", typed=f"search --dataset {dataset}", change=change, told=told)
    for dataset in ("mnist", "auto")
    for what, change, told in [
        ("a damaged file", write(f"{RAW}/{IMAGES}", b"damaged"), f"{IMAGES} is damaged (MD5"),
        ("an empty file", write(f"{RAW}/{IMAGES}", b""), f"{IMAGES} is damaged (MD5"),
        ("a pipe", replaced_by_pipe(f"{RAW}/{IMAGES}"), f"{IMAGES} cannot be read (not a regular file)"),
        ("a folder", replaced_by_folder(f"{RAW}/{IMAGES}"), f"{IMAGES} cannot be read (not a regular file)"),
        ("a file of 10 GB", huge(f"{RAW}/{IMAGES}"), f"{IMAGES} cannot be read (larger than"),
        ("an archive that is none", write(f"{RAW}/{IMAGES}.gz", b"damaged"), f"{IMAGES}.gz is damaged"),
        ("an empty archive", write(f"{RAW}/{IMAGES}.gz", b""), f"{IMAGES}.gz is damaged"),
        ("a cut archive", write(f"{RAW}/{IMAGES}.gz", gzip.compress(b"x" * 999)[:-9]), f"{IMAGES}.gz is damaged"),
        (
            "an archive with a flipped bit",
            lambda folder: (
                write(f"{RAW}/{IMAGES}.gz", gzip.compress(b"digits" * 999))(folder),
                flipped(f"{RAW}/{IMAGES}.gz", 15)(folder),
            )[0],
            f"{IMAGES}.gz is damaged",
        ),
        ("an archive of something else", write(f"{RAW}/{IMAGES}.gz", gzip.compress(b"else")), ".gz is damaged (MD5"),
        ("an archive without end", write(f"{RAW}/{IMAGES}.gz", BOMB), ".gz is damaged (MD5"),
        ("an archive that is a pipe", replaced_by_pipe(f"{RAW}/{IMAGES}.gz"), ".gz cannot be read (not a regular"),
        ("an archive that is a folder", replaced_by_folder(f"{RAW}/{IMAGES}.gz"), ".gz cannot be read (not a regular"),
        ("an archive of 10 GB", huge(f"{RAW}/{IMAGES}.gz"), ".gz cannot be read (larger than"),
    ]
]
DATA += [
    Case(name=f"MNIST is not in {place[:30]!a}", typed=["search", "--dataset=mnist", f"--data-dir={place}"], told=told)
    for place, told in [
        ("{}/nowhere", "cannot be downloaded"),
        ("{}/file", "cannot be downloaded"),
        ("{}/pipe", "cannot be downloaded"),
        ("", "cannot be downloaded"),
        ("{}/\udcff", "cannot be downloaded"),
        ("{}/\x1b[2J", "cannot be downloaded"),
        ("{}/" + "x" * 300, "File name too long"),
    ]
]
DATA += [
    Case(
        name=f"MNIST_DIR={place}",
        typed="search --dataset mnist",
        env={"MNIST_DIR": place},
        told=f"is not in {place}/MNIST/raw, and MNIST cannot be downloaded",
    )
    for place in ("{}/nowhere", "{}/pipe")
]

# Results

PLACES = [
    Case(
        name=f"{command}: the results are {place[:30]!a}", typed=[*command.split(), f"--results-dir={place}"], told=told
    )
    for command in ("search", "verify-best", "ablate", "reproduce {}/proof")
    for place, told in [
        ("{}/file", "--results-dir {}/file cannot be written to"),
        ("{}/pipe", "--results-dir {}/pipe cannot be written to"),
        ("{}/file/below", "--results-dir {}/file/below cannot be written to"),
        ("/proc/x", "--results-dir /proc/x cannot be written to"),
        ("{}/" + "x" * 300, "cannot be written to (File name too long)"),
    ]
]

SURROUNDINGS = [
    Case(name=f"{name}={value}", typed="status", env={name: value}, code=0, told="small search ")
    for name, value in [
        ("COLUMNS", "x"),
        ("COLUMNS", "0"),
        ("COLUMNS", "-5"),
        ("COLUMNS", "99999999999"),
        ("LINES", "x"),
        ("TERM", "nosuch"),
        ("TERM", ""),
        ("LC_ALL", "nosuch"),
        ("NO_COLOR", "1"),
        ("MNIST_DIR", "\x1b"),
    ]
]

TABLE = [
    *OPTIONS,
    *MISTYPED,
    *NAMES,
    *STORAGES,
    *EDITED,
    *RECORDED,
    *MODELS,
    *DATA,
    *PLACES,
    *SURROUNDINGS,
]
# What a command is given besides, so that it works in the folder; what comes later counts.
STORAGE, RESULTS_DIR, DATA_DIR = "--storage=sqlite:///{}/study.db", "--results-dir={}/results", "--data-dir={}/data"
GIVEN = {
    "search": [STORAGE, RESULTS_DIR, DATA_DIR, "--dataset=mnist"],  # which is not there: nothing is trained
    "frontier": [STORAGE, RESULTS_DIR, DATA_DIR, "--dataset=mnist"],
    "verify-best": [STORAGE, RESULTS_DIR, DATA_DIR],
    "reproduce": [STORAGE, RESULTS_DIR, DATA_DIR],
    "ablate": [STORAGE, RESULTS_DIR, DATA_DIR],
    "report": [STORAGE, RESULTS_DIR, DATA_DIR],
    "export": [STORAGE, RESULTS_DIR],
    "predict": [STORAGE, RESULTS_DIR],
    "status": [STORAGE, RESULTS_DIR],
    "delete": [STORAGE],
}
FROM_ENVIRONMENT = {"OPTUNA_STORAGE": STORAGE, "MNIST_DIR": DATA_DIR}


def type_in(folder: Path, typed: list[str], env: dict[str, str]) -> Result:
    """Types a command."""
    left_out = [option for name, option in FROM_ENVIRONMENT.items() if name in env]
    given = [option for option in GIVEN.get(typed[0], []) if option not in left_out] if typed else []
    words = [*typed[:1], *given, *typed[1:]]
    here = str(folder)
    return run(
        *(word.replace("{}", here) for word in words),
        env={key: value.replace("{}", here) for key, value in env.items()},
    )


def test_the_table_is_long_and_tells_its_cases_apart() -> None:
    assert len(TABLE) >= 150
    assert len({(case.name, str(case.typed), str(case.told)) for case in TABLE}) == len(TABLE)


# Neighbours are of a kind: one of three is tried at once, the others where the slow tests are.
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=case.name.encode("ascii", "backslashreplace").decode(),
            marks=[pytest.mark.slow] if place % 3 else [],
        )
        for place, case in enumerate(TABLE)
    ],
)
def test_a_bad_input_is_one_line_and_stays_as_it_is(case: Case, place: Path) -> None:
    case.change(place)
    before = contents(place)
    typed = case.typed.split() if isinstance(case.typed, str) else case.typed
    result = type_in(place, typed, case.env)
    assert contents(place) == before
    told = case.told.replace("{}", str(place))
    if case.code == 0:
        assert result.exit_code == 0, result.output
        assert told in result.output
        assert "\x1b" not in result.output
    else:
        assert_refused(result, case.code, told)
        assert len(result.stderr.splitlines()[-1]) < 2_000 or "9" * 5_000 in str(typed)


# Options that nobody has thought of. There are no digits and no finished search: nothing can be trained.

NASTY = ["", "0", "1", "-1", "7", "1e9", "nan", "inf", str(2**63), "9" * 400, "auto", "-", "--", "\udcff", "\x1b[2J"]
NASTY += ["..", "/", "/dev/zero", "{}/pipe", "{}/file", "{}/nowhere", "sqlite:///{}/study.db", "sqlite:///{}/file"]
ANY_LETTER = st.characters(exclude_characters="\0", exclude_categories=[])  # but that which ends what is typed
OPTIONS = [param for command in cli.commands.values() for param in command.params if isinstance(param, click.Option)]
FLAGS = {"--help", "--version"} | {name for option in OPTIONS if option.is_flag for name in option.opts}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with some of all options that any command has."""
    command = draw(st.sampled_from(list(cli.commands)))
    names = sorted({option for each in cli.commands.values() for param in each.params for option in param.opts})
    own = [option for param in cli.commands[command].params for option in param.opts if option.startswith("--")]
    words = [command]
    for _ in range(draw(st.integers(0, 4))):
        option = draw(st.sampled_from(own) | st.sampled_from(own) | st.sampled_from(names))
        value = draw(st.sampled_from(NASTY) | st.text(ANY_LETTER, max_size=5))
        words.append(option if option in FLAGS else f"{option}={value}")
    words += draw(st.lists(st.sampled_from(NASTY), max_size=2))
    return words


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=command_lines())
def test_no_options_whatsoever_end_in_a_traceback(words: list[str], world: Path, tmp_path: Path) -> None:
    if words[0] in ("verify-best", "ablate"):  # for them a study is to be found
        words = [words[0], "--storage=sqlite:///{}/nowhere.db", *words[1:]]
    place = tmp_path / "world"
    if not place.exists():
        shutil.copytree(world, place, ignore=shutil.ignore_patterns("pipe", "study.db", "proof"))
        os.mkfifo(place / "pipe")
    before = contents(place)
    result = type_in(place, [word for word in words if word not in ("--dataset=auto", "--dataset=sample")], {})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1, 2, 3, 130)
    assert "Traceback" not in result.output
    assert "\x1b" not in result.output
    assert contents(place).items() >= before.items()


# Bytes that nobody has thought of

TOKEN = re.compile(rb'-?\d+(\.\d+)?|"[^"]*"|true|false|null')
VALUES_OF_JSON = [
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"9" * 400,
    b"0.5",
    b'"x"',
    b'""',
    b"null",
    b"true",
    b"[]",
]
VALUES_OF_JSON += [
    b"{}",
    b"[[[]]]",
    b'{"a":{}}',
    b'"\\ud800"',
    b'"\xff"',
    b"9007199254740993",
    b'"' + b"x" * 999 + b'"',
]


@st.composite
def spoilt(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file that was cut, of which a few bytes were changed, or in which JSON values were replaced by others."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        tokens = list(TOKEN.finditer(bytes(content)))
        how = draw(st.sampled_from(["value", "value", "value", "cut", "byte", "insert"]))
        if how == "value" and tokens:
            token = draw(st.sampled_from(tokens))
            content[token.start() : token.end()] = draw(st.sampled_from(VALUES_OF_JSON))
        elif content:
            at = draw(st.integers(0, len(content) - 1))
            if how == "byte":
                content[at] ^= 1 << draw(st.integers(0, 7))
            else:
                content[at : None if how == "cut" else at] = draw(st.binary(max_size=8))
    return bytes(content)


FRONTIER = Frontier(
    dataset="mnist",
    judged=True,
    epochs=15,
    space="0123456789abcdef",
    recipe=5,
    target=99.4,
    commit="0123abc",
    points=(
        FrontierPoint(
            max_params=1_000,
            study_name="mnist-1000p-15e",
            num_trials=50,
            trial=7,
            num_params=992,
            channels=((4, 5), (6, 7), (8,)),
            blocks=("dense", "separable", "dense"),
            params={"convs_1": 2, "separable_1": False, "lr": 0.02},
            tested=make_proof([110, 100]).tested[0],
        ),
        FrontierPoint(max_params=2_000, tested_before=1),
    ),
)


ANSWERS = Answers(
    study_name="small",
    trial=3,
    dataset="mnist",
    num_by_label=(10,) * 10,
    edges=(0.5,),
    seeds=(
        SeedAnswers(
            seed=10_000,
            misses=(Miss(place=7, label=4, answer=9, probability=0.75, of_label=0.25),),
            bins=(Bin(num=1, num_right=1, probability=0.5), Bin(num=99, num_right=98, probability=0.99)),
        ),
    ),
)


@pytest.fixture(scope="module")
def written(world: Path) -> dict[str, bytes]:
    """A file of each kind of record, by the name of its type, and a model."""
    found = {
        "StudySummary": (REFERENCE / "summary.json").read_bytes(),
        "Proof": (world / "proof" / "verify.json").read_bytes(),
        "Ladder": (REFERENCE / "ablation.json").read_bytes(),
        "Reproduction": (REFERENCE / "reproduce.json").read_bytes(),
        "StorageStatus": run("status", "--json", f"--storage=sqlite:///{world}/study.db").stdout.encode(),
        "Answers": ANSWERS.to_json().encode(),
        "Frontier": FRONTIER.to_json().encode(),
        "ModelOrigin": read_origin(next(REFERENCE.glob("verify-*.safetensors"))).encode(),
        "model": (world / "proof" / MODEL).read_bytes(),
    }
    assert found.keys() == {kind.__name__ for kind in RECORDS} | {"model"}
    return found


OF_BYTES = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
@OF_BYTES
@given(data=st.data())
def test_a_spoilt_record_is_read_as_it_is_or_refused(
    kind: type[Record], data: st.DataObject, written: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(data.draw(spoilt(written[kind.__name__])))
    with contextlib.suppress(RecordError):
        read = json.loads(kind.read(path).to_json())
        assert agree(json.loads(path.read_bytes()), read, whole=False)  # what a file lacks has a default


@OF_BYTES
@given(data=st.data())
def test_a_spoilt_model_is_loaded_or_refused(data: st.DataObject, written: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data.draw(spoilt(written["model"]) | st.binary(max_size=99)))
    for load in (load_model, read_origin):
        with contextlib.suppress(ValueError):
            load(path)


@OF_BYTES
@given(data=st.data())
def test_what_a_spoilt_model_says_of_itself_is_read_or_refused(data: st.DataObject, written: dict[str, bytes]) -> None:
    with contextlib.suppress(ValidationError):
        ModelOrigin.model_validate_json(data.draw(spoilt(written["ModelOrigin"])))


@pytest.mark.parametrize("name", [IMAGES, f"{IMAGES}.gz"])
@OF_BYTES
@given(content=st.data())
def test_spoilt_digits_are_refused(name: str, content: st.DataObject, tmp_path: Path) -> None:
    digits = bytes(range(256)) * 4
    source = DATASETS["mnist"].source
    assert isinstance(source, IdxFiles)
    whole = gzip.compress(digits, mtime=0) if name.endswith(".gz") else digits
    changed = content.draw(spoilt(whole))
    _write(tmp_path / "MNIST" / "raw" / name, changed)
    with contextlib.suppress(DataError):
        provide_files(tmp_path, "MNIST", {IMAGES: hashlib.md5(digits, usedforsecurity=False).hexdigest()})
        assert (tmp_path / "MNIST" / "raw" / IMAGES).read_bytes() == digits
    (tmp_path / "MNIST" / "raw" / IMAGES).unlink(missing_ok=True)


VALUES_OF_ATTRIBUTES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@OF_BYTES
@given(data=st.data())
def test_whatever_a_trial_carries_is_read_or_refused(data: st.DataObject) -> None:
    names = st.sampled_from(sorted({*TrialFacts.model_fields, *MeasuredFacts.model_fields})) | st.text(max_size=3)
    attributes = data.draw(st.dictionaries(names, VALUES_OF_ATTRIBUTES, max_size=4))
    trial = create_trial(state=TrialState.RUNNING, user_attrs=attributes)
    for kind in (TrialFacts, MeasuredFacts):
        with contextlib.suppress(FactsError):
            kind.of(trial)


@OF_BYTES
@given(data=st.data())
def test_whatever_a_study_carries_is_read_or_refused(data: st.DataObject) -> None:
    fields = StudyFacts.model_fields
    names = st.sampled_from(sorted(field.alias or name for name, field in fields.items())) | st.text(max_size=3)
    study = optuna.create_study()
    for name, value in data.draw(st.dictionaries(names, VALUES_OF_ATTRIBUTES, max_size=4)).items():
        study.set_user_attr(name, value)
    with contextlib.suppress(FactsError):
        StudyFacts.of(study)
