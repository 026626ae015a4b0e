"""Splits: what is in them, in which order, and how they are normalised."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search.net.data import Split, fingerprint, hold_out, load_search_splits, normalise
from search.net.datasets import DATASETS, MNIST_PIXELS, Pixels

SAMPLE = DATASETS["sample"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels_of(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.images}


# The bundled sample and its splits


def test_the_sample_has_4000_digits_to_train_and_1000_to_test(final_splits: tuple[Split, Split]) -> None:
    assert [len(split) for split in final_splits] == [4_000, 1_000]


def test_a_search_on_the_sample_trains_on_3200_and_validates_on_800(sample_splits: tuple[Split, Split]) -> None:
    assert [len(split) for split in sample_splits] == [3_200, 800]


def test_every_part_of_the_sample_holds_each_digit_equally_often(
    sample_splits: tuple[Split, Split], final_splits: tuple[Split, Split]
) -> None:
    for split in (*sample_splits, *final_splits):
        assert split.labels.bincount().tolist() == [len(split) // 10] * 10


def test_no_digit_is_in_two_parts(sample_splits: tuple[Split, Split], final_splits: tuple[Split, Split]) -> None:
    training, validation, test = pixels_of(sample_splits[0]), pixels_of(sample_splits[1]), pixels_of(final_splits[1])
    assert len(training | validation | test) == 5_000
    assert training | validation == pixels_of(final_splits[0])


def test_the_splits_never_change(sample_splits: tuple[Split, Split], final_splits: tuple[Split, Split]) -> None:
    assert fingerprint(*sample_splits) == "ee9d1d7f23a95db5"
    assert fingerprint(*final_splits) == "525d0b32e05c0bcc"


def test_splits_of_one_set_share_its_pixels_and_a_copy_on_a_device_takes_its_own_alone(
    sample_splits: tuple[Split, Split],
) -> None:
    training, validation = sample_splits
    assert training.pool.data_ptr() == validation.pool.data_ptr()
    assert validation.to(torch.device("cpu")) is validation
    moved = validation.to(torch.device("meta"))
    assert moved.pool.shape == (800, 1, 28, 28)
    assert moved.labels.device.type == moved.rows.device.type == "meta"


def test_the_splits_do_not_depend_on_the_global_generator(sample_splits: tuple[Split, Split], tmp_path: Path) -> None:
    torch.manual_seed(7)
    assert fingerprint(*load_search_splits(SAMPLE, tmp_path)) == fingerprint(*sample_splits)


def test_a_fingerprint_tells_images_labels_and_order_apart(few_digits: Split) -> None:
    swapped = torch.arange(len(few_digits)).roll(1)
    others = [
        Split.of(few_digits.images[swapped], few_digits.labels, MNIST_PIXELS),
        Split.of(few_digits.images, few_digits.labels[swapped], MNIST_PIXELS),
        few_digits.select(swapped),
        few_digits.select(swapped[1:]),
    ]
    assert len({fingerprint(split) for split in [few_digits, *others]}) == 5


@given(counts=st.lists(st.integers(0, 40), min_size=1, max_size=10), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_what_is_held_out_and_kept_is_all_and_every_class_gives_its_share(
    counts: list[int], share: float, seed: int
) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=seeded(seed))]
    num_held_out = int(share * len(labels))
    kept, held_out = hold_out(labels, num_held_out)
    assert len(held_out) == num_held_out
    assert sorted([*kept.tolist(), *held_out.tolist()]) == list(range(len(labels)))
    for label, count in enumerate(counts):
        expected = count * num_held_out / max(1, len(labels))
        assert abs(int((labels[held_out] == label).sum()) - expected) < 1


# Order and normalising


def test_the_generator_decides_the_order_and_every_epoch_has_its_own(few_digits: Split) -> None:
    def epochs(seed: int) -> list[str]:
        generator = seeded(seed)
        return [fingerprint(few_digits.shuffled(64, generator)) for _ in range(2)]

    assert epochs(1) == epochs(1)
    assert len({*epochs(1), *epochs(2)}) == 4


def test_the_parts_of_a_split_are_all_of_it_in_order(few_digits: Split) -> None:
    parts = list(few_digits.parts(100))
    assert [len(part) for part in parts] == [100, 100, 56]
    assert torch.equal(torch.cat([part.images for part in parts]), few_digits.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), few_digits.labels)


def test_all_that_comes_of_a_split_is_normalised_by_its_pixels(few_digits: Split) -> None:
    pixels = Pixels(mean=0.25, std=0.5)
    split = Split.of(few_digits.images, few_digits.labels, pixels)
    others = [split.select(torch.arange(5)), next(split.parts(9)), split.shuffled(4, seeded(0))]
    others.append(split.to(torch.device("meta")))
    assert [other.pixels for other in others] == [pixels] * 4


def test_normalising_gives_real_digits_zero_mean_and_unit_variance(sample_splits: tuple[Split, Split]) -> None:
    images = normalise(sample_splits[0].images, sample_splits[0].pixels)
    assert abs(float(images.mean())) < 0.02
    assert abs(float(images.std()) - 1) < 0.02
    assert float(images.min()) == pytest.approx(-MNIST_PIXELS.mean / MNIST_PIXELS.std)
    assert float(images.max()) == pytest.approx((1 - MNIST_PIXELS.mean) / MNIST_PIXELS.std)


def test_normalising_leaves_its_input_alone(few_digits: Split) -> None:
    for images in (few_digits.images, few_digits.images.float()):
        before = images.clone()
        normalise(images, MNIST_PIXELS)
        assert torch.equal(images, before), images.dtype


@pytest.mark.parametrize("kind", ["from 0 to 1", "dark on light"])
def test_pixels_that_cannot_be_right_are_refused(few_digits: Split, kind: str) -> None:
    images = few_digits.images.float() / 255 if kind == "from 0 to 1" else 255 - few_digits.images
    with pytest.raises(ValueError, match="from 0 to 255" if kind == "from 0 to 1" else "light on dark"):
        normalise(images, few_digits.pixels)
    normalise(images, few_digits.pixels, check=False)
    normalise(few_digits.images[:0], few_digits.pixels)
    normalise(torch.zeros_like(few_digits.images), few_digits.pixels)  # black digits are none, but not wrong
