"""Runs the command line in this process, and looks at how it refuses."""

from pathlib import Path

from click.testing import CliRunner, Result

from cli import cli

ROOT = Path(__file__).resolve().parent.parent
# The commands, each with what it cannot do without.
COMMANDS = {
    "search": ["--dataset", "sample"],
    "verify-best": [],
    "reproduce": [str(ROOT / "results" / "reference")],
    "ablate": [],
    "frontier": ["--dataset", "sample"],
    "report": [],
    "export": [],
    "predict": [str(ROOT / "pyproject.toml")],
    "status": [],
    "delete": ["small"],
}
SMALL = ["--dataset", "sample", "--epochs", "4", "--max-params", "1999", "--study-name", "small"]  # `search_study`


def run(*words: str | Path, env: dict[str, str] | None = None) -> Result:
    """Runs a command in this process: for what ends before any worker starts."""
    return CliRunner().invoke(cli, [str(word) for word in words], env=env, prog_name="python cli.py")


def assert_refused(result: Result, code: int, *words: str) -> None:
    """One line that says what is wrong, and no traceback; of what is typed amiss, all that is said."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line for line in lines if line.startswith("Error:")] == lines[-1:]
    assert [word for word in words if word not in lines[-1]] == []
    if code == 2:
        assert len(lines) == 1
        assert "See 'python cli.py " in lines[0]
