"""Wrong usage is told in one line that says what would be right, and touches nothing."""

from pathlib import Path

import pytest
from click import BadParameter
from commands import assert_refused, run

from search.commands.options import duration
from search.config import shortened


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("30m", 1_800), ("2h", 7_200)])
def test_a_duration_is_read_in_seconds_minutes_or_hours(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["0", "-5m", "9999h"])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match="is not a time above 0 and up to a year"):
        duration(text)


@pytest.mark.parametrize("workers", ["-2", "1.5", "all"])
def test_a_wrong_number_of_workers_is_told_what_is_right(workers: str, places: list[str]) -> None:
    wanted = f"{workers!r} is neither 'auto' nor a number from 0 to 1,024"
    assert_refused(run("search", "--workers", workers, *places), 2, "--workers", wanted)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("reference", "results/reference holds a committed study's records"),
        ("fashion-mnist", "results/fashion-mnist holds a committed study's records"),
        ("..", "no slashes"),
        ("my-verify-3", "follow a search"),
        ("x" * 201, "it is 201 bytes long"),
    ],
)
def test_a_study_name_that_is_no_folder_of_its_own_is_refused(
    name: str, why: str, places: list[str], tmp_path: Path
) -> None:
    result = run("search", "--dataset", "sample", "--study-name", name, *places)
    assert_refused(result, 1, f"Study name {shortened(name)} cannot be used", why)
    assert list(tmp_path.iterdir()) == []
