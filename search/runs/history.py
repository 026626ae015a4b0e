"""What is known of all looks at the test images, wherever it is on record; which seeds of a proof are still fresh."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from optuna.storages import RDBStorage
from pydantic import TypeAdapter, ValidationError

from ..config import RECIPE, TrialConfig
from ..files import read_regular
from ..proof.evidence import Proof, Witness
from ..proof.ladder import Ladder
from ..proof.ledger import Asked, Entry, Ledger, entries_of, parse_line, parse_lines, plan_seeds
from ..proof.parts import RecordError, describe_damage
from ..proof.reproduction import Reproduction
from ..proof.tested import AskedSeeds
from ..provenance import code_commit
from ..settings import COMMITTED
from ..studies.facts import StudyFacts, config_facts
from ..studies.finding import delete_studies, load_studies
from ..studies.kinds import Kind
from ..studies.lines import add_line, read_lines
from ..studies.study import StoredStudy
from ..studies.turns import exclusive, patient
from .looks import COMMANDS, LEDGER_FILE, append, describe, look_of
from .rungs import RUNGS, rung_config

LARGEST_LEDGER = 2**28  # bytes
RECORDS: dict[str, type[Witness]] = {
    "verify*.json": Proof,
    "ablation*.json": Ladder,
    "reproduce.json": Reproduction,
}

_CONFIG = TypeAdapter(TrialConfig)


def read_ledger(storage: RDBStorage, results_dir: Path) -> Ledger:
    """All that is known here, with this project's own looks at the test images: they came before yours.

    Raises:
        RecordError: If something cannot be read: the misses that it may tell of would be forgotten.
    """
    table = (parse_line(line, f"Line {identity} of the database's ledger") for identity, line in read_lines(storage))
    own = sorted([*results_dir.glob("*/"), *results_dir.glob("*/*/")])  # the latter: another machine's results
    folders = dict.fromkeys(folder.resolve() for folder in (*own, *COMMITTED))
    files = (entry for folder in folders for entry in _entries_of_folder(folder))
    return Ledger.joined(table, _entries_of_studies(load_studies(storage)), files)


def without_committed(ledger: Ledger) -> Ledger:
    """What is not of this project's own studies, which are called as anybody's are. Raises as `read_ledger` does."""
    committed = {entry.id for folder in COMMITTED for entry in _entries_of_folder(folder)}
    return ledger.only(lambda entry: entry.id not in committed)


@patient()
def learn(storage: RDBStorage, record: Witness) -> None:
    """Puts on record what a record knows, wherever it comes from: nobody can forget it from here on."""
    with exclusive(storage):
        for tested in record.tested:
            for entry in entries_of(tested):
                add_line(storage, entry.id, entry.model_dump_json())


def _entries_of_folder(folder: Path) -> Iterator[Entry]:
    path = folder / LEDGER_FILE
    if path.exists():
        yield from parse_lines(read_regular(path, limit=LARGEST_LEDGER), path)
    for pattern, record in RECORDS.items():
        for path in sorted(folder.glob(pattern)):
            with _explained(path):
                for tested in record.read(path).tested:
                    yield from entries_of(tested)


@contextlib.contextmanager
def _explained(where: object) -> Iterator[None]:
    """Raises RecordError for what can be read, and yet cannot be."""
    try:
        yield
    except ValidationError as error:
        raise RecordError(f"{where} is damaged ({describe_damage(error)}). Restore it.") from error


def _entries_of_studies(studies: list[StoredStudy]) -> Iterator[Entry]:
    """What studies know by themselves: those of before there was a ledger know more than it does.

    Raises:
        FactsError, RecordError: If one of this tool's is damaged: it must not be passed over.
    """
    for stored in studies:
        kind = stored.study.user_attrs.get("kind")  # as it is on record: a damaged study must not go unseen
        if kind in list(COMMANDS):
            facts = stored.facts
            if facts.config is not None:
                with _explained(f"Study {stored.name!r} of the database"):
                    yield from _entries_of_study(stored, Kind(kind), facts)


def _entries_of_study(stored: StoredStudy, kind: Kind, facts: StudyFacts) -> Iterator[Entry]:
    for first_seed, num_seeds in facts.planned_seeds.items():
        seeds = AskedSeeds(
            first_seed=first_seed,
            num_seeds=num_seeds,
            target=None,
            chosen_by=facts.rules.get(first_seed, ""),
            time="",
            commit=facts.commit or "unknown",
        )
        yield Asked(seeds=seeds, **describe(facts))
    for trial in stored.trials():
        if "errors" not in trial.user_attrs:
            continue  # what was measured counts, also where a worker was killed before it had told so
        own = facts
        if kind == Kind.ABLATE:
            if facts.recipe != RECIPE:  # then its rungs cannot be told any more
                return
            config = rung_config(_CONFIG.validate_python(facts.config), RUNGS[trial.params["rung"]])
            own = facts.model_copy(update=config_facts(config))
        yield look_of(trial, COMMANDS[kind], own, trial.datetime_complete)


@patient()
def plan_proof(
    verification: StoredStudy,
    results_dir: Path,
    *,
    first_seed: int | None,
    num_seeds: int,
    target: Decimal,
    chosen_by: str,
) -> range:
    """The seeds of a proof (`search.proof.ledger.plan_seeds`), which is on record from here on.

    Args:
        chosen_by: What chose the trial; that of the first command with these seeds is kept.

    Raises:
        SeedsError: If another configuration has used one of the seeds.
    """
    with exclusive(verification.storage):
        facts = verification.facts
        described = describe(facts)
        ledger = read_ledger(verification.storage, results_dir)
        seeds = plan_seeds(ledger, described["subject"], first_seed, num_seeds)
        asked = AskedSeeds(
            first_seed=seeds.start,
            num_seeds=len(seeds),
            target=float(target),
            chosen_by=chosen_by,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            commit=code_commit(),
        )
        folder = results_dir / str(facts.search_study)
        append(verification.storage, folder, Asked(seeds=asked, **described))
    return seeds


@patient()
def delete_and_remember(storage: RDBStorage, names: list[str]) -> None:
    """Deletes studies; what they have seen of the test images stays on record."""
    with exclusive(storage):
        for entry in _entries_of_studies([StoredStudy.load(storage, name) for name in names]):
            add_line(storage, entry.id, entry.model_dump_json())
    delete_studies(storage, names)
