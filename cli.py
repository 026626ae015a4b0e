"""The command line: `python cli.py COMMAND`. Each command is a file in `search/commands/`."""

import sys

try:
    import click

    from search.commands.ablate import ablate
    from search.commands.delete import delete
    from search.commands.export import export
    from search.commands.frontier import frontier
    from search.commands.group import PROGRAM, Group
    from search.commands.predict import predict
    from search.commands.report import report
    from search.commands.reproduce import reproduce
    from search.commands.search import search
    from search.commands.status import status
    from search.commands.verify_best import verify_best
except ModuleNotFoundError as error:
    sys.exit(
        f"The package {error.name!r} is not installed for {sys.executable}. Run 'make setup', then "
        f"'.venv/bin/python cli.py ...', or '. .venv/bin/activate' first."
    )


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


for command in (search, verify_best, reproduce, ablate, frontier, report, export, predict, status, delete):
    cli.add_command(command)

if __name__ == "__main__":
    cli(prog_name=PROGRAM)
