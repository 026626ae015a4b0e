"""Where a result comes from."""

import inspect
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from search import provenance
from search.provenance import Code, CodeError, space_hash, versions

SPACE = '''"""The search space."""
WIDTHS = (8, 16)


def suggest(trial):
    """Draws."""
    return trial.suggest_int("width", *WIDTHS)  # channels
'''


def hash_of(tmp_path: Path, code: str) -> str:
    path = tmp_path / "space.py"
    path.write_text(code)
    return space_hash(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # channels", ""),
        ('"""Draws."""', '"""Draws a width."""'),
        ('    """Draws."""\n', ""),
        ('"""The search space."""\n', ""),
        ('"width", *WIDTHS', '\n        "width",\n        *WIDTHS,\n    '),
        ('"width"', "'width'"),
        ("\n\n\n", "\n"),
    ],
)
def test_comments_docstrings_and_layout_leave_a_space_what_it_is(tmp_path: Path, old: str, new: str) -> None:
    edited = SPACE.replace(old, new)
    assert edited != SPACE
    assert hash_of(tmp_path, edited) == hash_of(tmp_path, SPACE)


@pytest.mark.parametrize(("old", "new"), [("16", "17"), ('"width"', '"widths"'), ("suggest_int", "suggest_float")])
def test_any_change_of_its_code_makes_another_space(tmp_path: Path, old: str, new: str) -> None:
    assert hash_of(tmp_path, SPACE.replace(old, new)) != hash_of(tmp_path, SPACE)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that this tool's code seems to be in."""
    for path in (tmp_path / "search" / "net" / "model.py", tmp_path / "search" / "provenance.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("WIDTH = 8")
    (tmp_path / "space.py").write_text(SPACE)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "search" / "provenance.py"))
    monkeypatch.setattr(provenance, "code_commit", inspect.unwrap(provenance.code_commit))  # tests keep what it says
    return tmp_path


@pytest.mark.parametrize("name", ["space.py", "search/net/model.py", "search/new.py"])
def test_code_that_is_changed_while_a_command_runs_is_noticed(checkout: Path, name: str) -> None:
    code = Code.at_hand(checkout / "space.py")
    (checkout / "README.md").write_text("no code")
    code.check()
    (checkout / name).write_text("WIDTH = 16")
    with pytest.raises(CodeError, match=r"changed while the command ran.*run the same command again"):
        code.check()


def test_the_commit_is_that_of_the_checkout_and_says_whether_the_code_was_edited(checkout: Path) -> None:
    def git(*words: str) -> str:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(checkout), *identity, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert provenance.code_commit() == "unknown"
    git("init")
    git("add", ".")
    git("commit", "--message", "all")
    commit = git("rev-parse", "HEAD")
    (checkout / "study.db").touch()
    assert provenance.code_commit() == commit
    (checkout / "space.py").write_text("")
    assert provenance.code_commit() == Code.at_hand(checkout / "space.py").commit == f"{commit}+edited"


def test_versions_are_those_of_python_and_of_what_computes() -> None:
    recorded = versions()
    assert recorded["python"] == platform.python_version()
    assert recorded["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert recorded.keys() == {"python", "torch", "torchvision", "optuna", "numpy", "numba"}
