"""Batches and their augmentation, against other libraries' and by their own definition."""

import numpy as np
import pytest
import scipy.ndimage
import torch
import torchvision.transforms.v2.functional as reference
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode

from search.config import AugmentConfig
from search.net.augment import affine_grid, augment, augmented_batches
from search.net.data import Split, normalise
from search.net.datasets import MNIST_PIXELS

BLACK = -MNIST_PIXELS.mean / MNIST_PIXELS.std
ALL_STRENGTHS = AugmentConfig(rotation=20.0, shift=3.0, scale=0.25, shear=0.25)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Batches


@given(n=st.integers(1, 200), size=st.integers(2, 70), seed=st.integers(0, 2**63 - 1))
def test_an_epoch_shows_every_digit_once_but_for_an_unfilled_batch(n: int, size: int, seed: int) -> None:
    numbered = Split.of(torch.zeros(n, 1, 28, 28, dtype=torch.uint8), torch.arange(n), MNIST_PIXELS)
    batches = list(augmented_batches(numbered, size, AugmentConfig(), seeded(seed)))
    assert [(len(images), len(labels)) for images, labels in batches] == [(size, size)] * (n // size)
    shown = [number for _, labels in batches for number in labels.tolist()]
    assert len(set(shown)) == len(shown)


def test_batches_keep_image_and_label_together(few_digits: Split) -> None:
    normalised = normalise(few_digits.images, MNIST_PIXELS)
    label_of = dict(zip((image.numpy().tobytes() for image in normalised), few_digits.labels, strict=True))
    for images, labels in augmented_batches(few_digits, 24, AugmentConfig(), seeded(0)):
        assert [label_of[image.numpy().tobytes()] for image in images] == labels.tolist()


def test_each_image_of_an_epoch_draws_its_own_distortion(few_digits: Split) -> None:
    same = few_digits.select(torch.zeros(100, dtype=torch.long))
    batches = augmented_batches(same, 10, ALL_STRENGTHS, seeded(0))
    assert len({image.numpy().tobytes() for images, _ in batches for image in images}) == 100


def test_an_affine_grid_is_that_of_pytorch() -> None:
    matrices = torch.randn(5, 2, 3, generator=seeded(0))
    expected = torch.nn.functional.affine_grid(matrices, [5, 1, 28, 28], align_corners=False)
    assert torch.allclose(affine_grid(matrices, 28), expected, atol=1e-6)


def test_without_strengths_augmenting_is_normalising(few_digits: Split) -> None:
    assert torch.equal(
        augment(few_digits.images, MNIST_PIXELS, AugmentConfig(), seeded(0)), normalise(few_digits.images, MNIST_PIXELS)
    )


@pytest.mark.parametrize("strengths", [AugmentConfig(), ALL_STRENGTHS])
def test_augmenting_leaves_its_input_alone(few_digits: Split, strengths: AugmentConfig) -> None:
    before = few_digits.images.clone()
    augment(few_digits.images, MNIST_PIXELS, strengths, seeded(0))
    assert torch.equal(few_digits.images, before)


def test_the_generator_decides_the_augmentation_alone(few_digits: Split) -> None:
    torch.manual_seed(1)
    first = augment(few_digits.images, MNIST_PIXELS, ALL_STRENGTHS, seeded(3))
    torch.manual_seed(2)
    assert torch.equal(augment(few_digits.images, MNIST_PIXELS, ALL_STRENGTHS, seeded(3)), first)
    assert not torch.equal(augment(few_digits.images, MNIST_PIXELS, ALL_STRENGTHS, seeded(4)), first)


def test_every_image_of_a_batch_is_distorted_by_its_own_draw(few_digits: Split) -> None:
    same = few_digits.images[:1].expand(64, -1, -1, -1)
    assert len({image.numpy().tobytes() for image in augment(same, MNIST_PIXELS, ALL_STRENGTHS, seeded(0))}) == 64


def fix_draws(monkeypatch: pytest.MonkeyPatch, *draws: float) -> None:
    """Angle, shift along x and y, scale and shear of every image, each a share of its strength from -1 to 1."""
    uniform = (torch.tensor(draws) + 1) / 2
    monkeypatch.setattr(torch, "rand", lambda *size, **_: uniform.expand(size).clone())


def as_pixels(images: Tensor) -> Tensor:
    return images * (255 * MNIST_PIXELS.std) + 255 * MNIST_PIXELS.mean


def test_a_shift_by_whole_pixels_moves_the_image_and_brings_in_black(
    few_digits: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    fix_draws(monkeypatch, 0, 1, -0.5, 0, 0)  # by 4 columns and by 2 rows, the opposite way
    moved = augment(few_digits.images, MNIST_PIXELS, AugmentConfig(shift=4.0), seeded(0))
    assert torch.allclose(moved[..., 2:, :-4], normalise(few_digits.images, MNIST_PIXELS)[..., :-2, 4:], atol=1e-4)
    assert torch.allclose(moved[..., :2, :], torch.tensor(BLACK), atol=1e-6)
    assert torch.allclose(moved[..., -4:], torch.tensor(BLACK), atol=1e-6)


@pytest.mark.parametrize("draw", [1.0, -0.6])
def test_a_rotation_by_degrees_agrees_with_torchvision(
    few_digits: Split, monkeypatch: pytest.MonkeyPatch, draw: float
) -> None:
    fix_draws(monkeypatch, draw, 0, 0, 0, 0)
    rotated = as_pixels(augment(few_digits.images, MNIST_PIXELS, AugmentConfig(rotation=20.0), seeded(0)))
    expected = reference.rotate(few_digits.images.float(), 20.0 * draw, interpolation=InterpolationMode.BILINEAR)
    assert torch.allclose(rotated, expected, atol=0.05)  # of 255


@pytest.mark.parametrize("draw", [1.0, -1.0])
def test_a_scale_makes_the_image_larger_or_smaller_by_its_fraction(
    few_digits: Split, monkeypatch: pytest.MonkeyPatch, draw: float
) -> None:
    fix_draws(monkeypatch, 0, 0, 0, draw, 0)
    scaled = as_pixels(augment(few_digits.images, MNIST_PIXELS, AugmentConfig(scale=0.2), seeded(0)))
    expected = reference.affine(
        few_digits.images.float(),
        angle=0,
        translate=[0, 0],
        scale=1 + 0.2 * draw,
        shear=[0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    assert torch.allclose(scaled, expected, atol=0.05)


def test_all_distortions_together_agree_with_scipy(few_digits: Split) -> None:
    images = few_digits.images[:32]
    draws = (torch.rand(32, 5, generator=seeded(5)) * 2 - 1).double().numpy()
    distorted = as_pixels(augment(images, MNIST_PIXELS, ALL_STRENGTHS, seeded(5)))
    for image, got, (angle, shift_x, shift_y, scale, shear) in zip(images, distorted, draws, strict=True):
        turn = np.deg2rad(20 * angle)
        rotate = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])  # on (row, column)
        slant = np.array([[1, 0], [0.25 * shear, 1]])
        source = rotate @ slant / (1 + 0.25 * scale)
        offset = 13.5 - source @ [13.5, 13.5] + [3 * shift_y, 3 * shift_x]
        expected = scipy.ndimage.affine_transform(
            image[0].numpy().astype(float), source, offset, order=1, mode="grid-constant"
        )
        assert np.abs(got[0].numpy() - expected).max() < 0.05


def blob(row: float, column: float) -> Tensor:
    """A soft dot, whose centre of mass tells where it went."""
    axis = torch.arange(28.0)
    dot = torch.exp(-((axis[:, None] - row) ** 2 + (axis[None, :] - column) ** 2) / (2 * 1.5**2))
    return (255 * dot).round().to(torch.uint8).expand(2_000, 1, 28, 28)


def centres(images: Tensor) -> Tensor:
    """Centre of mass relative to the middle of the image: (n, 2) rows and columns."""
    mass = as_pixels(images)[:, 0].clamp(min=0)
    axis = torch.arange(28.0) - 13.5
    total = mass.sum(dim=(1, 2))
    return torch.stack([(mass.sum(dim=2) @ axis) / total, (mass.sum(dim=1) @ axis) / total], dim=1)


def assert_fills(values: Tensor, limit: float) -> None:
    """Spread evenly over +-limit: never beyond, close to both ends, half on either side."""
    assert float(values.abs().max()) <= limit * 1.03
    assert float(values.max()) > limit * 0.95
    assert float(values.min()) < -limit * 0.95
    assert float(values.std()) == pytest.approx(limit / 3**0.5, rel=0.05)
    assert abs(float(values.mean())) < limit * 0.05


def test_shifts_fill_their_range_along_each_axis_independently() -> None:
    moved = centres(augment(blob(13.5, 13.5), MNIST_PIXELS, AugmentConfig(shift=2.0), seeded(0)))
    assert_fills(moved[:, 0], 2.0)
    assert_fills(moved[:, 1], 2.0)
    assert abs(float(moved.T.corrcoef()[0, 1])) < 0.1


def test_rotations_fill_their_range_in_degrees() -> None:
    moved = centres(augment(blob(5.5, 13.5), MNIST_PIXELS, AugmentConfig(rotation=15.0), seeded(0)))
    assert_fills(torch.rad2deg(torch.atan2(moved[:, 1], -moved[:, 0])), 15.0)
    assert torch.allclose(moved.norm(dim=1), torch.tensor(8.0), atol=0.1)


def test_scales_fill_their_range() -> None:
    moved = centres(augment(blob(7.5, 13.5), MNIST_PIXELS, AugmentConfig(scale=0.2), seeded(0)))
    assert_fills(moved[:, 0] / -6.0 - 1, 0.2)
    assert float(moved[:, 1].abs().max()) < 0.05


def test_shears_fill_their_range_and_keep_the_height() -> None:
    moved = centres(augment(blob(5.5, 13.5), MNIST_PIXELS, AugmentConfig(shear=0.2), seeded(0)))
    assert_fills(moved[:, 1] / 8.0, 0.2)
    assert torch.allclose(moved[:, 0], torch.tensor(-8.0), atol=0.1)
