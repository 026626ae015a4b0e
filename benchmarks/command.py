"""What the command lines of the benchmarks have in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console, RenderableType

from benchmarks.records import MeasurementType, to_json
from search.commands.group import EXIT_INTERRUPTED
from search.config import ExplainedError
from search.net.datasets import DATASETS
from search.settings import AUTO, RunSettings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Benchmark(click.Command):
    """A command that tells in one line what the user can mend, and says with its exit code that it was interrupted."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ExplainedError as error:
            raise click.ClickException(str(error)) from error
        except FileNotFoundError as error:
            raise click.ClickException(f"{error.filename} is missing.") from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


def data_options(command: Decorated) -> Decorated:
    """Which digits are measured on, and where they are."""
    command = click.option(
        "--data-dir", type=click.Path(path_type=Path), default=RunSettings.data_dir, envvar="MNIST_DIR"
    )(command)
    return click.option("--dataset", type=click.Choice([AUTO, *DATASETS]), default=AUTO, show_default=True)(command)


def tell(message: str) -> None:
    """Tells on stderr how far a measurement is, or what it does without."""
    Console(stderr=True, highlight=False).print(message, soft_wrap=True)


def finish(measurement: MeasurementType, report: Callable[[MeasurementType], RenderableType], *, as_json: bool) -> None:
    """Prints the record as JSON, or for people."""
    if as_json:
        click.echo(to_json(measurement))
    else:
        Console().print(report(measurement))
