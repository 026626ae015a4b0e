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
CROP_SIDE = IMAGE_SIZE - 2 * MARGIN  # pixels
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


def take_regions(
    images: Float[Tensor, "n 1 h h"], crops: Crops
) -> Iterator[tuple[Float[Tensor, "n 1 r r"], list[tuple[int, int]]]]:
    """For each size, the part of the resized images that its crops cover, and where in it each begins (top, left).

    What neighbouring crops have in common, a network without padding computes once.
    """
    for side in dict.fromkeys(crop.side for crop in crops):
        shifts = [(crop.down, crop.right) for crop in crops if crop.side == side]
        reach = max(abs(pixels) for shift in shifts for pixels in shift)
        yield (
            take(resize(images, side), -reach, -reach, CROP_SIDE + 2 * reach),
            [(reach + down, reach + right) for down, right in shifts],
        )


def resize(images: Float[Tensor, "n 1 h h"], side: int) -> Float[Tensor, "n 1 s s"]:
    """The images with so many pixels a side."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


def take(images: Float[Tensor, "n 1 h h"], down: int, right: int, side: int) -> Float[Tensor, "n 1 s s"]:
    """The part of the images, of so many pixels a side, that begins so far from where the central crop begins."""
    begin = (images.shape[-1] - CROP_SIDE) // 2
    return window(images, begin + down, begin + right, side)


def window(images: Float[Tensor, "n c h w"], top: int, left: int, side: int) -> Float[Tensor, "n c s s"]:
    """A square part of images or features; in channels_last, in which small convolutions are fastest."""
    part = images[:, :, top : top + side, left : left + side]
    return part.contiguous(memory_format=torch.channels_last)
