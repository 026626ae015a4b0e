"""A network as a list of steps and a list of numbers: what a browser needs to run it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .model import DenseConv2d, Residual, SeparableConv2d, TinyCNN

Step = dict[str, Any]


def program_of(model: TinyCNN) -> tuple[list[Step], bytes]:
    """The steps of a network in evaluation mode, and their numbers: little-endian fp32, in the order of the steps.

    A convolution takes its weights (output by output), then, where it has one, its bias; a batch norm, which is scale
    and shift of each channel, takes these; the head takes its matrix, then its bias.
    """
    steps: list[Step] = []
    numbers: list[Tensor] = []
    for layer in model.features:
        _add(layer, steps, numbers)
    steps.append({"do": "head", "in": model.head.in_features, "out": model.head.out_features})
    numbers += [model.head.weight, model.head.bias]
    flat = torch.cat([each.detach().flatten().float().cpu() for each in numbers])
    return steps, flat.numpy().astype(np.dtype("<f4")).tobytes()


def _add(layer: nn.Module, steps: list[Step], numbers: list[Tensor]) -> None:
    if isinstance(layer, Residual):
        steps.append({"do": "keep"})
        for part in layer:
            _add(part, steps, numbers)
        steps.append({"do": "add"})
    elif isinstance(layer, SeparableConv2d):
        for part in layer:
            assert isinstance(part, nn.Conv2d)
            _add_convolution(part, steps, numbers)
    elif isinstance(layer, DenseConv2d):
        _add_convolution(layer, steps, numbers)
    elif isinstance(layer, nn.BatchNorm2d):
        assert layer.running_mean is not None
        assert layer.running_var is not None
        scale = layer.weight / torch.sqrt(layer.running_var + layer.eps)
        steps.append({"do": "scale", "channels": layer.num_features})
        numbers += [scale, layer.bias - scale * layer.running_mean]
    elif isinstance(layer, nn.MaxPool2d | nn.ReLU):
        steps.append({"do": "pool" if isinstance(layer, nn.MaxPool2d) else "relu"})
    else:
        assert isinstance(layer, nn.Dropout), layer


def _add_convolution(layer: nn.Conv2d, steps: list[Step], numbers: list[Tensor]) -> None:
    steps.append(
        {
            "do": "convolve",
            "in": layer.in_channels,
            "out": layer.out_channels,
            "groups": layer.groups,
            "side": layer.kernel_size[0],
            "padding": int(layer.padding[0]),
            "bias": layer.bias is not None,
        }
    )
    numbers.append(layer.weight.contiguous())
    if layer.bias is not None:
        numbers.append(layer.bias)
