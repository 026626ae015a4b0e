"""The part of a page that shows every command's help text."""

import click

from cli import cli
from search.config import PROGRAM

WIDTH = 100


def help_texts() -> str:
    """What `--help` prints, of the program and of each command."""
    program = click.Context(cli, info_name=PROGRAM, terminal_width=WIDTH, **cli.context_settings)
    texts = [f"## All commands\n\n{_block(PROGRAM, cli.get_help(program))}"]
    for name, command in cli.commands.items():
        context = click.Context(
            command, info_name=name, parent=program, terminal_width=WIDTH, **command.context_settings
        )
        texts.append(f"## {name}\n\n{_block(f'{PROGRAM} {name}', command.get_help(context))}")
    return "\n".join(texts)


def _block(words: str, text: str) -> str:
    return f"```\n$ {words} --help\n{text}\n```\n"
