"""Layers by arithmetic are those of the network."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from search.config import BLOCKS, ModelConfig
from search.net.model import DenseConv2d, Residual, SeparableConv2d, TinyCNN
from search.show.page.layers import layers_of

widths = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
models = st.builds(
    ModelConfig,
    channels=st.tuples(widths, widths, widths),
    blocks=st.tuples(*[st.sampled_from(BLOCKS)] * 3),
    residual=st.booleans(),
    dropout=st.sampled_from([0.0, 0.1]),
    norm=st.booleans(),
)


def blocks_of(network: TinyCNN) -> list[list[nn.Module]]:
    """The network's layers, a list from each convolution to the next."""
    blocks: list[list[nn.Module]] = []
    for layer in network.features:
        for part in layer if isinstance(layer, Residual) else [layer]:
            if isinstance(part, DenseConv2d | SeparableConv2d):
                blocks.append([])
            blocks[-1].append(part)
    return blocks


@given(models)
@settings(max_examples=60)
def test_parameters_shapes_and_multiply_adds_are_those_of_the_network(model: ModelConfig) -> None:
    layers = layers_of(model, 24)
    assert sum(layer.num_params for layer in layers) == model.num_params
    network = TinyCNN(model).eval()
    blocks = blocks_of(network)
    shapes: list[Any] = []
    for block in blocks:
        block[-1].register_forward_hook(lambda _module, _given, made: shapes.append(tuple(made.shape[1:])))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 28, 28))
    assert [(layer.channels, layer.side, layer.side) for layer in layers[:-1]] == shapes
    assert counter.get_total_flops() == 2 * sum(layer.multiply_adds for layer in layers)
    for layer, block in zip(layers, blocks, strict=False):
        assert layer.num_params == sum(each.numel() for part in block for each in part.parameters())
        assert ("batch norm" in layer.extras) == any(isinstance(part, nn.BatchNorm2d) for part in block)
        assert ("max-pooling" in layer.extras) == any(isinstance(part, nn.MaxPool2d) for part in block)
        assert ("dropout" in layer.extras) == any(isinstance(part, nn.Dropout) for part in block)
        assert layer.name.startswith("separable") == isinstance(block[0], SeparableConv2d)
    added = sum(isinstance(layer, Residual) for layer in network.features)
    assert sum("input added" in layer.extras for layer in layers) == added
