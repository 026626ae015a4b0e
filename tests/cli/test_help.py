"""What the command line says of itself, and to whoever runs it with the wrong Python."""

import re
import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest
from commands import COMMANDS, ROOT, run

from cli import cli


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_defaults(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    after_example = result.stdout.split("Example:\n", 1)[1].splitlines()
    assert after_example[0].strip().startswith(f"python cli.py {command}")
    assert "[env var: OPTUNA_STORAGE; default: sqlite:///study.db]" in " ".join(result.stdout.split())


@pytest.mark.parametrize("columns", [80, 100, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal(command: str, columns: int) -> None:
    lines = run(command, "--help", env={"COLUMNS": str(columns)}).stdout.splitlines()
    assert max(map(len, lines)) <= min(columns, 100)


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_of_the_help_are_commands_that_exist(command: str) -> None:
    examples = re.findall(r"^ +python cli\.py (.*)$", run(command, "--help").stdout, re.MULTILINE)
    assert examples
    for example in examples:
        name, *options = shlex.split(example)
        cli.commands[name].make_context(name, options)


def test_help_shows_the_exit_codes_and_the_commands_in_the_order_of_their_use() -> None:
    result = run("--help", env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert "python cli.py search --trials 50" in result.stdout
    assert "3 not confirmed or not reproduced" in " ".join(result.stdout.split())
    listed = result.stdout.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []  # none is cut short


def test_defaults_are_those_that_are_promised() -> None:
    text = " ".join(run("search", "--help").stdout.split())
    for default in ("[default: 50;", "[default: 7999;", "[default: 15;", "[default: gp]", "[default: percentile]"):
        assert default in text
    text = " ".join(run("verify-best", "--help").stdout.split())
    for default in ("[default: 5;", "from 10000 on", "Default: 99.4 for mnist;"):
        assert default in text


def test_the_version_is_printed() -> None:
    assert version("tiny-mnist-search") in run("--version").stdout.split()


# Runs the command line as if a package were not installed.
WITHOUT = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

package, *sys.argv[1:] = sys.argv[1:]
sys.path.insert(0, ".")
sys.meta_path.insert(0, Missing())
runpy.run_path("cli.py", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("package", "command"),
    [
        pytest.param("click", "status", marks=pytest.mark.slow),
        ("pydantic", "status"),  # is needed at once
        pytest.param("rich", "status", marks=pytest.mark.slow),
        ("torch", "ablate"),  # only by the command's work
        pytest.param("optuna", "search", marks=pytest.mark.slow),
    ],
)
def test_without_a_package_one_line_says_what_to_do(package: str, command: str) -> None:
    words = [sys.executable, "-c", WITHOUT, package, command, *COMMANDS[command]]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert f"The package {package!r} is not installed for {sys.executable}." in line
    assert "activate" in line


def test_without_any_package_one_line_says_what_to_do() -> None:
    command = [sys.executable, "-S", "-E", "cli.py", "search"]  # without site-packages
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert "activate" in line
