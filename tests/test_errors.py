"""What went wrong in somebody's code, in one line."""

import json
from pathlib import Path

import pytest

from search.config import fit_channels
from search.errors import LONGEST, describe_error


def caught(code: str, folder: Path) -> BaseException:
    try:
        exec(compile(code, str(folder / "mine.py"), "exec"), {"json": json, "fit_channels": fit_channels})
    except Exception as error:  # of any kind
        return error
    pytest.fail("nothing went wrong")


def test_the_type_the_text_and_the_place_are_told(tmp_path: Path) -> None:
    assert describe_error(caught("a = 1\na / 0\n", tmp_path)) == "ZeroDivisionError: division by zero (mine.py:2)"


def test_an_error_of_a_library_is_told_where_that_was_called(tmp_path: Path) -> None:
    told = describe_error(caught("\n\njson.loads('{')\n", tmp_path))
    assert told.startswith("JSONDecodeError: Expecting property name")
    assert told.endswith(" (mine.py:3)")


def test_an_error_within_this_tool_is_told_where_your_code_called_it(tmp_path: Path) -> None:
    assert describe_error(caught("fit_channels([[1.0]], 1, ())\n", tmp_path)).endswith(" (mine.py:1)")


def test_an_error_that_is_this_tools_own_names_its_file(tmp_path: Path) -> None:
    error = caught("fit_channels([[1.0]], 1_000, ())\n", tmp_path)
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next.tb_next  # type: ignore[union-attr]  # as caught within the tool
    assert " (search/config.py:" in describe_error(error, within=True)
    assert "config.py" not in describe_error(error)  # of yours there is none


def test_an_error_of_syntax_tells_its_own_place(tmp_path: Path) -> None:
    assert describe_error(caught("1 +\n", tmp_path)) == "SyntaxError: invalid syntax (mine.py, line 1)"


def test_lines_are_joined_and_an_error_without_a_text_is_its_type(tmp_path: Path) -> None:
    assert describe_error(caught("raise ValueError('one\\n  two')", tmp_path)) == "ValueError: one two (mine.py:1)"
    assert describe_error(caught("raise KeyError", tmp_path)) == "KeyError (mine.py:1)"
    assert describe_error(MemoryError("out of memory")) == "MemoryError: out of memory"  # never raised: no place


def test_a_long_text_is_cut_off_and_the_place_is_not(tmp_path: Path) -> None:
    told = describe_error(caught(f"raise ValueError('no ' * {LONGEST})", tmp_path))
    assert len(told) == LONGEST
    assert told.endswith(" (mine.py:1)")
