"""What commands have left: a database and files, looked through for what must not be."""

import csv
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from search.files import PARTIAL
from search.net.model_file import load_model
from search.proof.answers import Answers
from search.proof.evidence import Proof
from search.proof.ladder import Ladder
from search.proof.parts import Record
from search.proof.reproduction import Reproduction
from search.proof.summaries import StudySummary
from search.runs.models import read_model_origin
from search.settings import ARTIFACTS
from search.studies.facts import TrialFacts
from search.studies.finding import load_studies
from search.studies.optuna_private import fixed_params
from search.studies.storage import open_storage
from search.studies.study import FINISHED

DATABASE = "study.db"
RESULTS = "results"
RECORDS: dict[str, type[Record]] = {
    "summary.json": StudySummary,
    "verify.json": Proof,
    "answers.json": Answers,
    "ablation.json": Ladder,
    "reproduce.json": Reproduction,
}
PNG_END = b"IEND\xaeB`\x82"


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What is left of a study.

    Attributes:
        outcomes: By key: what a finished trial has drawn and come to, as JSON.
        interrupted: Trials that were cut off.
        files: The names of all files of the results.
        partial: Files that were being written when their writer was killed: a later command removes them.
        faults: What must not be, whatever the command was.
    """

    outcomes: dict[str, str]
    interrupted: int
    files: frozenset[str]
    partial: int
    faults: tuple[str, ...]


def look_at(folder: Path, study_name: str) -> Aftermath:
    """Looks through the database and the results of the commands that ran in a folder."""
    faults = [*damage_of_database(folder / DATABASE), *_damage_of_files(folder / RESULTS)]
    with opened(folder) as storage:
        for each in load_studies(storage):
            running = [trial.number for trial in each.trials((TrialState.RUNNING,))]
            faults += [f"trials {running} of {each.name} are RUNNING"] if running else []
        trials = [trial for each in load_studies(storage) if each.name == study_name for trial in each.trials()]
    finished = [trial for trial in trials if trial.state in FINISHED]
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    times = Counter(map(key_of, finished))
    faults += [f"{key} was done {count} times" for key, count in times.items() if count > 1]
    reasons = [TrialFacts.of(trial).fail_reason for trial in failed]
    faults += [f"a trial failed: {reason}" for reason in reasons if reason is not None]
    return Aftermath(
        outcomes={key_of(trial): outcome_of(trial) for trial in finished},
        interrupted=reasons.count(None),
        files=frozenset(path.relative_to(folder).as_posix() for path in _files(folder / RESULTS)),
        partial=sum(_is_partial(path) for path in (folder / RESULTS).rglob("*")),
        faults=tuple(faults),
    )


def differences(found: Aftermath, undisturbed: Aftermath) -> list[str]:
    """What commands that were hit have lost, added, or done otherwise."""
    keys, wanted = found.outcomes.keys(), undisturbed.outcomes.keys()
    named = {
        "lost": wanted - keys,
        "too many": keys - wanted,
        "with another outcome": {key for key in wanted & keys if found.outcomes[key] != undisturbed.outcomes[key]},
        "missing": undisturbed.files - found.files,
        "left over": found.files - undisturbed.files,
    }
    return [f"{what}: {', '.join(sorted(names))}" for what, names in named.items() if names]


@contextmanager
def opened(folder: Path) -> Iterator[RDBStorage]:
    """The database of the commands that ran in a folder."""
    storage = open_storage(f"sqlite:///{folder / DATABASE}")
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def key_of(trial: FrozenTrial) -> str:
    """What a trial was started for: its ticket, or its parameters."""
    ticket = TrialFacts.of(trial).ticket
    return str(ticket) if ticket is not None else json.dumps(fixed_params(trial) or trial.params, sort_keys=True)


def outcome_of(trial: FrozenTrial) -> str:
    """All that a repetition has to come to again, to the last bit, as JSON."""
    facts = TrialFacts.of(trial)
    return json.dumps(
        {
            "state": trial.state.name,
            "params": trial.params,
            "value": trial.value,
            "epochs": trial.intermediate_values,
            "seed": facts.seed,
            "losses": [facts.train_loss, facts.val_loss],
            "errors": [facts.errors, facts.errors_one_view],
        },
        sort_keys=True,
    )


def damage_of_database(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        try:
            [(answer,), *_] = connection.execute("PRAGMA integrity_check").fetchall()
        except sqlite3.DatabaseError as error:
            answer = str(error)
    return [] if answer == "ok" else [f"{path.name}: {answer}"]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not _is_partial(path))


def _is_partial(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(PARTIAL)


def _damage_of_files(folder: Path) -> list[str]:
    """Files that are not whole, of no known kind, or left over from writing."""
    faults = []
    for path in _files(folder):
        try:
            if path.name.startswith("."):
                raise ValueError("left over")
            READERS[path.suffix](path)
        except Exception as error:
            faults.append(f"{path.relative_to(folder)}: {type(error).__name__}: {error}")
    return faults


def _read_record(path: Path) -> None:
    RECORDS[path.name].read(path)


def _read_lines(path: Path) -> None:
    for line in _whole_lines(path):
        json.loads(line)


def _read_model(path: Path) -> None:
    load_model(path)
    read_model_origin(path)


def _read_table(path: Path) -> None:
    heading, *rows = csv.reader(_whole_lines(path))
    if any(len(row) != len(heading) for row in rows):
        raise ValueError("a row is not whole")


def _read_picture(path: Path) -> None:
    if not path.read_bytes().endswith(PNG_END):
        raise ValueError("the picture is not whole")


def _read_page(path: Path) -> None:
    if not path.read_text(encoding="utf-8").endswith("</html>"):
        raise ValueError("the page is not whole")


def _read_artifact(path: Path) -> None:
    if path.parent.name != ARTIFACTS or not path.stat().st_size:
        raise ValueError("nobody knows what it is")


def _whole_lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        raise ValueError("the last line is not whole")
    return text.splitlines()


READERS: dict[str, Callable[[Path], object]] = {
    ".json": _read_record,
    ".jsonl": _read_lines,
    ".safetensors": _read_model,
    ".csv": _read_table,
    ".md": _whole_lines,
    ".png": _read_picture,
    ".html": _read_page,
    "": _read_artifact,
}
