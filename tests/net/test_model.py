"""The network."""

import pytest
import torch
from torch import nn

from search.config import Channels, ModelConfig
from search.net.data import Split, normalise
from search.net.datasets import MNIST_PIXELS
from search.net.model import TinyCNN

CONFIG = ModelConfig(channels=((4, 5), (6,), (7, 8)), dropout=0.1)

shapes = pytest.mark.parametrize(
    "channels", [((1,), (1,), (1,)), ((4, 5), (6,), (7, 8)), ((3,), (4, 5, 6), (7,)), ((9, 8, 7), (6, 5), (4, 3, 2))]
)


def output_shapes(model: TinyCNN, kind: type[nn.Module], images: torch.Tensor) -> list[tuple[int, int]]:
    """Channels and height of what each layer of a kind gives."""
    seen: list[tuple[int, int]] = []
    for layer in model.modules():
        if isinstance(layer, kind):
            layer.register_forward_hook(lambda _layer, _inputs, out: seen.append((out.shape[1], out.shape[2])))
    model(images)
    return seen


@shapes
def test_every_image_gets_ten_logits(channels: Channels, few_digits: Split) -> None:
    logits = TinyCNN(ModelConfig(channels=channels)).eval()(normalise(few_digits.images[:5], MNIST_PIXELS))
    assert logits.shape == (5, 10)
    assert logits.isfinite().all()


@shapes
def test_the_first_two_convolutions_and_the_last_are_unpadded(channels: Channels, few_digits: Split) -> None:
    first = (22, 20, 20)[: len(channels[0])]
    second, third = (size_after := first[-1] // 2), size_after // 2
    sizes = [*first, *[second] * len(channels[1]), *[third] * (len(channels[2]) - 1), third - 2]
    expected = list(zip((width for stage in channels for width in stage), sizes, strict=True))
    model = TinyCNN(ModelConfig(channels=channels))
    assert output_shapes(model, nn.Conv2d, normalise(few_digits.images[:2], MNIST_PIXELS)) == expected


@shapes
def test_a_stage_pools_once_at_its_end_and_before_its_norm(channels: Channels, few_digits: Split) -> None:
    images = normalise(few_digits.images[:2], MNIST_PIXELS)
    model = TinyCNN(ModelConfig(channels=channels))
    pooled = 11 if len(channels[0]) == 1 else 10
    assert output_shapes(model, nn.MaxPool2d, images) == [(channels[0][-1], pooled), (channels[1][-1], 5)]
    model = TinyCNN(ModelConfig(channels=channels))
    first = [20] * (len(channels[0]) - 2) + [pooled] if len(channels[0]) > 1 else []
    sizes = first + [pooled] * (len(channels[1]) - 1) + [5] * len(channels[2]) + [3]
    assert [size for _, size in output_shapes(model, nn.BatchNorm2d, images)] == sizes


@shapes
def test_every_convolution_has_a_norm_but_the_first_which_has_a_bias(channels: Channels) -> None:
    model = TinyCNN(ModelConfig(channels=channels))
    biases = [layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    num_norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert biases == [True] + [False] * num_norms


def test_the_margin_of_an_image_is_not_looked_at(few_digits: Split) -> None:
    model = TinyCNN(CONFIG).eval()
    images = normalise(few_digits.images[:5], MNIST_PIXELS)
    framed = torch.nn.functional.pad(images[:, :, 2:-2, 2:-2], (2, 2, 2, 2), value=7.0)
    assert torch.equal(model(framed), model(images))
    framed[:, :, 2, 2:-2] = 7.0
    assert not torch.equal(model(framed), model(images))


def test_dropout_acts_after_each_stage_in_training_only(few_digits: Split) -> None:
    images = normalise(few_digits.images[:64], MNIST_PIXELS)
    model = TinyCNN(ModelConfig(channels=CONFIG.channels, dropout=0.5))
    assert len(output_shapes(model, nn.Dropout, images)) == 3
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_without_dropout_training_repeats(few_digits: Split) -> None:
    images = normalise(few_digits.images[:64], MNIST_PIXELS)
    model = TinyCNN(ModelConfig(channels=CONFIG.channels))
    assert torch.equal(model(images), model(images))
