"""What a shell completes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

START = [sys.executable, "-c", "from search.commands.main import main; main()"]
VARIABLE = "_TINY_MNIST_SEARCH_COMPLETE"


def completions(*words: str) -> list[str]:
    """Of the last word."""
    environment = {
        **os.environ,
        VARIABLE: "bash_complete",
        "COMP_WORDS": " ".join(["tiny-mnist-search", *words]),
        "COMP_CWORD": str(len(words)),
    }
    told = subprocess.run(START, env=environment, capture_output=True, text=True, check=True).stdout
    return [line.partition(",")[2] for line in told.splitlines()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ver"], ["verify-best"]),
        (["search", "--sam"], ["--sampler"]),
        (["search", "--sampler", "r"], ["random"]),
        (["search", "--dataset", "fa"], ["fashion-mnist", "fa"]),
        (["export", "--format", "on"], ["onnx"]),
    ],
)
def test_commands_options_and_values_are_completed(words: list[str], expected: list[str]) -> None:
    assert completions(*words) == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_takes_what_the_program_prints(tmp_path: Path) -> None:
    environment = {**os.environ, VARIABLE: "bash_source"}
    told = subprocess.run(START, env=environment, capture_output=True, check=True)
    script = tmp_path / "completion.sh"
    script.write_bytes(told.stdout)
    registered = subprocess.run(
        ["bash", "-c", f"source {script} && complete -p tiny-mnist-search"], capture_output=True, text=True, check=False
    )
    assert registered.returncode == 0, registered.stderr
    assert "_tiny_mnist_search_completion" in registered.stdout


@pytest.mark.parametrize(("shell", "start"), [("zsh", "#compdef tiny-mnist-search"), ("fish", "function _tiny_mnist")])
def test_other_shells_get_a_script_and_what_it_asks_for(shell: str, start: str) -> None:
    def ask(instruction: str) -> str:
        words = {"COMP_WORDS": "tiny-mnist-search ver", "COMP_CWORD": "ver" if shell == "fish" else "1"}
        environment = {**os.environ, VARIABLE: f"{shell}_{instruction}", **words}
        return subprocess.run(START, env=environment, capture_output=True, text=True, check=True).stdout

    assert ask("source").startswith(start)
    assert "verify-best" in ask("complete")
