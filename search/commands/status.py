"""`status`: lists the studies of a storage."""

import click

from search.commands.options import json_option, storage_option
from search.commands.output import show


@click.command()
@storage_option
@json_option
def status(storage: str, as_json: bool) -> None:
    """Lists the studies of a storage.

    How their trials ended, the best of a search, and the trials whose worker has died.

    \b
    Example:
      python cli.py status
      python cli.py status --storage sqlite:///other.db --json
    """
    from search.show.status import describe_storage, studies_table
    from search.studies.storage import open_storage

    found = describe_storage(open_storage(storage))
    if as_json:
        click.echo(found.to_json(), nl=False)
    else:
        show(studies_table(found))
