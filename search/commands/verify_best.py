"""`verify-best`: proves the winner over fresh seeds."""

from pathlib import Path
from typing import Any

import click

from ..config import LARGEST_FIRST_SEED, MAX_SEEDS
from ..net.datasets import DATASETS
from ..settings import VerifySettings
from .group import EXIT_NOT_CONFIRMED
from .options import WholeNumber, percent, run_options, space_option, study_name_option, trial_option
from .output import finish

TARGETS = ", ".join(f"{row.target} for {row.name}" for row in DATASETS.values() if row.judged and row.target)


@click.command()
@click.option(
    "--seeds",
    type=WholeNumber(1, MAX_SEEDS),
    default=VerifySettings.seeds,
    help="How many. Asking for more later extends the attempt.",
)
@click.option(
    "--first-seed",
    type=WholeNumber(0, LARGEST_FIRST_SEED),
    help="The first of them. Default: that of the trial's last attempt, else the first free thousand from 10000 on.",
)
@trial_option("verify")
@click.option(
    "--target",
    type=percent,
    help=f"The test accuracy that every seed has to reach, in percent. Default: {TARGETS}; for others, name it.",
)
@study_name_option
@space_option
@run_options
def verify_best(space: Path | None, quiet: bool, as_json: bool, **given: Any) -> None:
    """Proves the winner over fresh seeds, on the test images.

    Trains it anew with each seed, on all training images. Exits with 3 when a seed misses the target. On the bundled
    sample nothing is judged, and it exits with 0.

    \b
    Example:
      python cli.py verify-best --seeds 5
      python cli.py verify-best --seeds 20 --trial 31 --json
    """
    from ..runs.proving import run_verification
    from ..show.live import LiveScreen
    from ..show.proof import proof_report
    from ..studies.space import load_space

    ended = run_verification(VerifySettings(**given), load_space(space), LiveScreen(quiet=quiet))
    if finish(ended, proof_report, quiet=quiet, as_json=as_json).confirmed is False:
        raise click.exceptions.Exit(EXIT_NOT_CONFIRMED)
