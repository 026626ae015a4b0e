"""Copies a frontier's database and records to where they are committed, without what is of this machine alone.

python -m tools.keep ../run/study.db ../run/results results/frontier
python -m tools.keep ../run/study.db ../run/results results/frontier --reference mnist-7999p-15e

The frontier's own record comes first, and each budget's records have a folder; those of the study that the README tells
lie in `reference` beside it, where its benchmarks are. Run it again whenever more is known.
"""

import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from search.proof.frontier import Frontier
from search.runs.looks import LEDGER_FILE
from search.settings import FRONTIER_RECORD, SUMMARY

KEPT = (
    "summary.json", "trials.csv", "verify*.json", "verify*.md", "verify*.safetensors", "answers*.json", LEDGER_FILE,
    "ablation*.json", "ablation*.md", "ablation*.png", "reproduce.json",
)  # fmt: skip
OF_A_FRONTIER = ("frontier.json", "frontier.md", "frontier.png")
TEXTS = (".json", ".jsonl", ".md", ".csv")
DATABASE = "study.db"
ATTRIBUTES = ("study_user_attributes", "study_system_attributes", "trial_user_attributes", "trial_system_attributes")
# Whose worker a trial was; and files for download, which are not committed.
PASSING = ("owner", "artifacts:%", "dashboard:artifacts:%")


@click.command()
@click.argument("database", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("results_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option("--reference", metavar="STUDY", help="The study whose records lie in 'reference', beside TARGET.")
@click.option("--within", type=click.Path(path_type=Path), multiple=True, help="What lies here is named without it.")
def main(database: Path, results_dir: Path, target: Path, reference: str | None, within: tuple[Path, ...]) -> None:
    """Copies a frontier's database and records, without what is of this machine alone."""
    source, place = results_dir.resolve(), target.resolve()
    if source in (place, *place.parents) or place in source.parents:
        raise click.ClickException(f"{target} holds {results_dir}, or is within it: name another.")
    if target.exists() and any(target.iterdir()) and not (target / FRONTIER_RECORD).exists():
        raise click.ClickException(f"{target} holds something else than a frontier: name another.")
    frontiers = [path for path in results_dir.glob(f"*/{FRONTIER_RECORD}") if path.is_file()]
    if len(frontiers) != 1:
        raise click.ClickException(f"{results_dir} holds {len(frontiers)} frontiers; it has to be one.")
    points = Frontier.read(frontiers[0]).points
    names = [name for name in (point.study_name for point in points if point.trial is not None) if name is not None]
    if reference is not None and reference not in names:
        raise click.ClickException(f"The frontier has no study {reference!r} with a winner.")
    orphans = [path.parent.name for path in target.glob(f"*/{LEDGER_FILE}") if path.parent.name not in names]
    if orphans:
        raise click.ClickException(f"{target} has ledgers of studies that are no longer there: {', '.join(orphans)}.")
    folders = [f"{path.resolve()}/" for path in (database.parent, results_dir.parent, *within)]
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copy.mkdir()
        for name in OF_A_FRONTIER:
            shutil.copy(frontiers[0].with_name(name), copy)
        for name in names:
            keep_records(results_dir / name, copy / name, folders)
        keep_database(database, copy / DATABASE, folders)
        _refuse_own_names(copy)
        _put_in_place(copy, target, reference)
    click.echo(f"Kept in {target}.")


def keep_records(source: Path, target: Path, folders: list[str]) -> None:
    """Copies the records of a study, and makes what they name of these folders short."""
    if not (source / SUMMARY).exists():
        raise click.ClickException(f"{source / SUMMARY} is missing.")
    target.mkdir()
    repeated = sorted(
        source.parent.glob(f"{source.name}-reproduce-*/reproduce.json"), key=lambda path: path.stat().st_mtime
    )
    for path in [*(path for pattern in KEPT for path in source.glob(pattern)), *repeated]:  # the latest one stays
        content = path.read_bytes()
        for name in folders if path.suffix in TEXTS else ():
            content = content.replace(name.encode(), b"")
        (target / path.name).write_bytes(content)
    _write_lines(target / LEDGER_FILE, [_lines(path.with_name(LEDGER_FILE)) for path in (source / SUMMARY, *repeated)])


def keep_database(database: Path, target: Path, folders: list[str]) -> None:
    """Copies a database that may be in use."""
    with (
        closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
        for table in ATTRIBUTES:
            for key in PASSING:
                copy.execute(f"DELETE FROM {table} WHERE key LIKE ?", (key,))
            for name in folders:
                copy.execute(f"UPDATE {table} SET value_json = replace(value_json, ?, '')", (name,))
        copy.commit()
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("VACUUM")


def _refuse_own_names(folder: Path) -> None:
    named = sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and any(name.encode() in path.read_bytes() for name in _own_names())
    )
    if named:
        raise click.ClickException(f"These name this machine or a folder of it: {', '.join(named)}.")


def _own_names() -> Iterator[str]:
    yield f"{Path.home()}/"
    yield "/tmp/"
    yield f"{Path.cwd().parent}/"
    if len(socket.gethostname()) >= 4:  # a shorter one is found anywhere
        yield socket.gethostname()


def _put_in_place(copy: Path, target: Path, reference: str | None) -> None:
    """What was kept before goes, but for ledgers, which are only added to, and for what a benchmark has measured."""
    if reference is not None:
        place = target.parent / "reference"
        place.mkdir(parents=True, exist_ok=True)
        for earlier in (target / reference, place):  # a study may have changed its place
            _add_ledger(earlier / LEDGER_FILE, copy / reference / LEDGER_FILE)
        for path in [path for pattern in KEPT for path in place.glob(pattern)]:
            path.unlink()
        shutil.copytree(copy / reference, place, dirs_exist_ok=True)
        shutil.rmtree(copy / reference)
    for folder in copy.iterdir():
        if folder.is_dir():
            _add_ledger(target / folder.name / LEDGER_FILE, folder / LEDGER_FILE)
    new, old = (target.with_name(f"{target.name}.{word}") for word in ("new", "old"))
    shutil.copytree(copy, new)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _add_ledger(kept: Path, ledger: Path) -> None:
    """Puts what was on record before in front of what is new."""
    before = _lines(kept)
    _write_lines(ledger, [before, [line for line in _lines(ledger) if line not in before]])


def _write_lines(path: Path, parts: list[list[bytes]]) -> None:
    content = b"".join(chain.from_iterable(parts))
    if content:
        path.write_bytes(content)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


if __name__ == "__main__":
    main()
