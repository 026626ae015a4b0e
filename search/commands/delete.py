"""`delete`: removes a search and the studies that followed it."""

import sys

import click

from ..config import ExplainedError, printable
from .options import storage_option


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@storage_option
def delete(name: str, yes: bool, storage: str) -> None:
    """Deletes a search and what followed it from the storage.

    Lists these studies (the search NAME, its re-ranking, verifications, ablations and reproductions), and asks. Records
    and models in the results folder stay, and so does what the studies have seen of the test images: it still counts.

    \b
    Example:
      python cli.py delete mnist-7999p-15e
    """
    from ..runs.history import delete_and_remember
    from ..show.words import plural
    from ..studies.finding import studies_to_delete
    from ..studies.storage import open_storage
    from ..studies.study import BEGUN, StoredStudy

    opened = open_storage(storage)
    names = studies_to_delete(opened, name)
    for each in names:
        click.echo(f"{printable(each)}: {plural(len(StoredStudy.load(opened, each).trials(BEGUN)), 'trial')}")
    if not yes:
        if not sys.stdin.isatty():
            raise ExplainedError("This would delete what is listed above. Nobody can be asked here: use --yes.")
        if not click.confirm("Delete them, with all their trials?"):
            click.echo("Nothing was deleted.")
            raise click.exceptions.Exit(1)
    delete_and_remember(opened, names)
    click.echo("Deleted.")
