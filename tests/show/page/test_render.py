"""The page: one file, honest about what is missing, with every figure drawn."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from evidence import (
    CONFIG,
    RERANKED,
    make_ladder,
    make_proof,
    make_rung,
    make_summary,
    searched,
)
from pages import ALL, BEGUN, SEARCH, TRIALS, UNDER_WAY, WON, make_trial
from PIL import Image, ImageColor

from search.proof.summaries import Earned
from search.show.board import tell_story
from search.show.page.blocks import Table
from search.show.page.facts import PageFacts
from search.show.page.headline import headline, next_steps
from search.show.page.pictures import to_png
from search.show.page.proof_figures import draw_ladder, draw_seeds
from search.show.page.render import render, render_figures
from search.show.page.search_figures import draw_history, draw_parallel
from search.show.page.sections import sections
from search.show.page.svg import BY_DAY, THEME
from search.show.page.svg import to_png as to_picture
from search.show.page.tables import MOST_DRAWN, drawn_trials, parameters_table


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.headings: list[str] = []
        self.places: list[str] = []
        self.labels: list[str] = []
        self._heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.places += [found[name] or "" for name in ("href", "src") if name in found]
        self.labels += [found["aria-label"] or ""] if tag == "svg" else []
        self._heading = tag == "h2"

    def handle_data(self, data: str) -> None:
        if self._heading:
            self.headings.append(data)
            self._heading = False


@pytest.fixture(scope="module")
def page_of_all() -> str:
    return render(ALL)


FIGURES = ["seeds", "frontier", "network", "curves", "history", "importance", "parallel", "sizes", "reranking"]
FIGURES += ["ladder", "confusion", "calibration", "timeline"]


@pytest.mark.parametrize("facts", [BEGUN, UNDER_WAY, WON, ALL], ids=["begun", "under way", "won", "all"])
def test_a_page_is_one_file_that_asks_nothing_of_the_network(facts: PageFacts) -> None:
    text = render(facts)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    for place in page.places:
        assert place == "" or place.startswith(("#", "data:")), place
        assert not place.startswith("#") or place[1:] in page.ids, place
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    assert "@import" not in text
    assert len(text) < 2_000_000


def test_a_page_with_everything_has_all_sections_and_figures(page_of_all: str) -> None:
    text = page_of_all
    page = Page(text)
    assert page.headings == [
        "What the verdict rests on",
        "Accuracy against parameters",
        "The winner, layer by layer",
        "The search",
        "What matters",
        "What the search earned",
        "What each method earned",
        "What it was trained on",
        "What it gets wrong",
        "Who trained when",
        "How to repeat it",
    ]
    assert len(page.labels) == len(FIGURES)
    assert all(page.labels)
    for colour in THEME.values():
        assert colour not in text
    assert "var(--main)" in text
    assert "4: 2 of 3 miss it, mostly as 9 (75%; 4: 25%)" in text
    assert "CONFIRMED: every one of 3 fresh seeds" in text


@pytest.mark.slow
def test_a_picture_of_a_figure_has_the_colours_of_the_day() -> None:
    pictures = render_figures(ALL)
    assert sorted(pictures) == sorted(FIGURES)
    stand_ins = {ImageColor.getrgb(colour) for colour in THEME.values()}
    for name, picture in pictures.items():
        with Image.open(io.BytesIO(picture)) as opened:
            colours = {colour for _, colour in opened.convert("RGB").getcolors(2**24)}
        assert not colours & stand_ins, name
        assert ImageColor.getrgb(BY_DAY["ink"]) in colours, name


@pytest.mark.slow
def test_a_page_and_its_pictures_are_the_same_whenever_they_are_drawn(page_of_all: str) -> None:
    assert render(ALL) == page_of_all
    ladder = make_ladder(make_rung("plain", 99.0))
    assert to_picture(draw_ladder(ladder).figure) == to_picture(draw_ladder(ladder).figure)


@pytest.mark.slow
def test_a_page_of_thousands_of_trials_stays_small_and_shows_those_that_matter() -> None:
    trials = tuple(make_trial(number, 99 - abs(number - 1_000) / 2_000) for number in range(2_000))
    facts = replace(WON, trials=trials, summary=make_summary(**RERANKED))
    text = render(facts)
    assert len(text) < 2_000_000
    assert f"Shown are {MOST_DRAWN} of 2,000 trials" in text
    shown = [trial.number for trial in drawn_trials(facts)]
    assert len(shown) == MOST_DRAWN
    assert {7, *range(901, 1_100), 1_998, 1_999} <= set(shown)  # the winner, those that lead or once led, the latest
    assert shown == sorted(shown)


def test_a_page_of_a_study_that_has_just_begun_says_so() -> None:
    assert headline(BEGUN) == "Nothing to see yet: no trial is complete."
    assert [section.id for section in sections(BEGUN)] == ["provenance"]
    assert next_steps(BEGUN) == [("Finish the search", SEARCH)]
    assert "no trial is complete" in render(BEGUN)


def test_where_all_is_done_there_is_no_next_step(page_of_all: str) -> None:
    assert next_steps(ALL) == []
    assert "What to do next" not in page_of_all


def test_a_page_of_an_unfinished_search_says_how_far_it_is_and_how_to_finish_it() -> None:
    assert headline(UNDER_WAY) == "Under way: 50 trials of 80 done."
    assert next_steps(UNDER_WAY)[0][1] == SEARCH
    assert [section.id for section in sections(UNDER_WAY)] == ["network", "search", "parameters", "work", "provenance"]
    assert "The best network so far" in render(UNDER_WAY)


def test_who_leads_an_unfinished_search_has_not_won_it() -> None:
    facts = replace(WON, num_planned=80)
    assert headline(facts) == "Under way: 50 trials of 80 done."
    assert "The best network so far, layer by layer" in render(facts)
    assert "So the winner is" not in tell_story(facts, "report.html")
    assert next_steps(facts) == [("Finish the search", SEARCH)]


def test_a_command_that_leaves_a_secret_out_says_what_to_add() -> None:
    [(_, command)] = next_steps(replace(WON, places=("--study-name", "a"), remark="with the same --storage"))
    assert command == "python cli.py verify-best --seeds 5 --study-name a  # with the same --storage"


def test_a_search_without_a_winner_says_what_it_lacks() -> None:
    facts = replace(UNDER_WAY, num_planned=50)
    assert headline(facts) == "Searched: 50 trials done; the leading ones are still to be re-ranked."
    assert next_steps(facts) == [("Finish the search", SEARCH)]
    counts = UNDER_WAY.summary.trials.model_copy(update={"complete": 0, "pruned": 50})
    pruned = UNDER_WAY.summary.model_copy(update={"best": None, "trials": counts})
    assert headline(replace(facts, summary=pruned)) == (
        "No winner: 50 trials pruned, none complete. Ask for more --trials."
    )


def test_a_page_of_a_winner_without_a_proof_does_not_claim_anything() -> None:
    assert headline(WON) == "Not proved yet: trial 7 has won the search, on validation images alone."
    assert next_steps(WON)[0][1] == "python cli.py verify-best --seeds 5"
    text = render(WON)
    assert "CONFIRMED" not in text
    assert 'class="open"' in text


def test_a_search_that_has_stalled_is_over() -> None:
    stalled = WON.summary.model_copy(update={"stalled": True})
    facts = replace(WON, num_planned=80, summary=stalled, places=("--study-name", "two words"))
    assert next_steps(facts) == [("Prove the winner", "python cli.py verify-best --seeds 5 --study-name 'two words'")]


def test_a_name_with_signs_of_mathematics_is_drawn_as_it_is() -> None:
    assert to_picture(draw_ladder(make_ladder(make_rung("$x^", 99.0))).figure, title="$x^").startswith(b"\x89PNG")


def test_an_error_without_a_tick_in_its_range_has_one_nevertheless() -> None:
    trials = (make_trial(0, 60.0, curve={1: 60.0}),)
    drawing = draw_history(trials, None)
    assert len(drawing.figure.axes[0].get_yticks()) == 1


def test_a_page_of_a_miss_says_so_in_the_same_place() -> None:
    text = render(replace(ALL, proof=make_proof([61, 58])))
    assert '<h1 class="bad">NOT CONFIRMED: 1 of 2 fresh seeds miss' in text


@pytest.mark.parametrize(
    ("ours", "words"),
    [((99.5, 99.7, 99.5), "has found what its first trial did not have"), ((99.1, 98.9, 99.0), "do not show")],
)
def test_a_page_says_whether_what_was_earned_is_proved(ours: tuple[float, ...], words: str) -> None:
    earned = Earned(first=0, winner_val_accuracies=ours, first_val_accuracies=(99.0, 99.1, 99.0))
    reranking = RERANKED["reranking"].model_copy(update={"earned": earned})
    [section] = [each for each in sections(replace(WON, summary=make_summary(**RERANKED | {"reranking": reranking})))
                 if each.id == "earned"]  # fmt: skip
    assert words in section.words[-1]


def test_an_importance_of_few_trials_is_a_hint_and_of_too_few_there_is_none() -> None:
    def words(num_trials: int, importance: dict[str, float]) -> str:
        facts = replace(WON, trials=tuple(map(make_trial, range(num_trials))), importance=importance)
        [section] = [each for each in sections(facts) if each.id == "parameters"]
        return section.words[0]

    shares = {"lr": 0.7, "shift": 0.3}
    assert words(50, shares) == "Importance is estimated from 50 complete trials."
    assert words(49, shares).endswith("That is few: read it as a hint.")
    assert words(19, {}).startswith("19 complete trials are too few to tell")
    assert words(20, {}) == "No parameter tells good trials from others."


def test_the_numbers_of_figures_are_in_tables() -> None:
    tables = {block.caption: block for section in sections(ALL) for block in section.blocks if isinstance(block, Table)}
    assert tables["Importance"].rows == (("lr", "70.0%"), ("shift", "30.0%"))
    assert ("4", "9", "2") in tables["Wrong answers"].rows
    assert sum(int(row[2].replace(",", "")) for row in tables["Calibration"].rows) == 3_000  # of three networks
    assert len(tables["The re-ranking"].rows) == len(ALL.summary.reranking.standings)  # type: ignore[union-attr]
    parameters = tables["The parameters of 4 complete trials"]
    assert parameters.headings[2:] == tuple(TRIALS[0].params)
    assert {len(row) for row in parameters.rows} == {len(parameters.headings)}
    assert parameters.rows[0][:2] == ("2", "99.30")


def test_who_trained_is_told() -> None:
    [section] = [each for each in sections(ALL) if each.id == "work"]
    drawing, table = section.blocks
    assert drawing.tips["span-4"] == "trial 4, complete: 120 s, here, process 0"  # type: ignore[union-attr]
    assert table.rows == (("here, process 0", "3", "0:06:00"), ("here, process 1", "2", "0:04:00"))  # type: ignore[union-attr]


def test_words_and_parameters_that_not_all_trials_have_are_drawn() -> None:
    trials = (
        make_trial(0, params={"activation": "relu", "lr": 0.01}),
        make_trial(1, params={"activation": "gelu", "lr": 0.01}),
        make_trial(2, params={"activation": "silu", "lr": 0.01, "slope": 0.2}),
    )
    drawing = draw_parallel(trials, None)
    axes = drawing.figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "activation\ngelu to silu", "lr\n0.01 to 0.01", "slope\n0.2 to 0.2",
    ]  # fmt: skip
    heights = {line.get_gid(): list(line.get_ydata()) for line in axes.lines if line.get_gid()}
    assert heights == {"line-0": [0.5, 0.5], "line-1": [0.0, 0.5], "line-2": [1.0, 0.5, 0.5]}
    assert parameters_table(trials, None).headings[2:] == ("activation", "lr", "slope")


def test_one_seed_that_diverged_is_in_the_picture() -> None:
    assert "Not in the picture" not in draw_seeds(make_proof([10_000])).caption
    assert "Not in the picture: seed 10001" in draw_seeds(make_proof([60, 10_000])).caption


def test_layers_add_up_in_the_table() -> None:
    [section] = [each for each in sections(WON) if each.id == "network"]
    table = section.blocks[1]
    numbers = [int(row[3].replace(",", "")) for row in table.rows]  # type: ignore[union-attr]
    assert sum(numbers[:-1]) == numbers[-1] == CONFIG.model.num_params


def test_names_are_text_and_no_markup() -> None:
    evil = "<script>alert(1)</script>"
    trials = (*TRIALS, make_trial(9, None, reason=evil, state="failed"))
    text = render(replace(WON, trials=trials, summary=make_summary(**RERANKED, study_name=evil)))
    assert evil not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_trial_of_one_epoch_and_a_diverged_one_are_drawn() -> None:
    trials = (make_trial(0, 0.0, curve={1: 10.0}), make_trial(1, 100.0, curve={1: 100.0}))
    assert "curve-1" in render(replace(UNDER_WAY, trials=trials, summary=make_summary(best=searched(1, 100.0))))


def test_images_side_by_side_are_whole_ones() -> None:
    with pytest.raises(ValueError, match="An image has 784 pixels, but got 785"):
        to_png(bytes(785))
