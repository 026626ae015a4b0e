"""`report`: the page of a study."""

from pathlib import Path
from typing import Any

import click

from ..config import printable
from ..settings import RunSettings
from .options import place_options, space_option, study_name_option


@click.command()
@click.option("--figures", is_flag=True, help="Write the page's figures as PNG, too.")
@study_name_option
@space_option
@place_options
def report(figures: bool, space: Path | None, **given: Any) -> None:
    """Writes a study's page.

    It says what was found, why to believe it, and what to do next. It is one file that asks nothing of the network:
    results/NAME/report.html. Search, proof and ladder write it by themselves; this writes it anew, of an unfinished
    study as well.

    \b
    Example:
      python cli.py report
      python cli.py report --study-name mnist-2000p-15e --figures
    """
    from ..runs.pages import write_report
    from ..show.live import LiveScreen
    from ..studies.space import load_space

    for path in write_report(RunSettings(**given), load_space(space), LiveScreen(), with_figures=figures):
        click.echo(printable(f"Written: {path}"))
