"""The crops that a network looks at."""

import pytest
import torch

from search.config import ModelConfig
from search.net.crops import ALL_CROPS, CENTRE, Crop, Crops, describe_crops, resize, take, take_regions, window
from search.net.data import Split, normalise
from search.net.datasets import MNIST_PIXELS
from search.net.model import TinyCNN


def test_a_view_is_resized_and_shifted(few_digits: Split) -> None:
    images = normalise(few_digits.images, MNIST_PIXELS)
    assert torch.equal(take(images, 1, -2, 24), images[:, :, 3:27, 0:24])
    larger = resize(images, 30)
    assert larger.shape[2:] == (30, 30)
    assert torch.equal(take(larger, 0, 0, 24), larger[:, :, 3:27, 3:27])
    network = TinyCNN(ModelConfig(channels=((2,), (3,), (4,)))).eval()
    with torch.no_grad():
        expected = network(larger[:, :, 2:30, 1:29])  # of which it looks at the centre
        torch.testing.assert_close(network(images, (Crop(30, 1, 0),)), expected)


def test_all_views_differ_and_lie_within_the_image() -> None:
    assert len(set(ALL_CROPS)) == len(ALL_CROPS) == 27
    assert set(CENTRE) < set(ALL_CROPS)
    for crop in ALL_CROPS:
        image = torch.zeros(1, 1, crop.side, crop.side)
        assert take(image, crop.down, crop.right, 24).shape == (1, 1, 24, 24)


def test_regions_cover_their_crops_and_each_begins_where_it_should(few_digits: Split) -> None:
    images = normalise(few_digits.images[:3], MNIST_PIXELS)
    crops = (*ALL_CROPS, Crop(30, -2, 1))
    parts = [window(region, *corner, 24) for region, corners in take_regions(images, crops) for corner in corners]
    expected = [take(resize(images, crop.side), crop.down, crop.right, 24) for crop in sorted(crops, key=by_side)]
    assert len(parts) == len(expected)
    for part, crop in zip(parts, expected, strict=True):
        assert torch.equal(part, crop)
    assert [region.shape[-1] for region, _ in take_regions(images, crops)] == [26, 26, 28]


def by_side(crop: Crop) -> int:
    return crop.side


NETWORKS = [
    ModelConfig(channels=((2,), (3,), (4,))),
    ModelConfig(channels=((2, 3), (3,), (4,)), blocks=("separable", "dense", "dense")),
    ModelConfig(channels=((2, 3, 3), (3, 4), (4, 4)), dropout=0.1),
    ModelConfig(channels=((2, 3, 3, 4), (3, 4), (4, 4)), blocks=("separable",) * 3, residual=True),
    ModelConfig(channels=((2, 3, 3), (3,), (4,)), norm=False),
]


@pytest.mark.parametrize("config", NETWORKS, ids=lambda config: str(config.channels))
def test_what_views_share_is_computed_once_and_changes_nothing(config: ModelConfig, few_digits: Split) -> None:
    images = normalise(few_digits.images, MNIST_PIXELS)
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
        ((*CENTRE, Crop(30, 2, 0), Crop(30, -1, 0)), "3 views: 2 sizes, 3 shifts of up to 2 pixels"),
    ],
)
def test_crops_are_described_by_their_sizes_and_shifts(crops: Crops, words: str) -> None:
    assert describe_crops(crops) == words
