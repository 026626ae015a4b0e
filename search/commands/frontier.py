"""`frontier`: accuracy against parameters, every point of it proved."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from ..config import LARGEST_MAX_PARAMS, MAX_EPOCHS, MAX_SEEDS, MAX_TRIALS, SMALLEST_MAX_PARAMS, shortened
from ..settings import FrontierSettings
from .group import EXIT_INTERRUPTED
from .options import WholeNumber, dataset_option, percent, run_options, search_options, space_option
from .output import finish


def budgets(text: str) -> tuple[int, ...]:
    """Budgets, written like 1000,2000,7999."""
    words = text.split(",")
    if not all(word.isdecimal() and len(word) <= len(str(LARGEST_MAX_PARAMS)) for word in words):
        raise click.BadParameter(f"{shortened(text)} is not a list of budgets. Write 1000,2000,7999.")
    found = tuple(map(int, words))
    if not all(SMALLEST_MAX_PARAMS <= each <= LARGEST_MAX_PARAMS for each in found):
        raise click.BadParameter(f"a budget is a number from {SMALLEST_MAX_PARAMS} to {LARGEST_MAX_PARAMS}.")
    if list(found) != sorted(set(found)):
        raise click.BadParameter("name each budget once, the smallest first: 1000,2000,7999.")
    return found


DEFAULT_BUDGETS = ",".join(map(str, FrontierSettings.budgets))


@click.command()
@click.option(
    "--budgets",
    type=budgets,
    metavar="LIST",
    default=DEFAULT_BUDGETS,
    help="Parameter budgets, the smallest first. All that were ever asked for are shown.",
)
@click.option(
    "--trials", type=WholeNumber(1, MAX_TRIALS), default=FrontierSettings.trials, help="Trials at each budget."
)
@click.option(
    "--seeds", type=WholeNumber(1, MAX_SEEDS), default=FrontierSettings.seeds, help="Seeds of each budget's proof."
)
@dataset_option("As with search.")
@click.option(
    "--epochs", type=WholeNumber(1, MAX_EPOCHS), default=FrontierSettings.epochs, help="Epochs of an unpruned trial."
)
@partial(search_options, fewest_reranked=1)  # re-ranking names the winners that are proved
@click.option("--target", type=percent, help="As with verify-best.")
@space_option
@run_options
def frontier(space: Path | None, quiet: bool, as_json: bool, **given: Any) -> None:
    """Draws accuracy against parameters, every point proved.

    At each budget it searches, and proves the winner. Each search tries what the one before has found. All searches end
    before the first test image is seen. Each is an ordinary study, called like mnist-2000p-15e. The same command goes
    on where it was.

    \b
    Example:
      python cli.py frontier --budgets 1000,2000,4000,7999 --trials 50 --seeds 20
    """
    from ..runs.tracing import run_frontier
    from ..show.frontier import frontier_report
    from ..show.live import LiveScreen
    from ..studies.space import load_space

    ended = run_frontier(FrontierSettings(**given), load_space(space), LiveScreen(quiet=quiet))
    finish(ended, frontier_report, quiet=quiet, as_json=as_json)
    if ended.interrupted:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
