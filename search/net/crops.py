"""Crops: the ways in which a network looks at an image. Several of them are called views, as in the field."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from search.config import IMAGE_SIZE, MARGIN


class Crop(NamedTuple):
    """The image resized to so many pixels a side, and the part of it that is so many down and right of its centre."""

    side: int
    down: int
    right: int


Crops = tuple[Crop, ...]
SIDES = (IMAGE_SIZE - 2, IMAGE_SIZE, IMAGE_SIZE + 2)
SHIFTS = (-1, 0, 1)
CENTRE: Crops = (Crop(IMAGE_SIZE, 0, 0),)
ALL_CROPS: Crops = tuple(Crop(side, down, right) for side in SIDES for down in SHIFTS for right in SHIFTS)


def describe_crops(crops: Crops) -> str:
    """For example "27 views: 3 sizes, 9 shifts of up to 1 pixel"."""
    sizes, shifts = {crop.side for crop in crops}, {(crop.down, crop.right) for crop in crops}
    furthest = max(abs(pixels) for shift in shifts for pixels in shift)
    unit = "pixel" if furthest == 1 else "pixels"
    return f"{len(crops)} views: {len(sizes)} sizes, {len(shifts)} shifts of up to {furthest} {unit}"


def take_crops(images: Float[Tensor, "n 1 h h"], crops: Crops) -> Iterator[Float[Tensor, "n 1 24 24"]]:
    """One crop of the images after the other; each size is resized to once."""
    resized = {side: resize(images, side) for side in {crop.side for crop in crops}}
    return (take(resized[side], down, right) for side, down, right in crops)


def resize(images: Float[Tensor, "n 1 h h"], side: int) -> Float[Tensor, "n 1 s s"]:
    """The images with so many pixels a side."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


def take(images: Float[Tensor, "n 1 h h"], down: int, right: int) -> Float[Tensor, "n 1 24 24"]:
    """The part of the images that is so far from their centre."""
    side = IMAGE_SIZE - 2 * MARGIN
    middle = (images.shape[-1] - side) // 2
    top, left = middle + down, middle + right
    return images[:, :, top : top + side, left : left + side].contiguous(memory_format=torch.channels_last)
