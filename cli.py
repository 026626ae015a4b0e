"""The commands: they call the library with what was typed, and print."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import click
except ModuleNotFoundError:
    sys.exit("The packages are not installed. Run 'make setup', then '. .venv/bin/activate'.")

from search.arguments import (
    EXIT_INTERRUPTED,
    Group,
    OneLineUsageError,
    compute_options,
    duration,
    json_option,
    percent,
    storage_option,
)
from search.config import DEFAULT_MAX_PARAMS, LARGEST_MAX_PARAMS, MAX_EPOCHS, SMALLEST_MAX_PARAMS

if TYPE_CHECKING:
    from search.options import Ended, Space

EXIT_NOT_CONFIRMED = 3


@click.group(cls=Group, context_settings={"max_content_width": 100, "show_default": True})
@click.version_option(package_name="tiny-mnist-search")
def cli() -> None:
    """Searches for a tiny MNIST network under a hard parameter budget, and proves it over fresh seeds.

    \b
    Example:
      python cli.py search --trials 50
      optuna-dashboard sqlite:///study.db
      python cli.py verify-best --seeds 5

    Exit codes: 0 success, 1 error, 2 wrong usage, 3 not confirmed or not reproduced, 130 interrupted.
    """


@cli.command()
@click.option("--trials", type=click.IntRange(min=1), default=50, help="The study's total, what is done included.")
@click.option(
    "--dataset",
    type=click.Choice(["auto", "mnist", "sample"]),
    default="auto",
    help="mnist: files, else download; sample: 5,000 bundled digits; auto: mnist, else the sample.",
)
@click.option(
    "--max-params",
    type=click.IntRange(SMALLEST_MAX_PARAMS, LARGEST_MAX_PARAMS),
    default=DEFAULT_MAX_PARAMS,
    help="The largest parameter count allowed.",
)
@click.option("--epochs", type=click.IntRange(1, MAX_EPOCHS), default=MAX_EPOCHS, help="Epochs of an unpruned trial.")
@click.option("--sampler", type=click.Choice(["tpe", "random"]), default="tpe", help="What proposes configurations.")
@click.option(
    "--pruner",
    type=click.Choice(["percentile", "none"]),
    default="percentile",
    help="percentile: after a warm-up, ends trials that are in the lowest quarter of the complete ones.",
)
@click.option(
    "--rerank", type=click.IntRange(min=0), default=5, help="Leading trials run twice more in the end; 0: none."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="With one worker, decides the whole search.")
@click.option("--timeout", type=duration, help="Start no further trial or run after this time: 90, 90s, 30m or 2h.")
@click.option("--study-name", help="Default: data set, budget and epochs, like mnist-7999p-15e.")
@compute_options
def search(quiet: bool, as_json: bool, **given: Any) -> None:
    """Searches architecture and hyper-parameters, and re-ranks the best; an interrupted study goes on where it was.

    Ctrl-C ends after the running epoch, a second one at once. The same command then goes on, and tries what was
    cut off again.

    \b
    Example:
      python cli.py search --trials 50
      python cli.py search --trials 20 --epochs 5 --max-params 3999
    """
    from search.console import LiveView
    from search.options import SearchOptions
    from search.runner import run_search
    from search.summaries import search_summary

    ended = run_search(SearchOptions(**given), _space(), LiveView(quiet=quiet))
    assert ended.facts is not None
    if as_json:
        click.echo(json.dumps(ended.facts, indent=2))
    elif not quiet:
        click.echo("\n".join(search_summary(ended.facts, given["trials"])))
        click.echo(f"Next: {_next_command(ended.facts, given['trials'], given['rerank'])}")
    if ended.interrupted:
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


@cli.command()
@click.option("--seeds", type=click.IntRange(1, 10_000), default=5, help="How many; asking for more extends.")
@click.option(
    "--first-seed",
    type=click.IntRange(0, 2**31 - 1 - 10_000),
    help="The first of them. Default: those of the trial's last attempt, else from 10000 on the next thousand that is "
    "free; with --from, the recorded ones.",
)
@click.option("--trial", type=click.IntRange(min=0), help="The trial to verify; default: the winner.")
@click.option("--target", type=percent, default="99.4", help="The test accuracy that every seed has to reach.")
@click.option("--study-name", help="Default: the search that was last active, of those with a complete trial.")
@click.option(
    "--from", "place", type=click.Path(path_type=Path), help="Repeat the proof recorded in this folder or file."
)
@compute_options
def verify_best(quiet: bool, as_json: bool, place: Path | None, **given: Any) -> None:
    """Re-trains the winner over fresh seeds on all training digits, and judges it on the test digits.

    Exits with 3 when a seed misses the target. On the bundled sample nothing is judged, and it exits with 0.

    With --from, a recorded winner is trained anew without its study, with the recorded seeds or those from
    --first-seed on, and compared with the record; exits with 3 when they do not agree.

    \b
    Example:
      python cli.py verify-best --seeds 5
      python cli.py verify-best --seeds 20 --trial 31 --json
      python cli.py verify-best --from results/reference --seeds 2
    """
    from search.console import LiveView
    from search.options import ReproduceOptions, VerifyOptions
    from search.proofs import run_reproduction, run_verification
    from search.summaries import reproduction_report, verification_report

    view = LiveView(quiet=quiet)
    if place is None:
        ended = run_verification(VerifyOptions(**given), _space(), view)
        facts = _finish(ended, verification_report, quiet=quiet, as_json=as_json)
        if facts["confirmed"] is False:
            raise click.exceptions.Exit(EXIT_NOT_CONFIRMED)
        return
    for name in ("trial", "target", "study_name"):
        if _is_given(name):
            raise OneLineUsageError(f"--from repeats what is recorded: leave --{name.replace('_', '-')} out.")
    shared = {name: value for name, value in given.items() if name not in ("trial", "target")}
    options = ReproduceOptions(**shared, place=place)
    facts = _finish(run_reproduction(options, _space(), view), reproduction_report, quiet=quiet, as_json=as_json)
    if facts["reproduced"] is False:
        raise click.exceptions.Exit(EXIT_NOT_CONFIRMED)


@cli.command()
@click.option("--seeds", type=click.IntRange(1, 100), default=3, help="Runs of every rung; asking for more extends.")
@click.option("--trial", type=click.IntRange(min=0), help="The trial to take apart; default: the winner.")
@click.option("--study-name", help="Default: the search that was last active, of those with a complete trial.")
@compute_options
def ablate(quiet: bool, as_json: bool, **given: Any) -> None:
    """Takes the winner's recipe apart: what batch norm, dropout and augmentation earn, on the test digits.

    Each is added to a plain network in turn, and each is left out of the full recipe alone. Picks nothing.

    \b
    Example:
      python cli.py ablate --seeds 3
    """
    from search.console import LiveView
    from search.options import AblateOptions
    from search.proofs import run_ablation
    from search.summaries import ladder_table

    ended = run_ablation(AblateOptions(**given), _space(), LiveView(quiet=quiet))
    _finish(ended, ladder_table, quiet=quiet, as_json=as_json)


@cli.command()
@storage_option
@json_option
def status(storage: str, as_json: bool) -> None:
    """Lists the studies of a storage: their trials, the best, and trials whose worker has died.

    \b
    Example:
      python cli.py status
      python cli.py status --storage sqlite:///other.db --json
    """
    from search.report import describe_study
    from search.storage import hide_password, open_storage
    from search.study import load_studies
    from search.summaries import studies_table

    database = open_storage(storage)
    rows = [describe_study(study, database) for study in load_studies(database)]
    if as_json:
        click.echo(json.dumps({"storage": hide_password(storage), "studies": rows}, indent=2))
    else:
        _print(studies_table(rows))


def _finish(ended: "Ended", report: Callable[[dict[str, Any]], Any], *, quiet: bool, as_json: bool) -> dict[str, Any]:
    """Prints a record, and returns it; ends here where the command was interrupted."""
    if ended.facts is None:
        click.echo("Interrupted. Finished runs are kept: the same command goes on.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    if as_json:
        click.echo(json.dumps(ended.facts, indent=2))
    elif not quiet:
        _print(report(ended.facts))
    return ended.facts


def _is_given(name: str) -> bool:
    """Whether an option was typed. What comes from the environment will come from there again."""
    return click.get_current_context().get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE


def _space() -> "Space":
    import space
    from search.options import Space

    return Space(suggest_config=space.suggest_config, reference=space.REFERENCE, path=Path(space.__file__))


def _next_command(facts: dict[str, Any], num_trials: int, num_reranked: int) -> str:
    """What to type next; works as printed, with the options that were typed."""
    reranked = facts["rerank"] is not None and facts["rerank"]["finished"]
    if facts["trials"]["total"] < num_trials or (num_reranked and facts["best"] is not None and not reranked):
        return "the same command goes on."
    if facts["best"] is None:
        return "every trial was pruned: ask for more --trials."
    words = ["python", "cli.py", "verify-best", "--seeds", "5"]
    for name in ("storage", "study_name", "data_dir", "results_dir"):
        if _is_given(name):  # else it may come from the environment, and hold a password
            words += [f"--{name.replace('_', '-')}", str(click.get_current_context().params[name])]
    return shlex.join(words)


def _print(renderable: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(renderable, soft_wrap=not console.is_terminal)


if __name__ == "__main__":
    cli(prog_name="python cli.py")
