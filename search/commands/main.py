"""All commands together."""

import os
import signal

import click

from ..config import CHECKOUT_PROGRAM, DISTRIBUTION, PROGRAM
from .ablate import ablate
from .delete import delete
from .export import export
from .frontier import frontier
from .group import Group
from .predict import predict
from .report import report
from .reproduce import reproduce
from .search import search
from .status import status
from .verify_best import verify_best

COMPLETION = "_TINY_MNIST_SEARCH_COMPLETE"  # the variable by which shells ask for completions
COMMANDS = (search, verify_best, reproduce, ablate, frontier, report, export, predict, status, delete)


@click.group(cls=Group, context_settings={"max_content_width": 100, "show_default": True})
@click.version_option(package_name=DISTRIBUTION)
def cli() -> None:
    """Searches for a tiny MNIST network under a hard parameter budget, and proves it over fresh seeds.

    \b
    Example:
      python cli.py search --trials 50
      optuna-dashboard sqlite:///study.db --artifact-dir results/artifacts
      python cli.py verify-best --seeds 5

    Exit codes: 0 success, 1 error, 2 wrong usage, 3 not confirmed or not reproduced, 130 interrupted.
    """


for command in COMMANDS:
    cli.add_command(command)
cli.help = str(cli.help).replace(CHECKOUT_PROGRAM, PROGRAM)


def main() -> None:
    """What `python cli.py` does, and the installed command, which is the one that shells complete."""
    try:
        cli(prog_name=DISTRIBUTION if COMPLETION in os.environ else PROGRAM, complete_var=COMPLETION)
    except SystemExit:  # all is said: a further Ctrl-C would make the libraries that tidy up print their tracebacks
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise
