"""The command line: `python cli.py COMMAND`. Each command is a file in `search/commands/`."""

import sys

try:
    from search.commands.main import cli, main
except ModuleNotFoundError as error:
    sys.exit(
        f"The package {error.name!r} is not installed for {sys.executable}. Run 'make setup', then "
        f"'.venv/bin/python cli.py ...', or '. .venv/bin/activate' first."
    )

__all__ = ["cli"]

if __name__ == "__main__":
    main()
