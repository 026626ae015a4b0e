"""The ladder for people."""

from typing import Any

import pytest

from search import ladder


@pytest.fixture
def facts() -> dict[str, Any]:
    def rung(name: str, test: list[float], hand_made: dict[str, float] | None) -> dict[str, Any]:
        mean = sum(test) / len(test)
        spread = {"accuracies": test, "mean": mean, "std": 0.02 if len(test) > 1 else None}
        return {
            "rung": name,
            "num_params": 7_901,
            "diverged": 0,
            "test": dict(spread),
            "test_one_view": spread,
            "train_one_view": spread,
            "hand_made": hand_made,
        }

    return {
        "search_study": "small", "trial": 2, "epochs": 15, "dataset": "mnist", "seeds": [20_000, 20_001],
        "dropout": 0.05, "winner_has_dropout": False,
        "device": "cpu", "precision": "fp32", "commit": "0123abc", "versions": {"torch": "2.14.1"},
        "rungs": [
            rung("plain", [98.9, 98.94], {"train": 80.05, "test": 79.29}),
            rung("all but batch norm", [99.51, 99.55], None),
        ],
    }  # fmt: skip


def test_a_row_has_means_spreads_and_the_hand_made_figures(facts: dict[str, Any]) -> None:
    assert ladder.rows(facts) == [
        ("Rung", "Params", "Train, 1 view", "Test, 1 view", "Test", "By hand"),
        ("plain", "7,901", "98.92 ± 0.02", "98.92 ± 0.02", "98.92 ± 0.02", "80.05 / 79.29"),
        ("all but batch norm", "7,901", "99.53 ± 0.02", "99.53 ± 0.02", "99.53 ± 0.02", ""),
    ]


def test_without_hand_made_figures_nothing_is_said_of_them(facts: dict[str, Any]) -> None:
    with_them = ladder.plot(facts)
    facts["rungs"][0]["hand_made"] = None
    assert [row[-1] for row in ladder.rows(facts)] == ["Test", "98.92 ± 0.02", "99.53 ± 0.02"]
    assert "hand" not in ladder.to_markdown(facts)
    assert ladder.plot(facts) != with_them


def test_a_single_run_has_no_spread_and_one_that_diverged_no_figure() -> None:
    assert ladder.format_spread({"accuracies": [98.9], "mean": 98.9, "std": None}) == "98.90"
    assert ladder.format_spread({"accuracies": [], "mean": None, "std": None}) == ""


def test_the_markdown_is_one_table_and_what_it_rests_on(facts: dict[str, Any]) -> None:
    lines = ladder.to_markdown(facts).splitlines()
    assert [line.count("|") for line in lines[:4]] == [7, 7, 7, 7]
    text = "\n".join(lines)
    assert "seeds 20000 to 20001 (n = 2)" in text
    assert "Nothing is picked by these figures." in text
    assert "one run each, of another network" in text
    assert "seed 20000 (n = 1); one run each" in ladder.to_markdown(facts | {"seeds": [20_000]})
    assert "commit 0123abc" in text


def test_a_dropout_that_the_winner_lacks_and_runs_that_diverged_are_told(facts: dict[str, Any]) -> None:
    assert "rungs with it use 0.05, and the trial as it was found is 'all but dropout'" in " ".join(ladder.notes(facts))
    assert "'all' is the trial as it was found." in ladder.notes(facts | {"winner_has_dropout": True})
    facts["rungs"][0]["diverged"] = 1
    assert "plain: 1 of 2 runs diverged, and are left out." in ladder.notes(facts)


def test_the_plot_shows_other_figures_otherwise(facts: dict[str, Any]) -> None:
    picture = ladder.plot(facts)
    assert picture.startswith(b"\x89PNG")
    assert ladder.plot(facts) == picture
    facts["rungs"][1]["test"]["accuracies"][0] = 97.0
    assert ladder.plot(facts) != picture
    for rung in facts["rungs"]:
        rung["test"] = {"accuracies": [], "mean": None, "std": None}  # all diverged
    assert ladder.plot(facts).startswith(b"\x89PNG")
