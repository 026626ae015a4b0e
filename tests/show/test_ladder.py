"""The ladder for people."""

from dataclasses import replace

import pytest
from evidence import CONFIG, make_ladder, make_rung

from search.proof.ladder import ByHand, Ladder, Rung
from search.proof.parts import Spread
from search.show import ladder as words

PLAIN = make_rung("plain", 98.9, 98.94, by_hand=ByHand(train=80.05, test=79.29))
NO_NORM = make_rung("all but batch norm", 99.51, 99.55)


@pytest.fixture
def ladder() -> Ladder:
    return make_ladder(PLAIN, NO_NORM)


def test_a_row_has_means_spreads_and_the_hand_made_figures(ladder: Ladder) -> None:
    assert words.rows(ladder) == [
        ("Rung", "Params", "Train, 1 view", "Test, 1 view", "Test", "By hand"),
        ("plain", "7,893", "98.92 ± 0.03", "98.92 ± 0.03", "98.92 ± 0.03", "80.05 / 79.29"),
        ("all but batch norm", "7,893", "99.53 ± 0.03", "99.53 ± 0.03", "99.53 ± 0.03", ""),
    ]


def test_each_column_has_its_own_figures() -> None:
    rung = Rung.model_validate(
        dict(PLAIN)
        | {
            "train_one_view": Spread(accuracies=(99.9,)),
            "test_one_view": Spread(accuracies=(98.7,)),
            "test": Spread(accuracies=(98.9,)),
            "errors": (110,),
            "errors_one_view": (130,),
        }
    )
    assert words.rows(make_ladder(rung))[1] == (
        "plain",
        "7,893",
        "99.90",
        "98.70",
        "98.90",
        "80.05 / 79.29",
    )


def test_without_hand_made_figures_nothing_is_said_of_them(ladder: Ladder) -> None:
    without = make_ladder(make_rung("plain", *PLAIN.test.accuracies), NO_NORM)
    assert [row[-1] for row in words.rows(without)] == ["Test", "98.92 ± 0.03", "99.53 ± 0.03"]
    assert "hand" not in words.to_markdown(without)
    assert words.plot(without) != words.plot(ladder)


def test_a_single_run_has_no_spread_and_one_that_diverged_no_figure() -> None:
    assert words.format_spread(Spread(accuracies=(98.9,))) == "98.90"
    assert words.format_spread(Spread(accuracies=())) == ""


def test_the_markdown_is_one_table_and_what_it_rests_on(ladder: Ladder) -> None:
    lines = words.to_markdown(ladder).splitlines()
    assert [line.count("|") for line in lines[:4]] == [7, 7, 7, 7]
    text = "\n".join(lines)
    assert "Trial 2 of small, epochs: 15, data set mnist, seeds 20000 to 20001 (n = 2)" in text
    assert "Nothing is picked by these figures." in text
    assert "one run each, of another network" in text
    one_seed = make_ladder(make_rung("plain", 98.9, by_hand=PLAIN.by_hand))
    assert "seed 20000 (n = 1); one run each" in words.to_markdown(one_seed)
    assert "commit 0123abc" in text


def test_a_dropout_that_the_winner_lacks_and_runs_that_diverged_are_told(ladder: Ladder) -> None:
    assert "rungs with it use 0.05, and the trial as it was found is 'all but dropout'" in " ".join(words.notes(ladder))
    assert "'all' is the trial as it was found." not in words.notes(ladder)
    with_dropout = replace(CONFIG, model=replace(CONFIG.model, dropout=0.1))
    assert "'all' is the trial as it was found." in words.notes(make_ladder(PLAIN, config=with_dropout))
    assert not any("diverged" in line for line in words.notes(ladder))
    diverged = make_ladder(make_rung("plain", 98.9, diverged=1), NO_NORM)
    assert "plain: 1 of 2 runs diverged, and are left out." in words.notes(diverged)


def test_the_plot_shows_other_figures_otherwise(ladder: Ladder) -> None:
    picture = words.plot(ladder)
    assert picture.startswith(b"\x89PNG")
    assert words.plot(ladder) == picture
    assert words.plot(make_ladder(PLAIN, make_rung("all but batch norm", 97.0, 99.55))) != picture
    all_diverged = make_ladder(make_rung("plain", diverged=2), make_rung("all but batch norm", diverged=2))
    assert words.plot(all_diverged).startswith(b"\x89PNG")
