"""Images as tensors, and the fixed splits that each stage may see."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from .datasets import DataError, DataSet, Pixels

SPLIT_SEED = 0
BRIGHTEST_MEAN = 160  # of pixels: a batch of light digits on dark is far from it ...
LITTLE_INK = 0.2  # ... and a batch of whatever fills the image (its mean is larger, in [0, 1]) need not be


@dataclass(frozen=True)
class Split:
    """Digits that serve one purpose, resident on one device.

    They are rows of a pool that other splits share, and, where the pool is a file mapped into memory, other
    processes too. Such a file must stay as it is while it is used, and a split of it cannot be pickled.
    """

    pool: UInt8[Tensor, "m 1 28 28"]
    rows: Int64[Tensor, " n"]
    labels: Int64[Tensor, " n"]
    pixels: Pixels

    @classmethod
    def of(cls, images: UInt8[Tensor, "n 1 28 28"], labels: Int64[Tensor, " n"], pixels: Pixels) -> "Split":
        """A split that is all of its pool."""
        return cls(images, torch.arange(len(images), device=images.device), labels, pixels)

    @property
    def images(self) -> UInt8[Tensor, "n 1 28 28"]:
        """A copy of all the images, in the order of the labels: to be taken once, not per image."""
        return self.pool.index_select(0, self.rows)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        """The split on a device; only its own images travel."""
        if device == self.pool.device:
            return self
        return Split.of(self.images.to(device), self.labels.to(device), self.pixels)

    def select(self, indices: Int64[Tensor, " k"]) -> "Split":
        return replace(self, rows=self.rows[indices], labels=self.labels[indices])

    def parts(self, size: int) -> Iterator["Split"]:
        """Parts of that size, in order; the last may be smaller."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield replace(self, rows=self.rows[part], labels=self.labels[part])

    def shuffled(self, multiple: int, generator: torch.Generator) -> "Split":
        """The images in random order, as many as fill batches of `multiple`; the others sit this epoch out."""
        order = torch.randperm(len(self), generator=generator, device=self.labels.device)
        return self.select(order[: len(self) // multiple * multiple])


def normalise(
    images: UInt8[Tensor, "n 1 28 28"] | Float[Tensor, "n 1 28 28"], pixels: Pixels, *, check: bool = True
) -> Float[Tensor, "n 1 s s"]:
    """Pixels in 0..255, with the data set's frame around them, to zero mean and unit variance.

    Args:
        check: Whether to refuse what cannot be right. It makes the CPU wait for a GPU.

    Raises:
        ValueError: If the pixels are from 0 to 1, or dark on light: the network would answer, and wrongly.
    """
    if check and len(images):
        _refuse_wrong_pixels(images, pixels)
    return standardise(add_frame(images, pixels), pixels)


def add_frame(images: Tensor, pixels: Pixels) -> Tensor:
    """The images with so much ground, which is black, on every side."""
    return F.pad(images, [pixels.frame] * 4) if pixels.frame else images


def standardise(images: Tensor, pixels: Pixels) -> Tensor:
    """Pixels in 0..255 to zero mean and unit variance."""
    return images.float().sub(255 * pixels.mean).div_(255 * pixels.std)


def _refuse_wrong_pixels(images: Tensor, pixels: Pixels) -> None:
    brightest, mean = float(images.max()), float(images.float().mean())
    if 0 < brightest <= 1:
        raise ValueError(f"Pixels have to be from 0 to 255, but the brightest is {brightest:g}. Multiply them by 255.")
    if pixels.mean < LITTLE_INK and mean > BRIGHTEST_MEAN:
        raise ValueError(f"Images have to be light on dark, but the mean pixel is {mean:.0f}. Subtract them from 255.")


def load_search_splits(dataset: DataSet, data_dir: Path) -> tuple[Split, Split]:
    """What `search` may see: training and validation images. Never opens the test files."""
    training = _load(dataset, data_dir, test=False)
    kept, held_out = hold_out(training.labels, len(training) // dataset.held_out)
    return training.select(kept), training.select(held_out)


def load_final_splits(dataset: DataSet, data_dir: Path) -> tuple[Split, Split]:
    """What follows a search uses: all training images, and the test images.

    Raises:
        DataError: If a file is damaged, or neither found nor to be had.
    """
    try:
        dataset.source.provide(data_dir, test=True)
    except FileNotFoundError as error:
        raise DataError(f"{error} Name its folder with --data-dir.") from error
    return _load(dataset, data_dir, test=False), _load(dataset, data_dir, test=True)


def _load(dataset: DataSet, data_dir: Path, *, test: bool) -> Split:
    return Split.of(*dataset.source.load(data_dir, test=test), dataset.pixels)


def fingerprint(*splits: Split) -> str:
    """Identifies images, labels and their order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.images.numpy().tobytes())
        digest.update(split.labels.numpy().tobytes())
    return digest.hexdigest()[:16]


def hold_out(labels: Int64[Tensor, " n"], num_held_out: int) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " h"]]:
    """The rows to keep and those of a fixed, stratified part: every class gives its share, to within one image."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    grouped = shuffled[labels[shuffled].argsort(stable=True)]
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    held_out[grouped[torch.arange(num_held_out) * len(labels) // num_held_out]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()
