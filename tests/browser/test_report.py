"""The report in a real browser: drawn, legible, operable, and the network in it answers as PyTorch does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import ALL, BEGUN

from search.config import ModelConfig
from search.net.crops import ALL_CROPS
from search.net.data import Split
from search.net.datasets import MNIST_PIXELS
from search.net.model import TinyCNN
from search.net.pictures import cut_out
from search.net.program import program_of
from search.runs.exporting import KeptNetwork, crops_of, load_network
from search.settings import COMMITTED
from search.show.page.facts import PageFacts, Program
from search.show.page.render import render

pytestmark = pytest.mark.slow
Open = Callable[..., Any]
NETWORK = load_network(next(COMMITTED[0].glob("verify-*.safetensors")))


def with_program(facts: PageFacts, model: TinyCNN) -> PageFacts:
    steps, numbers = program_of(model)
    return replace(
        facts,
        program=Program(
            whose="A network",
            steps=tuple(steps),
            numbers=numbers,
            mean=MNIST_PIXELS.mean,
            std=MNIST_PIXELS.std,
            crops=tuple((28 + crop.larger, crop.down, crop.right) for crop in ALL_CROPS),
        ),
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(with_program(ALL, NETWORK.model)), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_figure_is_drawn_and_nothing_is_wider_than_the_screen(
    address: str, scheme: str, width: int, open_page: Open, keep: Callable[[Any], None]
) -> None:
    page = open_page(address, width=width, scheme=scheme)
    figures = page.locator("figure svg")
    assert figures.count() == 13
    for index in range(figures.count()):
        frame = figures.nth(index).bounding_box()
        assert frame["width"] > 250, index
        assert frame["height"] > 50, index
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    keep(page)


def test_day_and_night_differ_and_a_button_changes_them(address: str, open_page: Open) -> None:
    page = open_page(address, scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    dot = "getComputedStyle(document.querySelector('.tip use')).fill"
    by_day = page.evaluate(ground), page.evaluate(dot)
    page.locator("#theme").click()
    by_night = page.evaluate(ground), page.evaluate(dot)
    assert by_day[0] != by_night[0]
    assert by_day[1] != by_night[1]
    dark = open_page(address, scheme="dark")
    assert (dark.evaluate(ground), dark.evaluate(dot)) == by_night
    dark.locator("#theme").click()
    assert dark.evaluate(ground) == by_day[0]


def test_pointing_at_a_dot_tells_what_it_is(address: str, open_page: Open) -> None:
    page = open_page(address)
    dot = page.locator("#seeds .tip, svg [id^='seeds-seed-']").first
    dot.scroll_into_view_if_needed()
    dot.hover(force=True)
    assert page.locator("#tip").inner_text().startswith("seed ")


def test_tables_are_unfolded_with_the_keyboard(address: str, open_page: Open) -> None:
    page = open_page(address)
    summary = page.locator("#search summary")
    assert not page.locator("#search details table").is_visible()
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("#search details table").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(address: str, scheme: str, open_page: Open) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(open_page(address, scheme=scheme)).response["violations"]
    serious = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
    assert serious == []


def test_a_page_of_a_study_that_has_just_begun_is_shown(tmp_path: Path, open_page: Open) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(BEGUN), encoding="utf-8")
    page = open_page(path.as_uri())
    assert page.locator("h1").inner_text() == "Nothing to see yet: no trial is complete."
    assert page.locator("#canvas").count() == 0


# The network in the page


def classify(page: Any, images: torch.Tensor) -> torch.Tensor:
    return torch.tensor(page.evaluate("images => images.map(network.classify)", images.flatten(1).tolist()))


def test_the_network_in_the_page_answers_as_pytorch_does(
    address: str, open_page: Open, final_splits: tuple[Split, Split]
) -> None:
    images = final_splits[1].select(torch.arange(0, 1_000, 50)).images
    found = classify(open_page(address), images)
    assert (found - NETWORK.look(images, crops_of("all"))).abs().max() < 1e-4


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(channels=((3, 4, 4), (5, 6), (7, 8)), blocks=("separable",) * 3, residual=True, dropout=0.1),
        ModelConfig(channels=((3,), (4, 5, 6), (7,)), blocks=("dense", "separable", "dense"), residual=True),
        ModelConfig(channels=((3, 4), (5,), (6, 7)), norm=False),
    ],
    ids=["separable", "mixed", "without norms"],
)
def test_every_kind_of_network_runs_in_the_page(
    config: ModelConfig, few_digits: Split, tmp_path: Path, open_page: Open
) -> None:
    model = TinyCNN(config)
    model(torch.randn(64, 1, 28, 28))  # statistics of the norms
    model.eval()
    path = tmp_path / "report.html"
    path.write_text(render(with_program(BEGUN, model)), encoding="utf-8")
    images = few_digits.images[:5]
    expected = KeptNetwork(model=model, dataset=NETWORK.dataset, pixels=NETWORK.pixels, origin="").look(
        images, crops_of("all")
    )
    assert (classify(open_page(path.as_uri()), images) - expected).abs().max() < 1e-4


STROKES = {
    1: [[(140, 40), (140, 240)]],
    7: [[(80, 60), (200, 60), (130, 230)]],
    2: [[(90, 80), (140, 50), (190, 90), (170, 140), (90, 220), (200, 220)]],
    4: [[(110, 50), (80, 150), (200, 150)], [(170, 60), (170, 240)]],
    0: [[(140, 50), (90, 90), (80, 160), (110, 225), (160, 230), (195, 170), (190, 95), (140, 50)]],
}


@pytest.mark.parametrize("digit", list(STROKES))
def test_a_digit_that_is_drawn_is_recognised(
    digit: int, address: str, open_page: Open, keep: Callable[[Any], None]
) -> None:
    page = open_page(address)
    canvas = page.locator("#canvas")
    canvas.scroll_into_view_if_needed()
    frame = canvas.bounding_box()
    for (x, y), *others in STROKES[digit]:
        page.mouse.move(frame["x"] + x, frame["y"] + y)
        page.mouse.down()
        for right, down in others:
            page.mouse.move(frame["x"] + right, frame["y"] + down, steps=5)
        page.mouse.up()
    assert page.locator("#answer").inner_text().startswith(f"It is a {digit} (")
    keep(page)
    page.locator("#clear").click()
    assert page.locator("#answer").inner_text() == "Draw a digit."


def test_what_is_drawn_is_cut_out_as_predict_does_it(
    address: str, open_page: Open, final_splits: tuple[Split, Split]
) -> None:
    page = open_page(address)
    for image in final_splits[1].images[:100:10, 0].numpy():
        grey = np.kron(255.0 - image, np.ones((10, 10)))
        found = page.evaluate("grey => Array.from(cutOut(grey, 280, 280))", grey.flatten().tolist())
        difference = np.abs(np.reshape(found, (28, 28)) - cut_out(grey, "it").astype(float))
        assert difference.mean() < 4
    assert page.evaluate("cutOut(new Array(100).fill(255), 10, 10)") is None
