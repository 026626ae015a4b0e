"""Copies a study's database and records to where they are committed, without what is of this machine alone.

python -m tools.keep study.db results results/frontier
python -m tools.keep study.db results results/frontier --reference mnist-7999p-15e

Of a frontier, its own record comes first, and each budget's records have a folder; those of the study that the README
tells lie in `reference` beside it. Run it again whenever more is known.
"""

import shutil
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import click

from search.runs.looks import LEDGER_FILE
from search.settings import FRONTIER_RECORD, SUMMARY

KEPT = (
    "summary.json", "trials.csv", "verify*.json", "verify*.md", "verify*.safetensors", LEDGER_FILE,
    "ablation*.json", "ablation*.md", "ablation*.png", "reproduce*.json",
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
    """Copies a study's database and records, without what is of this machine alone."""
    folders = [f"{path.resolve()}/" for path in (database.parent, results_dir.parent, *within)]
    target.mkdir(parents=True, exist_ok=True)
    if reference is not None and not (results_dir / reference / SUMMARY).exists():
        raise click.ClickException(f"{results_dir / reference / SUMMARY} is missing.")
    places = {reference: target.parent / "reference"} if reference is not None else {}
    keep_records(results_dir, target, places, folders)
    keep_database(database, target / DATABASE, folders)
    named = sorted(
        str(path)
        for folder in (target, *places.values())
        for path in folder.rglob("*")
        if path.is_file() and _names_this_machine(path)
    )
    if named:
        raise click.ClickException(f"These name this machine or a folder of it: {', '.join(named)}.")
    click.echo(f"Kept in {target}.")


def keep_records(results_dir: Path, target: Path, places: Mapping[str, Path], folders: list[str]) -> None:
    """Copies the records of each study.

    Args:
        places: Where those of a study lie, by its name; otherwise in a folder of its name.
    """
    for folder in sorted(path for path in results_dir.iterdir() if path.is_dir()):
        if (folder / FRONTIER_RECORD).exists():
            for name in OF_A_FRONTIER:
                shutil.copy(folder / name, target)
        elif (folder / SUMMARY).exists():
            place = places.get(folder.name, target / folder.name)
            place.mkdir(exist_ok=True)
            for path in (path for pattern in KEPT for path in folder.glob(pattern)):
                content = path.read_bytes()
                for name in folders if path.suffix in TEXTS else ():
                    content = content.replace(name.encode(), b"")
                if path.name == LEDGER_FILE:
                    content = _added(place / path.name, content)
                (place / path.name).write_bytes(content)


def _added(path: Path, content: bytes) -> bytes:
    """What a ledger holds, and behind it what is new: it is only ever added to."""
    kept = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return b"".join([*kept, *(line for line in content.splitlines(keepends=True) if line not in kept)])


def keep_database(database: Path, target: Path, folders: list[str]) -> None:
    """Copies a database that may be in use."""
    target.unlink(missing_ok=True)
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


def _names_this_machine(path: Path) -> bool:
    content = path.read_bytes()
    return any(name.encode() in content for name in _own_names())


def _own_names() -> Iterator[str]:
    yield f"{Path.home()}/"
    yield "/tmp/"
    yield f"{Path.cwd().parent}/"
    if len(socket.gethostname()) >= 4:  # a shorter one is found anywhere
        yield socket.gethostname()


if __name__ == "__main__":
    main()
