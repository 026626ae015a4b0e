"""Crops: the ways in which a network looks at an image. Several of them are called views, as in the field."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..config import MARGIN


class Crop(NamedTuple):
    """The image resized to so many pixels a side more than it has, and the part that is so many down and right."""

    larger: int
    down: int
    right: int


Crops = tuple[Crop, ...]
LARGER = (-2, 0, 2)
SHIFTS = (-1, 0, 1)
CENTRE: Crops = (Crop(0, 0, 0),)
ALL_CROPS: Crops = tuple(Crop(larger, down, right) for larger in LARGER for down in SHIFTS for right in SHIFTS)


def describe_crops(crops: Crops) -> str:
    """For example "27 views: 3 sizes, 9 shifts of up to 1 pixel"."""
    sizes, shifts = {crop.larger for crop in crops}, {(crop.down, crop.right) for crop in crops}
    furthest = max(abs(pixels) for shift in shifts for pixels in shift)
    unit = "pixel" if furthest == 1 else "pixels"
    return f"{len(crops)} views: {len(sizes)} sizes, {len(shifts)} shifts of up to {furthest} {unit}"


def crop_side(image_side: int) -> int:
    """How many pixels a side of such an image a network looks at."""
    return image_side - 2 * MARGIN


def resize(images: Float[Tensor, "n 1 h h"], side: int) -> Float[Tensor, "n 1 s s"]:
    """The images with so many pixels a side."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


def take_regions(
    images: Float[Tensor, "n 1 h h"], crops: Crops, resize: Callable[[Tensor, int], Tensor] = resize
) -> Iterator[tuple[Float[Tensor, "n 1 r r"], list[tuple[int, int]]]]:
    """For each size, the part of the resized images that its crops cover, and where in it each begins (top, left).

    What neighbouring crops have in common, a network without padding computes once.

    Args:
        resize: What makes images of so many pixels a side.
    """
    image_side = images.shape[-1]
    for larger in dict.fromkeys(crop.larger for crop in crops):
        shifts = [(crop.down, crop.right) for crop in crops if crop.larger == larger]
        reach = max(abs(pixels) for shift in shifts for pixels in shift)
        resized = resize(images, image_side + larger)
        begin = (image_side + larger - crop_side(image_side)) // 2 - reach
        yield (
            window(resized, begin, begin, crop_side(image_side) + 2 * reach),
            [(reach + down, reach + right) for down, right in shifts],
        )


def window(images: Float[Tensor, "n c h w"], top: int, left: int, side: int) -> Float[Tensor, "n c s s"]:
    """A square part of images or features; in channels_last, in which small convolutions are fastest."""
    part = images[:, :, top : top + side, left : left + side]
    return part.contiguous(memory_format=torch.channels_last)
