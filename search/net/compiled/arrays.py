"""Tensors as the kernels see them: their own memory, as flat arrays."""

import torch
from torch import Tensor

from .layout import Numbers


def flat(tensor: Tensor) -> Numbers:
    """The tensor's own memory. Raises RuntimeError where that is in another order (channels_last)."""
    assert tensor.dtype == torch.float32, tensor.dtype  # the kernels would read what is not there
    seen: Numbers = tensor.detach().view(-1).numpy()
    return seen


def flat_copy(tensor: Tensor) -> Numbers:
    """The tensor's own memory, or a copy where that is in another order."""
    return flat(tensor.detach().contiguous())
