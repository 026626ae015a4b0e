"""Errors in one line, and exit codes: what is wrong, and how to mend it. A bug still shows its traceback."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import click

from ..config import CHECKOUT_PROGRAM, DISTRIBUTION, IN_CHECKOUT, PACKAGE_NAMES, PROGRAM, ExplainedError, printable

EXIT_NOT_CONFIRMED = 3
EXIT_INTERRUPTED = 130


class OneLineUsageError(click.ClickException):
    """Wrong usage in one line; click alone would print four."""

    exit_code = 2


class Group(click.Group):
    """Turns what a user can mend into one line and an exit code."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        super().add_command(cmd, name)
        if cmd.help is not None:  # its examples are typed as this program is
            cmd.help = cmd.help.replace(CHECKOUT_PROGRAM, PROGRAM)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of their use, not of the alphabet

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
        click.echo("Interrupted. What was finished is kept: repeat the command to go on.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except click.Abort:  # at a question
        click.echo("Interrupted.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else PROGRAM
        words = error.format_message()
        words += "" if words.endswith((".", "?")) else "."
        raise OneLineUsageError(f"{printable(words)}{_hint(error)} See '{command} --help'.") from error
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise click.ClickException(printable(message)) from error


def _hint(error: click.UsageError) -> str:
    """How this command is told of a study, to whoever tells it as another one is told."""
    if error.ctx is None:
        return ""
    takes = {param.name: param for param in error.ctx.command.params}
    if "study_name" in takes and error.format_message().startswith("Got unexpected extra argument"):
        return " Name a study with --study-name."
    if isinstance(takes.get("name"), click.Argument) and "--study-name" in error.format_message():
        return f" Name the study without an option: {error.ctx.info_name} NAME."
    return ""


def explain(error: Exception) -> str | None:
    """The one line for an error that a user can mend; None for any other."""
    if isinstance(error, ExplainedError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] not in (*PACKAGE_NAMES, "space"):
        return missing_package(str(error.name))
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return (
            f"{error.filename2 or error.filename or 'A file'} cannot be used ({error.strerror or error}). See that it "
            f"is there, that you may read and write it, and that the disk has room."
        )
    if type(error).__module__.startswith(("sqlalchemy.", "optuna.exceptions")):
        cause = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
        return f"The storage cannot be used ({cause}). Check --storage, and that it can be written."
    return None


def missing_package(name: str) -> str:
    """For whoever runs the tool with a Python that it was not set up for."""
    missing = f"The package {name.partition('.')[0]!r} is not installed for {sys.executable}."
    if not IN_CHECKOUT:
        return f"{missing} Install {DISTRIBUTION} there anew."
    return f"{missing} Run 'make setup', then '.venv/bin/python cli.py ...', or '. .venv/bin/activate' first."
