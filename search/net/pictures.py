"""Pictures, whatever their size and colours, brought into the form in which a data set's images are.

MNIST's makers scaled each digit to fit 20x20 pixels, keeping its proportions, and put its centre of mass into the
middle of 28x28 ("Gradient-Based Learning Applied to Document Recognition", LeCun et al., 1998): white on black. Other
sets fill the image, as Fashion-MNIST does ("Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
Algorithms", Xiao et al., 2017).
"""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ..config import IMAGE_SIZE, ExplainedError
from ..files import read_regular

BOX = 20  # pixels a side into which a digit is scaled; what is not centred by its mass fills the image
LARGEST_FILE = 2**27  # bytes
LARGEST_PICTURE = 50_000_000  # pixels
LARGEST_SIDE = 1_000  # pixels, of what is looked at
UNREADABLE = (  # what Pillow raises, besides its own errors, for files that are damaged
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)
FAINTEST = 24  # of 255: a picture whose ink differs less from its ground holds no digit
INK = 0.2  # of the strongest ink: what is fainter does not count for where a digit begins and ends
BORDER = 0.06  # of a side: the rim of a picture, which tells the ground's brightness

Grey = NDArray[np.float64]


class PictureError(ExplainedError):
    """A file is no picture, or holds nothing that could be a digit."""


def read_picture(path: Path, *, centred: bool = True) -> NDArray[np.uint8]:
    """What a picture shows, as the network sees it: 28x28, white on black.

    Args:
        centred: Whether it is to be like a digit of MNIST; else it fills the image.

    Raises:
        PictureError: If the file cannot be read, is far too large, or is empty.
    """
    return cut_out(_read_grey(path), path, centred=centred)


def _read_grey(path: Path) -> Grey:
    """Brightness from 0 to 255; what is transparent is white, as paper is."""
    try:
        content = read_regular(path, limit=LARGEST_FILE)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower
            with Image.open(io.BytesIO(content)) as picture:
                if picture.width * picture.height > LARGEST_PICTURE:
                    raise PictureError(
                        f"{path} has {picture.width:,} x {picture.height:,} pixels, and {LARGEST_PICTURE:,} are the "
                        f"most. Scale it down."
                    )
                whole = _in_bytes(ImageOps.exif_transpose(picture)).convert("RGBA")  # a phone says which side is up
    except FileNotFoundError:
        raise PictureError(f"{path} is not there.") from None
    except UnidentifiedImageError as error:
        raise PictureError(f"{path} is no picture that can be read (of no format that is known).") from error
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{path} is no picture that can be read ({reason}).") from error
    whole.thumbnail((LARGEST_SIDE, LARGEST_SIDE))  # a digit needs no more, and memory is short
    return _on_paper(whole)


def _in_bytes(picture: Image.Image) -> Image.Image:
    """A picture of more than 8 bits a pixel, from its darkest to its brightest; Pillow would cut it off at 255."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("its pixels are not all finite")
    values -= low
    if high - low < FAINTEST / 255 * max(abs(low), abs(high)):
        values[:] = 0  # nothing but noise
    elif high > low:
        values *= 255 / (high - low)
    return Image.fromarray(values.round().astype(np.uint8))


def _on_paper(picture: Image.Image) -> Grey:
    """What is transparent is white, as paper is; where ink is white as well, it is told by the transparency alone."""
    paper = Image.new("RGBA", picture.size, "white")
    grey = np.asarray(Image.alpha_composite(paper, picture).convert("L"), dtype=np.float64)
    opaque = np.asarray(picture.getchannel("A"), dtype=np.float64)
    return 255 - opaque if np.ptp(grey) < FAINTEST <= np.ptp(opaque) else grey


def cut_out(grey: Grey, source: object, *, centred: bool = True) -> NDArray[np.uint8]:
    """What is shown, scaled and centred as MNIST's digits are, or filling the image.

    Args:
        grey: Brightness from 0 to 255, dark on light or light on dark: what the rim has is the ground.
        source: What a complaint calls it.

    Raises:
        PictureError: If there is nothing on the ground.
    """
    ink = np.abs(grey - _ground_of(grey))
    strongest = float(ink.max(initial=0.0))
    if strongest < FAINTEST:
        raise PictureError(f"{source} is empty: nothing in it differs from its ground.")
    rows, columns = np.nonzero(ink >= INK * strongest)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    part = ink[top:bottom, left:right] * (255 / strongest)
    scale = (BOX if centred else IMAGE_SIZE) / max(part.shape)
    height, width = (max(1, round(scale * side)) for side in part.shape)
    shrunk = Image.fromarray(part.astype(np.float32)).resize((width, height), Image.Resampling.BOX if scale < 1 else
                                                             Image.Resampling.BILINEAR)  # fmt: skip
    digit = np.asarray(shrunk, dtype=np.float64)
    digit = digit * (255 / max(1.0, float(digit.max())))  # thin lines fade when they are scaled down
    return _centre(digit.clip(0, 255), by_mass=centred)


def _ground_of(grey: Grey) -> float:
    """The brightness of most of the rim."""
    rim = max(1, round(BORDER * min(grey.shape)))
    parts = (grey[:rim], grey[-rim:], grey[:, :rim], grey[:, -rim:])
    return float(np.median(np.concatenate([part.ravel() for part in parts])))


def _centre(digit: Grey, *, by_mass: bool) -> NDArray[np.uint8]:
    """In 28x28 pixels, its centre (of mass) as near to the middle as whole pixels go."""
    height, width = digit.shape
    weights = digit if by_mass else np.ones_like(digit)
    mass = weights.sum()
    row = float((weights.sum(axis=1) * np.arange(height)).sum() / mass)
    column = float((weights.sum(axis=0) * np.arange(width)).sum() / mass)
    middle = (IMAGE_SIZE - 1) / 2
    top = min(max(0, round(middle - row)), IMAGE_SIZE - height)
    left = min(max(0, round(middle - column)), IMAGE_SIZE - width)
    centred = np.zeros((IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    centred[top : top + height, left : left + width] = digit.round()
    return centred
