"""The crops that a network looks at."""

import pytest
import torch

from search.config import ModelConfig
from search.net.crops import ALL_CROPS, CENTRE, Crop, Crops, describe_crops, resize, take, take_crops
from search.net.data import Split, normalise
from search.net.datasets import MNIST_PIXELS
from search.net.model import TinyCNN


def test_a_view_is_resized_and_shifted(few_digits: Split) -> None:
    images = normalise(few_digits.images, MNIST_PIXELS)
    assert torch.equal(take(images, 1, -2), images[:, :, 3:27, 0:24])
    larger = resize(images, 30)
    assert larger.shape[2:] == (30, 30)
    assert torch.equal(take(larger, 0, 0), larger[:, :, 3:27, 3:27])
    network = TinyCNN(ModelConfig(channels=((2,), (3,), (4,)))).eval()
    with torch.no_grad():
        expected = network(larger[:, :, 2:30, 1:29])  # of which it looks at the centre
        torch.testing.assert_close(network(images, (Crop(30, 1, 0),)), expected)


def test_all_views_differ_and_lie_within_the_image() -> None:
    assert len(set(ALL_CROPS)) == len(ALL_CROPS) == 27
    assert set(CENTRE) < set(ALL_CROPS)
    for crop in ALL_CROPS:
        image = torch.zeros(1, 1, crop.side, crop.side)
        assert take(image, crop.down, crop.right).shape == (1, 1, 24, 24)


def test_crops_come_in_order_and_each_is_that_of_its_own(few_digits: Split) -> None:
    images = normalise(few_digits.images[:3], MNIST_PIXELS)
    taken = list(take_crops(images, ALL_CROPS))
    assert len(taken) == len(ALL_CROPS)
    for crop, part in zip(ALL_CROPS, taken, strict=True):
        assert torch.equal(part, take(resize(images, crop.side), crop.down, crop.right))


@pytest.mark.parametrize(
    ("crops", "words"),
    [
        (ALL_CROPS, "27 views: 3 sizes, 9 shifts of up to 1 pixel"),
        ((*CENTRE, Crop(30, 2, 0), Crop(30, -1, 0)), "3 views: 2 sizes, 3 shifts of up to 2 pixels"),
    ],
)
def test_crops_are_described_by_their_sizes_and_shifts(crops: Crops, words: str) -> None:
    assert describe_crops(crops) == words
