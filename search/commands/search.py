"""`search`: searches, re-ranks, and names the winner."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..config import (
    LARGEST_MAX_PARAMS,
    MAX_EPOCHS,
    MAX_TRIALS,
    SMALLEST_MAX_PARAMS,
    printable,
)
from ..net.datasets import AUTO_ORDER
from ..settings import SearchSettings, VerifySettings
from .group import EXIT_INTERRUPTED
from .options import WholeNumber, dataset_option, duration, run_options, search_options, space_option
from .output import command_line, show

if TYPE_CHECKING:
    from ..proof.summaries import StudySummary

DATASET_HELP = (
    f"Found in --data-dir, or downloaded; or a folder of one's own with four files like MNIST's. auto: {AUTO_ORDER[0]} "
    f"where it can be had, else the bundled {AUTO_ORDER[1]}."
)


@click.command()
@click.option(
    "--trials",
    type=WholeNumber(1, MAX_TRIALS),
    default=SearchSettings.trials,
    help="Trials in all, those done before included.",
)
@dataset_option(DATASET_HELP)
@click.option(
    "--max-params",
    type=WholeNumber(SMALLEST_MAX_PARAMS, LARGEST_MAX_PARAMS),
    default=SearchSettings.max_params,
    help="The largest parameter count allowed.",
)
@click.option(
    "--epochs",
    type=WholeNumber(1, MAX_EPOCHS),
    default=SearchSettings.epochs,
    help="Epochs of an unpruned trial.",
)
@search_options
@click.option("--timeout", type=duration, help="No trial or run starts after this time: 90, 90s, 30m or 2h.")
@click.option(
    "--patience",
    type=WholeNumber(1, MAX_TRIALS),
    help="Ends the search when so many trials in a row are no better; those under way are finished.",
)
@click.option(
    "--warm-start",
    metavar="STUDY",
    help="A new study tries that one's leading trials first, fitted to its own budget.",
)
@click.option("--study-name", help="Default: data set, budget and epochs, like mnist-7999p-15e.")
@space_option
@run_options
def search(space: Path | None, quiet: bool, as_json: bool, **given: Any) -> None:
    """Searches architecture and hyper-parameters.

    In the end the leading trials are run twice more, which decides the winner, and further runs tell what it has over
    the study's first trial. Ctrl-C ends the search after the running
    epoch, a second Ctrl-C at once. The same command goes on where it was, and tries again what was cut off.

    \b
    Example:
      python cli.py search --trials 50
      python cli.py search --trials 20 --epochs 5 --max-params 3999
    """
    from ..runs.searching import run_search
    from ..show.live import LiveScreen
    from ..show.study import search_report
    from ..studies.space import load_space

    settings = SearchSettings(**given)
    ended = run_search(settings, load_space(space), LiveScreen(quiet=quiet))
    summary = ended.record
    assert summary is not None
    if as_json:
        click.echo(summary.to_json(), nl=False)
    elif not quiet:
        show(search_report(summary, settings.trials, settings.results_dir / summary.study_name))
        for page in ended.files:
            click.echo(printable(f"Report: {page}"))
        click.echo(f"Next: {_next(summary, settings, interrupted=ended.interrupted)}")
    if ended.interrupted:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


def _next(summary: "StudySummary", settings: SearchSettings, *, interrupted: bool) -> str:
    """What to type next; works as printed, with the options that were typed, once a target is put in its place."""
    reranked = summary.reranking is not None and summary.reranking.finished
    to_rerank = settings.rerank > 0 and summary.best is not None and not reranked
    to_search = summary.trials.total < settings.trials and not summary.stalled
    if interrupted or to_search or to_rerank:
        return "the same command goes on."
    if summary.best is None:
        return "every trial was pruned: ask for more --trials."
    places = ("storage", "study_name", "data_dir", "results_dir", "space")
    target = ("--target", "PERCENT") if summary.target is None else ()  # for the user to say
    return command_line("verify-best", "--seeds", str(VerifySettings.seeds), *target, repeated=places)
