"""Copies a study's database and records to where they are committed, without what is of this machine alone.

python -m tools.keep study.db results results/frontier

Of a frontier, its own record comes first, and each budget's records have a folder. Run it again whenever more is known.
"""

import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import click

from search.settings import FRONTIER_RECORD, SUMMARY

KEPT = ("summary.json", "trials.csv", "verify*.json", "verify*.md", "verify*.safetensors", "attempts.jsonl")
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
@click.option("--within", type=click.Path(path_type=Path), multiple=True, help="What lies here is named without it.")
def main(database: Path, results_dir: Path, target: Path, within: tuple[Path, ...]) -> None:
    """Copies a study's database and records, without what is of this machine alone."""
    folders = [f"{path.resolve()}/" for path in (database.parent, results_dir.parent, *within)]
    target.mkdir(parents=True, exist_ok=True)
    keep_records(results_dir, target, folders)
    keep_database(database, target / DATABASE, folders)
    named = sorted(str(path) for path in target.rglob("*") if path.is_file() and _names_this_machine(path))
    if named:
        raise click.ClickException(f"These name this machine or a folder of it: {', '.join(named)}.")
    click.echo(f"Kept in {target}.")


def keep_records(results_dir: Path, target: Path, folders: list[str]) -> None:
    for folder in sorted(path for path in results_dir.iterdir() if path.is_dir()):
        if (folder / FRONTIER_RECORD).exists():
            for name in OF_A_FRONTIER:
                shutil.copy(folder / name, target)
        elif (folder / SUMMARY).exists():
            (target / folder.name).mkdir(exist_ok=True)
            for path in (path for pattern in KEPT for path in folder.glob(pattern)):
                content = path.read_bytes()
                for name in folders if path.suffix in TEXTS else ():
                    content = content.replace(name.encode(), b"")
                (target / folder.name / path.name).write_bytes(content)


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
