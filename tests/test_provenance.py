from pathlib import Path

import pytest

from search.provenance import space_hash

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
