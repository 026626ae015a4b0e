"""The frontier for people."""

import pytest
from evidence import make_frontier
from evidence import make_point as point
from showing import shown

from search.proof.frontier import Frontier, FrontierPoint
from search.proof.summaries import Earned
from search.proof.tested import OtherLooks
from search.show import frontier as words
from search.show.page.proof_figures import draw_frontier

CLAIM = "The smallest network of which every one of 2 seeds reaches 99.4 % has 2,492 parameters."
SMALL, MIDDLE, LARGE = point(1_000, 98.9, 99.0), point(2_500, 99.41, 99.45), point(7_999, 99.6, 99.65)


def test_the_claim_names_the_smallest_network_that_holds() -> None:
    frontier = make_frontier(SMALL, MIDDLE, LARGE)
    assert frontier.smallest_held == 2_492
    assert (
        words.claim(frontier)
        == "The smallest network of which every one of 2 seeds reaches 99.4 % has 2,492 parameters."
    )


@pytest.mark.parametrize(
    ("frontier", "held"),
    [
        (make_frontier(MIDDLE, LARGE, target=99.5), 7_991),  # 99.4 was asked for before: a bar is raised
        (make_frontier(point(2_500, 99.45, target=99.6), LARGE), 7_991),  # and not lowered
        (make_frontier(point(2_500, 99.4), LARGE), 2_492),  # 60 errors of 10,000
        (make_frontier(point(2_500, 99.39), LARGE), 7_991),
        (make_frontier(point(7_998, 99.5, num_params=7_990), point(7_999, 99.5, num_params=7_990)), 7_990),
    ],
    ids=["raised", "not lowered", "just", "not quite", "two alike"],
)
def test_a_network_holds_if_every_seed_reaches_the_highest_target(frontier: Frontier, held: int) -> None:
    assert frontier.smallest_held == held
    assert f" {held:,} parameters." in words.claim(frontier)


def test_errors_that_cannot_be_are_refused() -> None:
    assert SMALL.tested is not None
    with pytest.raises(ValueError, match="budget 1000: more errors than the 50 test images"):
        point(1_000, tested=SMALL.tested.model_copy(update={"num_images": 50}))


def test_a_budget_at_which_another_network_was_tried_before_says_so() -> None:
    assert SMALL.tested is not None
    earlier = SMALL.tested.model_copy(update={"trial": 3})
    frontier = make_frontier(SMALL, MIDDLE.model_copy(update={"others": (earlier,)}))
    assert (
        "Other trials of these searches were put to the test: trial 3 at 2,500 (minimum 98.90 %, mean 98.950 %)."
        in words.notes(frontier)
    )
    assert words.claim(frontier).endswith("parameters, after 1 other trial of its search had been tested.")


def test_a_budget_that_was_added_later_says_so_wherever_it_is_claimed() -> None:
    frontier = make_frontier(SMALL, MIDDLE.model_copy(update={"tested_before": 2}))
    assert words.claim(frontier).endswith("parameters, at a budget that was added when others had been tested.")
    assert any(line.startswith("Asked for when other budgets had been put to the test: 2,500 (after 2 others).")
               for line in words.notes(frontier))  # fmt: skip
    assert "added when" not in words.claim(make_frontier(SMALL, MIDDLE))


def test_a_claim_comes_with_what_it_rests_on_and_how_far_it_carries() -> None:
    notes = " ".join(words.notes(make_frontier(SMALL, MIDDLE, point(4_000))))
    for told in (
        "2 budgets put to the test, of 3 that were ever asked for",
        "the set's own size adds up to ±0.20 points",
        "at 95 % confidence",
        "Trained on cuda in bf16, ",
        "Search space 0123456789abcdef, recipe 5.",
        "697 at 99.03 % (JoshWarn/Parameter-Efficient-MNIST, the best of many runs)",
    ):
        assert told in notes


def test_what_searches_have_earned_is_one_sentence_of_those_that_have_won_something() -> None:
    earned = Earned(first=0, first_val_accuracies=(99.0, 99.1), winner_val_accuracies=(99.3, 99.5))
    won = SMALL.model_copy(update={"trial": 5, "earned": earned})
    lost = MIDDLE.model_copy(update={"trial": 0, "earned": earned})
    told = words.earned(make_frontier(won, lost, LARGE))
    assert told.startswith("What the search earned over the network that it tries first, on validation: +0.350 ± ")
    assert told.endswith(" points at 1,000, nothing at 2,500, where that network has won.")
    assert words.earned(make_frontier(LARGE)) == ""


def test_without_one_the_claim_says_so() -> None:
    assert words.claim(make_frontier(SMALL)) == "No network of which every seed reaches 99.4 % was found."


def test_a_proof_that_was_cut_off_holds_nothing_yet() -> None:
    lucky = make_frontier(point(2_500, 99.45, num_planned=20), LARGE)
    assert words.claim(lucky).endswith("has 7,991 parameters.")
    assert [row[10] for row in words.rows(lucky)[1:]] == ["so far", "yes"]
    assert words.claim(make_frontier(point(2_500, 99.45, num_planned=20))).endswith("was found so far.")
    missed = make_frontier(point(2_500, 99.35, num_planned=20))
    assert [row[10] for row in words.rows(missed)[1:]] == ["no"]


def test_a_winner_that_was_not_tested_is_no_reason_to_say_that_nothing_was() -> None:
    assert SMALL.tested is not None
    earlier = SMALL.tested.model_copy(update={"trial": 3})
    frontier = make_frontier(point(1_000).model_copy(update={"others": (earlier,)}))
    assert words.claim(frontier) == "No network of which every seed reaches 99.4 % was found so far."
    assert "1 budget put to the test, of 1" in " ".join(words.notes(frontier))


def test_ladders_of_other_trials_are_told() -> None:
    look = OtherLooks(command="ablate", study_name="mnist-2500p-15e", trial=3, num_runs=6)
    frontier = make_frontier(MIDDLE.model_copy(update={"other_looks": (look,)}))
    assert "Test accuracies of other trials were shown by ladders (so many): trial 3 at 2,500 (6)." in words.notes(
        frontier
    )
    assert words.claim(frontier).endswith("parameters, after 1 other trial of its search had been tested.")


def test_where_nothing_can_be_judged_nothing_is_claimed() -> None:
    frontier = make_frontier(point(1_000, 99.5), dataset="sample", judged=False)
    assert words.claim(frontier).startswith("NOT JUDGED: 99.4 % is a claim about")


def test_every_budget_has_a_row_whatever_became_of_it() -> None:
    begun = FrontierPoint(max_params=3_000, study_name="mnist-3000p-15e", num_trials=12)
    earned = Earned(first=0, winner_val_accuracies=(99.5, 99.4), first_val_accuracies=(99.4, 99.2))
    cut_off = point(4_000, 99.3, num_planned=2, earned=earned)
    won = earned.model_copy(update={"first": 7})
    rows = words.rows(
        make_frontier(SMALL, MIDDLE.model_copy(update={"earned": won}), begun, cut_off, FrontierPoint(max_params=5_000))
    )
    network, won_by = "4,5 / sep 6,7 / 8", "first trial"
    assert rows[1:] == [
        ("1,000", "992", network, "50", "7", "2", "98.90", "98.950 ± 0.635", "98.860", "0.0 %", "no", ""),
        (
            "2,500",
            "2,492",
            network,
            "50",
            "7",
            "2",
            "99.41",
            "99.430 ± 0.254",
            "99.340",
            "22.3 %",
            "yes",
            won_by,
        ),
        ("3,000", "", "not settled (12 trials)", "", "", "", "", "", "", "", "", ""),
        ("4,000", "3,992", network, "50", "7", "1 of 2", "99.30", "99.300", "99.210", "0.0 %", "no", "+0.150 ± 0.635"),
        ("5,000", "", "not begun", "", "", "", "", "", "", "", "", ""),
    ]


@pytest.mark.parametrize("width", [80, 160])
def test_the_report_ends_with_the_claim(width: int) -> None:
    text = shown(words.frontier_report(make_frontier(SMALL, MIDDLE)), width)
    assert " ".join(text.split()).endswith(words.claim(make_frontier(SMALL, MIDDLE)))


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 160])
def test_no_number_of_the_table_is_cut_short(width: int) -> None:
    earned = Earned(first=0, winner_val_accuracies=(99.2, 99.3), first_val_accuracies=(98.9, 98.9))
    frontier = make_frontier(SMALL.model_copy(update={"trial": 5, "earned": earned}), MIDDLE)
    text = shown(words.frontier_report(frontier), width)
    headings, first = text.splitlines()[1:3]
    row = dict(zip(words.HEADINGS, words.rows(frontier)[1], strict=True))
    left_out = [name for name in words.HEADINGS if name not in headings]
    assert "…" not in headings + first
    assert all(row[name] in first for name in words.HEADINGS if name not in (*left_out, "Network"))
    assert all(name not in left_out for name in ("Params", "Min", "Mean"))
    assert ("frontier.md" in text) == (width < 160)
    assert width < 100 or "Earned" in headings


def test_the_page_has_the_claim_the_table_and_what_it_rests_on() -> None:
    page = words.to_markdown(make_frontier(SMALL, MIDDLE))
    assert page.startswith(f"# {CLAIM}\n")
    assert "| 1,000 | 992 | 4,5 / sep 6,7 / 8 | 50 | 7 | 2 | 98.90 | 98.950 ± 0.635 | 98.860 | 0.0 % | no |  |" in page
    assert "all are shown, whatever came of them." in page


def test_the_plot_shows_every_seed_and_every_mean() -> None:
    frontier = make_frontier(SMALL, MIDDLE)
    [axes] = draw_frontier(frontier).figure.axes
    dots = [(*line.get_xdata(), *line.get_ydata()) for line in axes.lines if line.get_marker() == "o"]
    assert dots == [(point.num_params, seed) for point in (SMALL, MIDDLE) for seed in point.test_accuracies]
    assert any(list(line.get_ydata()) == [SMALL.mean, MIDDLE.mean] for line in axes.lines)
    for drawn in (frontier, make_frontier(FrontierPoint(max_params=500))):
        assert words.plot(drawn).startswith(b"\x89PNG")
