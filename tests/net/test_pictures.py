"""Pictures of digits are brought into MNIST's form, whatever their size and colours."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from search.net.data import Split
from search.net.pictures import BOX, PictureError, cut_out, read_picture
from search.runs.exporting import KeptNetwork, crops_of, load_network

MODEL = next((Path(__file__).resolve().parents[2] / "results" / "reference").glob("verify-*.safetensors"))


@pytest.fixture(scope="module")
def network() -> KeptNetwork:
    return load_network(MODEL)


def draw_seven(size: int = 200, ground: str = "white", ink: str = "black", width: int = 14) -> Image.Image:
    picture = Image.new("RGB", (size, size), ground)
    lines = [(0.3 * size, 0.2 * size), (0.7 * size, 0.2 * size), (0.42 * size, 0.8 * size)]
    ImageDraw.Draw(picture).line(lines, fill=ink, width=width * size // 200, joint="curve")
    return picture


def read(picture: Image.Image, path: Path) -> NDArray[np.uint8]:
    picture.save(path)
    return read_picture(path)


def answer(network: KeptNetwork, digit: NDArray[np.uint8]) -> int:
    return int(network.look(torch.from_numpy(digit)[None, None], crops_of("all")).argmax())


@pytest.mark.parametrize(
    ("ground", "ink"), [("white", "black"), ("black", "white"), ("#faf0e6", "#102a80"), ("#203040", "#ffd700")]
)
@pytest.mark.parametrize("size", [28, 90, 900])
def test_a_drawn_digit_is_read_in_any_colours_and_size(
    network: KeptNetwork, ground: str, ink: str, size: int, tmp_path: Path
) -> None:
    digit = read(draw_seven(size, ground, ink), tmp_path / "seven.png")
    assert (digit.shape, digit.dtype) == ((28, 28), np.uint8)
    assert [digit[row, column] for row in (0, -1) for column in (0, -1)] == [0] * 4  # light on dark
    assert digit.max() == 255
    assert answer(network, digit) == 7


def test_a_digit_is_scaled_to_its_box_and_centred_by_its_mass(tmp_path: Path) -> None:
    picture = Image.new("L", (400, 300), 255)
    ImageDraw.Draw(picture).rectangle((20, 30, 59, 229), fill=0)  # far from the middle, and five times as high as wide
    digit = read(picture, tmp_path / "bar.png")
    rows, columns = np.nonzero(digit > 60)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (BOX, BOX // 5)
    assert abs(rows.mean() - 13.5) <= 0.5
    assert abs(columns.mean() - 13.5) <= 0.5


def test_what_is_no_digit_fills_the_image(tmp_path: Path) -> None:
    picture = Image.new("L", (400, 300), 255)
    ImageDraw.Draw(picture).rectangle((20, 30, 59, 229), fill=0)
    path = tmp_path / "bar.png"
    picture.save(path)
    rows, columns = np.nonzero(read_picture(path, centred=False) > 60)
    assert (rows.min(), rows.max()) == (0, 27)
    assert (columns.min(), columns.max()) == (11, 16)  # six of 28 wide, in the middle


def test_mnist_digits_as_large_dark_pictures_are_answered_as_before(
    network: KeptNetwork, final_splits: tuple[Split, Split], tmp_path: Path
) -> None:
    digits = final_splits[1].select(torch.arange(0, 1_000, 5))
    plain = network.look(digits.images, crops_of("all")).argmax(dim=1)
    pictures = [
        Image.fromarray(255 - image).resize((336, 336), Image.Resampling.BICUBIC)
        for image in digits.images[:, 0].numpy()
    ]
    found = np.stack([read(picture, tmp_path / "digit.png") for picture in pictures])
    answers = network.look(torch.from_numpy(found)[:, None], crops_of("all")).argmax(dim=1)
    assert (answers == plain).sum() >= 0.98 * len(digits)


def test_what_is_transparent_is_paper(network: KeptNetwork, tmp_path: Path) -> None:
    picture = draw_seven().convert("RGBA")
    pixels = np.array(picture)
    pixels[..., 3] = 255 - pixels[..., 0]  # ink alone is there
    pixels[..., :3] = 0
    assert answer(network, read(Image.fromarray(pixels), tmp_path / "seven.png")) == 7


def test_white_ink_on_nothing_is_seen(network: KeptNetwork, tmp_path: Path) -> None:
    pixels = np.array(draw_seven(ground="black", ink="white").convert("RGBA"))
    pixels[..., 3] = pixels[..., 0]
    pixels[..., :3] = 255
    assert answer(network, read(Image.fromarray(pixels), tmp_path / "seven.png")) == 7


@pytest.mark.parametrize(
    ("dtype", "scale", "suffix"), [("uint16", 200, "png"), ("int32", 200, "tiff"), ("float32", 1 / 255, "tiff")]
)
def test_pictures_of_more_than_eight_bits_keep_their_shades(
    network: KeptNetwork, dtype: str, scale: float, suffix: str, tmp_path: Path
) -> None:
    values = 10 + np.asarray(draw_seven(ground="#e0e0e0", ink="#303030").convert("L"), dtype=np.float64)
    digit = read(Image.fromarray((values * scale).astype(dtype)), tmp_path / f"seven.{suffix}")
    assert answer(network, digit) == 7
    assert {0, 255} <= set(digit.flat)
    paper = 200 + np.random.default_rng(0).uniform(-2, 2, (50, 50))
    for blank in (paper, np.zeros((50, 50))):
        with pytest.raises(PictureError, match="is empty"):
            read(Image.fromarray((blank * scale).astype(dtype)), tmp_path / f"blank.{suffix}")


def test_a_picture_of_what_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="is no picture that can be read"):
        read(Image.fromarray(np.full((50, 50), np.nan, np.float32)), tmp_path / "nothing.tiff")


def test_a_picture_that_is_mostly_ink_is_answered(network: KeptNetwork) -> None:
    answers = network.look(torch.full((1, 1, 28, 28), 255, dtype=torch.uint8), crops_of("1"))
    assert answers.sum() == pytest.approx(1, abs=1e-5)


def test_specks_that_are_faint_do_not_widen_the_digit(tmp_path: Path) -> None:
    picture = draw_seven()
    clean = read(picture, tmp_path / "clean.png")
    picture.putpixel((2, 197), (235, 235, 235))
    assert np.array_equal(read(picture, tmp_path / "speck.png"), clean)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_empty_picture_is_refused(grey: int, tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"blank\.png is empty"):
        read(Image.new("L", (50, 50), grey), tmp_path / "blank.png")


def test_a_picture_that_is_far_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (10_000, 5_001)).save(path)
    with pytest.raises(PictureError, match=r"has 10,000 x 5,001 pixels, and 50,000,000 are the most"):
        read_picture(path)


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    (tmp_path / "empty.png").touch()
    for name in ("text.png", "cut.png", "empty.png"):
        with pytest.raises(PictureError, match=f"{name} is no picture that can be read"):
            read_picture(tmp_path / name)
    with pytest.raises(PictureError, match="is not there"):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(PictureError, match="is no picture"):
        read_picture(tmp_path)


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (1, 1), (3, 5)])
def test_odd_shapes_are_read_or_refused(shape: tuple[int, int]) -> None:
    grey = np.full(shape, 255.0)
    grey[0, 0] = 0.0
    try:
        digit = cut_out(grey, "it")
    except PictureError:
        return
    assert digit.shape == (28, 28)
