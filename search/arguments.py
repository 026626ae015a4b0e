"""What all commands share at the command line: options, their values, and errors in one line."""

import contextlib
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import click

from search.config import ExplainedError

Command = TypeVar("Command", bound=Callable[..., Any])

EXIT_INTERRUPTED = 130
DEFAULT_STORAGE = "sqlite:///study.db"


class OneLineUsageError(click.ClickException):
    """Wrong usage in one line; click alone would print four."""

    exit_code = 2


class Group(click.Group):
    """Turns what a user can mend into one line and an exit code; a bug still shows its traceback."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _explained():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _explained():
            return super().invoke(ctx)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "python cli.py"
        raise OneLineUsageError(f"{error.format_message()} See '{command} --help'.") from error
    except Exception as error:
        message = _explain(error)
        if message is None:
            raise
        raise click.ClickException(message) from error


def _explain(error: Exception) -> str | None:
    """The one line for an error that a user can mend; None for any other."""
    if isinstance(error, ExplainedError):
        return str(error)
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return f"{error.filename or 'A file'} cannot be used ({error.strerror or error})."
    if type(error).__module__.startswith(("sqlalchemy.", "optuna.exceptions")):
        cause = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
        return f"The storage cannot be used ({cause}). Check --storage, and that it can be written."
    return None


def percent(text: str) -> Decimal:
    """A percentage, kept as it was written, since it is compared exactly."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise click.BadParameter(f"{text!r} is not a number.") from None
    if not value.is_finite() or not 1 < value <= 100:
        raise click.BadParameter(f"{text} is not a percentage above 1 and up to 100. Write 99.4, not 0.994.")
    return value


def duration(text: str) -> float:
    """Seconds, written like 90, 90s, 30m or 2h."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a duration. Write 90, 90s, 30m or 2h.") from None
    if not 0 < seconds < float("inf"):
        raise click.BadParameter(f"{text!r} is not a time above 0.")
    return seconds


def auto_or_count(text: str) -> int | None:
    """A number of processes; None for "auto"."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither 'auto' nor a number of 1 or more.")
    return int(text)


def storage_option(command: Command) -> Command:
    """The one option that all commands have."""
    return click.option(
        "--storage", default=DEFAULT_STORAGE, envvar="OPTUNA_STORAGE", show_envvar=True, help="The database, as a URL."
    )(command)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(command)


def compute_options(command: Command) -> Command:
    """What the commands that compute have in common."""
    folder = click.Path(path_type=Path)
    device_help = "auto: the first of cuda, mps and cpu that is there."
    precision_help = "auto: bf16 on a GPU that has it and on a CPU with AMX, else fp32."
    workers_help = "Processes that train at once; auto: one per CPU core, several per GPU, one on mps."
    for option in (
        json_option,
        click.option("--quiet", is_flag=True, help="No live view, no progress, no summary."),
        click.option("--workers", type=auto_or_count, metavar="auto|N", default="auto", help=workers_help),
        click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto", help=precision_help),
        click.option("--device", type=click.Choice(["auto", "cuda", "mps", "cpu"]), default="auto", help=device_help),
        click.option("--results-dir", type=folder, default="results", help="Where records are written."),
        click.option(
            "--data-dir",
            type=folder,
            default="data",
            envvar="MNIST_DIR",
            show_envvar=True,
            help="The folder that holds MNIST/raw/, or gets it.",
        ),
        storage_option,
    ):
        command = option(command)
    return command
