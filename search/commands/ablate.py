"""`ablate`: takes the winner's recipe apart."""

from pathlib import Path
from typing import Any

import click

from ..settings import AblateSettings
from .options import WholeNumber, run_options, space_option, study_name_option, trial_option
from .output import finish


@click.command()
@click.option(
    "--seeds",
    type=WholeNumber(1, 100),
    default=AblateSettings.seeds,
    help="Runs of every rung. Asking for more later adds to them.",
)
@trial_option("take apart")
@study_name_option
@space_option
@run_options
def ablate(space: Path | None, quiet: bool, as_json: bool, **given: Any) -> None:
    """Tells what each part of the winner's recipe earns.

    Batch norm, dropout and augmentation are added to a plain network in turn, and each is left out of the full recipe
    alone. All are measured on the test images, for the record: nothing is picked by it.

    \b
    Example:
      python cli.py ablate --seeds 3
    """
    from ..runs.ablating import run_ablation
    from ..show.ladder import ladder_table
    from ..show.live import LiveScreen
    from ..studies.space import load_space

    finish(
        run_ablation(AblateSettings(**given), load_space(space), LiveScreen(quiet=quiet)),
        ladder_table,
        quiet=quiet,
        as_json=as_json,
    )
