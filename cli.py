"""The commands: they parse options, call the library and print."""

import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

try:
    import click
except ModuleNotFoundError:
    sys.exit("The packages are not installed. Run 'make setup', then '. .venv/bin/activate'.")

from search.config import DEFAULT_MAX_PARAMS, LARGEST_MAX_PARAMS, MAX_EPOCHS, SMALLEST_MAX_PARAMS

if TYPE_CHECKING:
    from search.runner import Compute, Space

Command = TypeVar("Command", bound=Callable[..., Any])

EXIT_ERROR, EXIT_NOT_CONFIRMED, EXIT_INTERRUPTED = 1, 3, 130
HELP_WIDTH = 100


class Group(click.Group):
    """Turns the library's errors into one line and the exit code; a bug still shows its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
        except click.ClickException:
            raise
        except Exception as error:
            message = _explain(error)
            if message is None:
                raise
            raise click.ClickException(message) from error


@click.group(cls=Group, context_settings={"max_content_width": HELP_WIDTH, "show_default": True})
@click.version_option(package_name="tiny-mnist-search")
def cli() -> None:
    """Searches for a tiny MNIST network under a hard parameter budget, and proves the winner over fresh seeds.

    \b
    Example:
      python cli.py search --trials 50
      optuna-dashboard sqlite:///study.db
      python cli.py verify-best --seeds 5

    Exit codes: 0 success, 1 error, 2 wrong usage, 3 target not confirmed, 130 interrupted.
    """


class TargetType(click.ParamType[Decimal]):
    """A percentage, kept as written: it is compared exactly."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            percent = Decimal(str(value))
        except InvalidOperation:
            self.fail(f"{value!r} is not a number.", param, ctx)
        if not 0 < percent <= 100:
            self.fail(f"{value} is not a percentage above 0 and up to 100.", param, ctx)
        return percent


class SecondsType(click.ParamType[float]):
    """A duration like 90, 90s, 30m or 2h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        units = {"s": 1, "m": 60, "h": 3600}
        number, unit = (value[:-1], units[value[-1]]) if value[-1:] in units else (value, 1)
        try:
            seconds = float(number) * unit
        except ValueError:
            self.fail(f"{value!r} is not a duration. Write 90, 90s, 30m or 2h.", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail(f"{value!r} is not above 0.", param, ctx)
        return seconds


def shared_options(command: Command) -> Command:
    """The options that the commands which compute have in common."""
    options = [
        click.option("--data-dir", type=click.Path(path_type=Path), default="data", envvar="MNIST_DIR", show_envvar=True,
                     help="The folder that holds MNIST/raw/, or gets it."),
        click.option("--results-dir", type=click.Path(path_type=Path), default="results", help="Where records are written."),
        click.option("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]), default="auto",
                     help="auto: the first of cuda, mps and cpu that is there."),
        click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto",
                     help="auto: bf16 on a GPU that has it and on a CPU with AMX, else fp32."),
        click.option("--workers", type=WorkersType(), default="auto",
                     help="Processes that train in parallel; auto: one per CPU core, or per GPU."),
        click.option("--quiet", is_flag=True, help="No live view and no progress lines."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
    ]  # fmt: skip
    for option in reversed([*STORAGE_OPTIONS, *options]):
        command = option(command)
    return command


class WorkersType(click.ParamType[int | None]):
    """A number of processes; None for "auto"."""

    name = "auto|number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "auto" or value is None:
            return None
        number: int = click.IntRange(min=1).convert(value, param, ctx)
        return number


STORAGE_OPTIONS = [
    click.option("--storage", default="sqlite:///study.db", envvar="OPTUNA_STORAGE", show_envvar=True,
                 help="The database of the study, as a URL."),
    click.option("--study-name", default=None, help="The study.  [default: see above]", show_default=False),
]  # fmt: skip


@cli.command()
@click.option("--trials", type=click.IntRange(min=1), default=50, help="The study's total: an interrupted one is finished.")
@click.option("--dataset", type=click.Choice(["auto", "mnist", "sample"]), default="auto",
              help="mnist: files, else download; sample: 5,000 bundled digits; auto: mnist, else the sample.")
@click.option("--max-params", type=click.IntRange(SMALLEST_MAX_PARAMS, LARGEST_MAX_PARAMS), default=DEFAULT_MAX_PARAMS,
              help="The largest parameter count allowed.")
@click.option("--epochs", type=click.IntRange(1, MAX_EPOCHS), default=MAX_EPOCHS, help="Epochs of a trial that is not pruned.")
@click.option("--sampler", type=click.Choice(["tpe", "random"]), default="tpe", help="How configurations are proposed.")
@click.option("--pruner", type=click.Choice(["percentile", "none"]), default="percentile",
              help="percentile: after a warm-up, ends a trial in the worst quarter.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Decides all that is random, with one worker.")
@click.option("--timeout", type=SecondsType(), default=None, help="Start no trial after this time, like 30m or 2h.")
@shared_options
def search(  # fmt: skip
    trials: int, dataset: str, max_params: int, epochs: int, sampler: str, pruner: str, seed: int, timeout: float | None,
    storage: str, study_name: str | None, data_dir: Path, results_dir: Path, device: str, precision: str,
    workers: int | None, quiet: bool, as_json: bool,
) -> None:
    """Searches architecture and hyper-parameters, and goes on with the study that is there.

    The study's name defaults to data set, budget and epochs, as in mnist-7999p-15e. Ctrl-C ends after the running
    epoch and loses nothing: the same command goes on. A second Ctrl-C ends at once.

    \b
    Example:
      python cli.py search --trials 50
      python cli.py search --trials 20 --epochs 5 --max-params 3999 --study-name small
    """  # noqa: D301
    from search.console import LiveView, search_summary
    from search.runner import SearchOptions, run_search

    options = SearchOptions(
        trials=trials, dataset=dataset, data_dir=data_dir, storage_url=storage, study_name=study_name,
        max_params=max_params, epochs=epochs, sampler=sampler, pruner=pruner, seed=seed, timeout=timeout,
        results_dir=results_dir, compute=_compute(device, precision, workers),
    )  # fmt: skip
    ended = run_search(options, _space(), LiveView(quiet=quiet))
    assert ended.facts is not None
    if as_json:
        _print_json(ended.facts)
    elif not quiet:
        for line in search_summary(ended.facts, trials):
            click.echo(line)
        click.echo(f"Next: {_next_command(ended.facts, trials, storage, study_name, data_dir, results_dir)}")
    if ended.interrupted:
        sys.exit(EXIT_INTERRUPTED)


@cli.command("verify-best")
@click.option("--seeds", type=click.IntRange(1, 10_000), default=5, help="How many fresh seeds; more extend what is there.")
@click.option("--first-seed", type=click.IntRange(0, 2**31 - 1 - 10_000), default=10_000, help="The first of them.")
@click.option("--trial", type=click.IntRange(min=0), default=None, help="The trial to verify.  [default: the best]",
              show_default=False)
@click.option("--target", type=TargetType(), default="99.4", help="The test accuracy that every seed has to reach.")
@shared_options
def verify_best(  # fmt: skip
    seeds: int, first_seed: int, trial: int | None, target: Decimal, storage: str, study_name: str | None,
    data_dir: Path, results_dir: Path, device: str, precision: str, workers: int | None, quiet: bool, as_json: bool,
) -> None:
    """Re-trains the winner over fresh seeds on all training digits, and judges it on the test digits.

    Takes the study that was last active, unless one is named. Exits with 3 when a seed misses the target.

    \b
    Example:
      python cli.py verify-best --seeds 5
      python cli.py verify-best --seeds 20 --trial 31 --json
    """  # noqa: D301
    from rich.console import Console

    from search.console import LiveView, print_verification
    from search.runner import VerifyOptions, run_verification

    options = VerifyOptions(
        seeds=seeds, first_seed=first_seed, trial=trial, target=target, data_dir=data_dir, storage_url=storage,
        study_name=study_name, results_dir=results_dir, compute=_compute(device, precision, workers),
    )  # fmt: skip
    ended = run_verification(options, _space(), LiveView(quiet=quiet))
    if ended.facts is None:
        click.echo("Interrupted: the finished seeds are kept, the same command goes on.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    if as_json:
        _print_json(ended.facts)
    else:
        print_verification(ended.facts, Console(highlight=False))
    if ended.facts["confirmed"] is False:
        sys.exit(EXIT_NOT_CONFIRMED)


@cli.command()
@STORAGE_OPTIONS[0]
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def status(storage: str, as_json: bool) -> None:
    """Lists the studies of a storage: trials, best, and trials whose worker has died.

    \b
    Example:
      python cli.py status
    """  # noqa: D301
    from rich.console import Console

    from search.console import print_studies
    from search.report import describe_study
    from search.storage import hide_password, open_storage
    from search.study import load_studies

    rows = [describe_study(study) for study in load_studies(open_storage(storage))]
    if as_json:
        _print_json({"storage": hide_password(storage), "studies": rows})
    else:
        print_studies(rows, Console(highlight=False))


def _space() -> "Space":
    import space
    from search.runner import Space

    return Space(suggest_config=space.suggest_config, reference=space.REFERENCE, path=Path(space.__file__))


def _compute(device: str, precision: str, workers: int | None) -> "Compute":
    from search.runner import Compute

    return Compute(device=device, precision=None if precision == "auto" else precision, workers=workers)


def _next_command(  # fmt: skip
    facts: dict[str, Any], trials: int, storage: str, study_name: str | None, data_dir: Path, results_dir: Path
) -> str:
    """What to type next; works as printed, options that were given included."""
    given = []
    for option, value, default in (
        ("--storage", storage, "sqlite:///study.db"),
        ("--study-name", study_name, None),
        ("--data-dir", data_dir, Path("data")),
        ("--results-dir", results_dir, Path("results")),
    ):
        if value != default:
            given += [option, str(value)]
    import shlex

    if facts["trials"]["total"] < trials or facts["best"] is None:
        return "the same command goes on."
    return shlex.join(["python", "cli.py", "verify-best", "--seeds", "5", *given])


def _print_json(facts: dict[str, Any]) -> None:
    import json

    click.echo(json.dumps(facts, indent=2))


def _explain(error: Exception) -> str | None:
    """The one line for an error that a user can mend; None for a bug."""
    name = f"{type(error).__module__}.{type(error).__name__}"
    known = {
        "search.data.DataError",
        "search.storage.StorageError",
        "search.study.StudyError",
        "search.workers.WorkerError",
    }
    if name in known or isinstance(error, ValueError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename or 'A file'}: {error.strerror or error}. Check that it can be written."
    if type(error).__module__.startswith(("sqlalchemy", "optuna.exceptions")):
        return f"The storage cannot be used ({str(error).splitlines()[0]}). Check --storage, and that it can be written."
    return None


def main() -> NoReturn:
    cli(prog_name="python cli.py")


if __name__ == "__main__":
    main()
