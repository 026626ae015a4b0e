"""Batches of training images, each distorted by its own draw."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ..config import AugmentConfig
from .data import Split, add_frame, standardise
from .datasets import Pixels

BATCHES_AT_ONCE = 4  # that are augmented (results/LOG.md)

Batch = tuple[Float[Tensor, "b 1 s s"], Int64[Tensor, " b"]]


def augmented_batches(
    split: Split, size: int, strengths: AugmentConfig, generator: torch.Generator, *, own_kernels: bool = False
) -> Iterator[Batch]:
    """One epoch in random order: normalised, augmented images, and their labels.

    Several batches are augmented at once: what an operation costs, whatever its size, is paid less often.
    """
    for part in split.shuffled(size, generator).parts(size * BATCHES_AT_ONCE):
        images = augment(part.images, part.pixels, strengths, generator, own_kernels=own_kernels)
        yield from zip(torch.split(images, size), torch.split(part.labels, size), strict=True)


def augment(
    images: UInt8[Tensor, "n 1 28 28"],
    pixels: Pixels,
    strengths: AugmentConfig,
    generator: torch.Generator,
    *,
    own_kernels: bool = False,
) -> Float[Tensor, "n 1 s s"]:
    """Rotates, shifts, scales and shears every image by its own draw, then normalises.

    One affine grid serves the whole batch. What comes in from outside the image is black: it is filled in
    before normalising.

    Args:
        own_kernels: Whether our own kernels compute it, on a CPU: the same, but for rounding; and of distorted images
            only what a network looks at.
    """
    if strengths == AugmentConfig():
        return standardise(add_frame(images, pixels), pixels)
    draws = torch.rand(len(images), 5, generator=generator, device=images.device).mul_(2).sub_(1)
    if own_kernels:
        from .compiled.images import warp

        return warp(images, draws, strengths, pixels)
    images = add_frame(images, pixels)
    angle, shift_x, shift_y, scale, shear = draws.unbind(dim=1)
    angle = angle * (strengths.rotation * torch.pi / 180)
    size = 1 + strengths.scale * scale
    # The grid says where each output pixel comes from: hence the division by the size.
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    slant = strengths.shear * shear
    shift = strengths.shift * 2 / images.shape[-1]  # the grid spans -1 to 1
    rows = torch.stack([cos, cos * slant - sin, shift * shift_x, sin, sin * slant + cos, shift * shift_y], dim=1)
    grid = affine_grid(rows.view(-1, 2, 3), images.shape[-1])
    moved = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return standardise(moved, pixels)


def affine_grid(matrices: Float[Tensor, "n 2 3"], side: int) -> Float[Tensor, "n s s 2"]:
    """`F.affine_grid(matrices, (n, 1, side, side), align_corners=False)`, as one matrix product.

    Faster on a CPU, and all x before all y, which `grid_sample` reads faster than pairs.
    """
    centres = (2 * torch.arange(side, device=matrices.device) + 1) / side - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    pixels = torch.stack([x.flatten(), y.flatten(), torch.ones_like(x).flatten()])
    return (matrices.view(-1, 3) @ pixels).view(-1, 2, side, side).permute(0, 2, 3, 1)
