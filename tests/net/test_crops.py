"""The crops that a network looks at."""

import pytest
import torch
from torch import Tensor

from search.config import ModelConfig
from search.net.crops import (
    ALL_CROPS,
    CENTRE,
    Crop,
    Crops,
    crop_side,
    describe_crops,
    resize,
    take_regions,
    window,
)
from search.net.data import Split, normalise
from search.net.datasets import MNIST_PIXELS
from search.net.model import TinyCNN


def test_a_view_is_resized_and_shifted(few_digits: Split) -> None:
    images = normalise(few_digits.images, MNIST_PIXELS)
    larger = resize(images, 30)
    assert larger.shape[2:] == (30, 30)
    network = TinyCNN(ModelConfig(channels=((2,), (3,), (4,)))).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(images, (Crop(2, 1, 0),)), network(larger[:, :, 2:30, 1:29]))


def test_all_views_differ_and_lie_within_the_image() -> None:
    assert len(set(ALL_CROPS)) == len(ALL_CROPS) == 27
    assert set(CENTRE) < set(ALL_CROPS)
    for crop in ALL_CROPS:
        margin = (28 + crop.larger - crop_side(28)) // 2
        assert margin >= max(abs(crop.down), abs(crop.right))


def test_regions_cover_their_crops_and_each_begins_where_it_should(few_digits: Split) -> None:
    images = normalise(few_digits.images[:3], MNIST_PIXELS)
    crops = (*ALL_CROPS, Crop(2, -2, 1))
    parts = [window(region, *corner, 24) for region, corners in take_regions(images, crops) for corner in corners]
    expected = [see(images, crop) for crop in sorted(crops, key=by_size)]
    assert len(parts) == len(expected)
    for part, crop in zip(parts, expected, strict=True):
        assert torch.equal(part, crop)
    assert [region.shape[-1] for region, _ in take_regions(images, crops)] == [26, 26, 28]


def see(images: Tensor, crop: Crop) -> Tensor:
    """What a network sees by one crop."""
    begin = 2 + crop.larger // 2
    return window(resize(images, 28 + crop.larger), begin + crop.down, begin + crop.right, 24)


def by_size(crop: Crop) -> int:
    return crop.larger


NETWORKS = [
    ModelConfig(channels=((2,), (3,), (4,))),
    ModelConfig(channels=((2, 3), (3,), (4,)), blocks=("separable", "dense", "dense")),
    ModelConfig(channels=((2, 3, 3), (3, 4), (4, 4)), dropout=0.1),
    ModelConfig(channels=((2, 3, 3, 4), (3, 4), (4, 4)), blocks=("separable",) * 3, residual=True),
    ModelConfig(channels=((2, 3, 3), (3,), (4,)), norm=False),
]


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: str(config.channels))
def test_what_views_share_is_computed_once_and_changes_nothing(config: ModelConfig, few_digits: Split) -> None:
    images = normalise(few_digits.images[::4], MNIST_PIXELS)
    network = TinyCNN(config)
    network(images)  # statistics of the norms
    network.eval()
    with torch.inference_mode():
        each = [network(images, (crop,)) for crop in ALL_CROPS]
        torch.testing.assert_close(network(images, ALL_CROPS), torch.stack(each).mean(dim=0))


@pytest.mark.parametrize(
    ("crops", "words"),
    [
        (ALL_CROPS, "27 views: 3 sizes, 9 shifts of up to 1 pixel"),
        ((*CENTRE, Crop(2, 2, 0), Crop(2, -1, 0)), "3 views: 2 sizes, 3 shifts of up to 2 pixels"),
    ],
)
def test_crops_are_described_by_their_sizes_and_shifts(crops: Crops, words: str) -> None:
    assert describe_crops(crops) == words
