"""Wrong usage is told in one line, and touches nothing."""

from pathlib import Path

import pytest
from commands import assert_refused, run


@pytest.mark.parametrize(
    "options",
    [
        ["search", "--trials", "0"],
        ["search", "--trials", "-3"],
        ["search", "--trials", "many"],
        ["search", "--epochs", "16"],
        ["search", "--epochs", "0"],
        ["search", "--max-params", "10"],
        ["search", "--max-params", "100001"],
        ["search", "--sampler", "grid"],
        ["search", "--pruner", "hyperband"],
        ["search", "--dataset", "cifar10"],
        ["search", "--device", "tpu"],
        ["search", "--precision", "fp16"],
        ["search", "--seed", "-1"],
        ["search", "--workers", "-1"],
        ["search", "--workers", "all"],
        ["search", "--rerank", "-1"],
        ["search", "--timeout", "soon"],
        ["search", "--timeout", "0"],
        ["search", "--timeout", "-5m"],
        ["search", "--timeout", "nan"],
        ["verify-best", "--seeds", "0"],
        ["verify-best", "--seeds", "five"],
        ["verify-best", "--first-seed", "-1"],
        ["verify-best", "--trial", "best"],
        ["verify-best", "--target", "high"],
        ["verify-best", "--target", "0"],
        ["verify-best", "--target", "0.994"],
        ["verify-best", "--target", "1"],
        ["verify-best", "--target", "100.1"],
        ["verify-best", "--target", "nan"],
        ["verify-best", "--from", "results/reference"],  # is `reproduce` now
        ["reproduce", "--seeds", "0", "results/reference"],
        ["reproduce", "--first-seed", "-1", "results/reference"],
        ["reproduce", "--target", "99.4", "results/reference"],
        ["reproduce", "--trial", "2", "results/reference"],
        ["reproduce", "--study-name", "small", "results/reference"],
        ["ablate", "--seeds", "0"],
        ["ablate", "--trial", "best"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_touches_nothing(options: list[str], places: list[str], tmp_path: Path) -> None:
    result = run(*options, *places)
    assert_refused(result, 2, options[1], f"See 'python cli.py {options[0]} --help'.")
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["search", "--trails", "5"], "--trails"),
        (["search", "--trials"], "--trials"),
        (["search", "fifty"], "fifty"),
        (["seach"], "seach"),
        (["--verbose", "search"], "--verbose"),
        (["reproduce"], "PLACE"),
        (["delete"], "NAME"),
        (["delete", "one", "two"], "two"),
        (["delete", "--all"], "--all"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_mistyped_is_told_in_one_line(words: list[str], wrong: str) -> None:
    result = run(*words)
    assert_refused(result, 2, wrong, "See 'python cli.py ", "--help'.")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("workers", ["-2", "1.5", "all"])
def test_a_wrong_number_of_workers_is_told_what_is_right(workers: str, places: list[str]) -> None:
    wanted = f"{workers!r} is neither 'auto' nor a number from 0 to 1,024"
    assert_refused(run("search", "--workers", workers, *places), 2, "--workers", wanted)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("reference", "results/reference holds a committed study's records"),
        ("fashion-mnist", "results/fashion-mnist holds a committed study's records"),
        ("", "no slashes"),
        (".", "no slashes"),
        ("..", "no slashes"),
        (".hidden", "no slashes"),
        ("a/b", "no slashes"),
        ("/tmp", "no slashes"),
        ("my-rerank", "follow a search"),
        ("my-verify-3", "follow a search"),
        ("my-ablate-3", "follow a search"),
        ("my-reproduce-3-0123ab", "follow a search"),
    ],
)
def test_a_study_name_that_is_no_folder_of_its_own_is_refused(
    name: str, why: str, places: list[str], tmp_path: Path
) -> None:
    result = run("search", "--dataset", "sample", "--study-name", name, *places)
    assert_refused(result, 1, f"Study name {name!r} cannot be used", why)
    assert list(tmp_path.iterdir()) == []


def test_a_study_name_that_is_too_long_for_a_file_is_refused(places: list[str], tmp_path: Path) -> None:
    result = run("search", "--dataset", "sample", "--study-name", "x" * 201, *places)
    assert_refused(result, 1, "cannot be used: it is 201 bytes long")
    assert list(tmp_path.iterdir()) == []
