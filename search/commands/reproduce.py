"""`reproduce`: repeats a recorded proof."""

from pathlib import Path
from typing import Any

import click

from ..config import LARGEST_FIRST_SEED, MAX_SEEDS
from ..settings import ReproduceSettings
from .group import EXIT_NOT_CONFIRMED
from .options import WholeNumber, run_options
from .output import finish


@click.command()
@click.argument("place", type=click.Path(path_type=Path))
@click.option("--seeds", type=WholeNumber(1, MAX_SEEDS), default=ReproduceSettings.seeds, help="How many seeds.")
@click.option(
    "--first-seed",
    type=WholeNumber(0, LARGEST_FIRST_SEED),
    help="The first of them. Default: the first one in the record.",
)
@run_options
def reproduce(quiet: bool, as_json: bool, **given: Any) -> None:
    """Repeats a recorded proof, and compares the two.

    PLACE is a folder that verify-best has written to, or a record in it. The study that it came from is not needed.
    On a CPU, seeds recorded in fp32 should make the very same errors; those of recipes before 6 only on the same type
    of CPU. Elsewhere, and with other seeds, the mean should lie within the interval that the recorded spread predicts.

    Exits with 3 when what was repeated does not agree with the record.

    \b
    Example:
      python cli.py reproduce results/reference --seeds 2
      python cli.py reproduce results/reference --first-seed 50000
    """
    from ..runs.reproducing import run_reproduction
    from ..show.live import LiveScreen
    from ..show.reproduction import reproduction_report
    from ..studies.space import load_space

    ended = run_reproduction(ReproduceSettings(**given), load_space(), LiveScreen(quiet=quiet))
    if finish(ended, reproduction_report, quiet=quiet, as_json=as_json).reproduced is False:
        raise click.exceptions.Exit(EXIT_NOT_CONFIRMED)
