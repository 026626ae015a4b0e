"""How commands print: a record as JSON or for people, and what to type next."""

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..config import PROGRAM, printable
from .group import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from ..proof.parts import Record
    from ..runs.session import Ended

NO_LIMIT = 10_000  # columns

RecordType = TypeVar("RecordType", bound="Record")


def finish(
    ended: "Ended[RecordType]", report: Callable[[RecordType], Any], *, quiet: bool, as_json: bool
) -> RecordType:
    """Prints a record, and returns it; ends here where the command was interrupted."""
    if ended.record is None:
        click.echo("Interrupted. Finished runs are kept: the same command goes on.", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED)
    if as_json:
        click.echo(ended.record.to_json(), nl=False)
    elif not quiet:
        for path in ended.files:
            click.echo(printable(f"Written: {path}"))
        show(report(ended.record))
    return ended.record


def show(renderable: Any) -> None:
    """On a terminal wrapped between words; elsewhere a sentence is a line, and so is a row of a table."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = NO_LIMIT
    console.print(_Printable(renderable), soft_wrap=not console.is_terminal)


class _Printable:
    """Something to show, without what would steer the terminal: names may come from a database that others fill."""

    def __init__(self, renderable: Any) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from rich.segment import Segment

        for text, style, control in console.render(self._renderable, options):
            lines = [text] if control else map(printable, text.split("\n"))  # a sentence is wrapped to several
            yield Segment("\n".join(lines), style, control)


def command_line(*words: str, repeated: tuple[str, ...] = ()) -> str:
    """A command as it can be typed in the shell that this one was typed in, with the options that were typed.

    Args:
        repeated: Options to repeat. What comes from the environment will come from there again. A storage whose URL
            holds a secret is not repeated: a comment says so.
    """
    from ..studies.urls import UNTOLD, holds_secret

    context = click.get_current_context()
    program = [_python(), _script()] if PROGRAM.endswith("cli.py") else [PROGRAM]
    line, comment = [*program, *words], ""
    for name in repeated:
        if context.get_parameter_source(name) != click.core.ParameterSource.COMMANDLINE:
            continue
        value = str(context.params[name])
        if name == "storage" and holds_secret(value):
            comment = f"  # {UNTOLD}"
        else:
            line += [f"--{name.replace('_', '-')}", value]
    return shlex.join(line) + comment


def _script() -> str:
    """This script as it was typed: it may have been called from another folder."""
    return sys.argv[0] if Path(sys.argv[0]).name == "cli.py" else "cli.py"


def _python() -> str:
    """What this shell calls this Python: not everybody has activated the environment."""
    on_path = shutil.which("python")
    if on_path is not None and Path(on_path).parent.samefile(Path(sys.executable).parent):
        return "python"
    here = Path.cwd()
    executable = Path(sys.executable)
    return str(executable.relative_to(here)) if executable.is_relative_to(here) else str(executable)
