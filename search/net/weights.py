"""What a network is made of, as an optimizer and an average see it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .model import TinyCNN


class Weights(NamedTuple):
    """What a network is made of, as an optimizer and an average see it: a few large tensors are faster than many."""

    matrices: list[Tensor]
    vectors: list[Tensor]
    statistics: list[Tensor]

    @property
    def all(self) -> list[Tensor]:
        return self.matrices + self.vectors + self.statistics


def all_weights(model: TinyCNN) -> Weights:
    """The network's own tensors."""
    parameters = list(model.parameters())
    return Weights(
        matrices=[parameter for parameter in parameters if parameter.ndim > 1],
        vectors=[parameter for parameter in parameters if parameter.ndim == 1],
        statistics=[buffer for buffer in model.buffers() if buffer.is_floating_point()],
    )


def flat_weights(model: TinyCNN) -> Weights:
    """One tensor of each kind, of which the network's own are made views, and the gradients too."""
    return Weights(*([_flatten(tensors)] if tensors else [] for tensors in all_weights(model)))


def _flatten(tensors: list[Tensor]) -> Tensor:
    flat = nn.Parameter(torch.cat([tensor.detach().flatten() for tensor in tensors]))
    flat.grad = torch.zeros_like(flat)
    begin = 0
    for tensor in tensors:
        part = slice(begin, begin + tensor.numel())
        tensor.data = flat.data[part].view(tensor.shape)
        if isinstance(tensor, nn.Parameter):
            tensor.grad = flat.grad[part].view(tensor.shape)
        begin += tensor.numel()
    return flat
