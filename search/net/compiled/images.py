"""Images before a network sees them: distorted, or resized."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...config import MARGIN, AugmentConfig
from ..crops import crop_side
from ..datasets import Pixels
from . import warping


def warp(
    images: UInt8[Tensor, "n 1 28 28"], draws: Float[Tensor, "n 5"], strengths: AugmentConfig, pixels: Pixels
) -> Float[Tensor, "n 1 s s"]:
    """What `search.net.augment.augment` makes of images by these draws: of it, what a network looks at."""
    side = crop_side(images.shape[-1] + 2 * pixels.frame)
    out = torch.empty(len(images), 1, side, side)
    angle = strengths.rotation * np.pi / 180
    factors = np.array([angle, strengths.shift, strengths.shift, strengths.scale, strengths.shear])
    mean, deviation = np.float32(255 * pixels.mean), np.float32(255 * pixels.std)
    warping.warp_images(images.numpy(), draws.numpy(), factors, pixels.frame, MARGIN, mean, deviation, out.numpy())
    return out


def resize(images: Float[Tensor, "n 1 h h"], side: int) -> Float[Tensor, "n 1 s s"]:
    """What `search.net.crops.resize` gives."""
    if images.shape[-1] == side:
        return images
    out = torch.empty(len(images), 1, side, side)
    warping.resize_images(images.numpy(), out.numpy())
    return out
