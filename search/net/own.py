"""A folder of somebody's own images, in MNIST's files: 28x28 bytes each, light on dark, labelled from 0 to 9."""

from functools import cache
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..config import IMAGE_SIZE
from .datasets import OWN_FRAME, DataError, Pixels
from .idx import IMAGES_HEADER, LABELS_HEADER, count_rows, read_whole, unpack

TRAINING = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
FEWEST_TRAINING, FEWEST_TEST = 200, 1  # images; what validation leaves of the former fills a batch or two
LARGEST_FILE = 2**30  # bytes: 1.3 million images
LIGHTEST_GROUND = 0.5  # the mean of the pixels at the border, which is ground


def load_own(folder: Path, *, test: bool) -> tuple[UInt8[Tensor, "n 1 28 28"], Int64[Tensor, " n"]]:
    """The training images, or the test images alone, and their labels.

    Raises:
        DataError: If a file is missing, or not of MNIST's form, or the two do not fit.
    """
    images_path, labels_path = (_find(folder, name) for name in (TEST if test else TRAINING))
    images, labels = _read(images_path), _read(labels_path)
    num_images, num_labels = count_rows(images_path, images), count_rows(labels_path, labels)
    fewest = FEWEST_TEST if test else FEWEST_TRAINING
    if num_images != num_labels or num_images < fewest:
        raise DataError(
            f"{images_path} has {num_images} images and {labels_path.name} {num_labels} labels: there have to be as "
            f"many of both, and {fewest} or more."
        )
    pixels = torch.frombuffer(images, dtype=torch.uint8, offset=IMAGES_HEADER).view(-1, 1, IMAGE_SIZE, IMAGE_SIZE)
    return pixels, torch.frombuffer(labels, dtype=torch.uint8, offset=LABELS_HEADER).long()


def check_own(folder: Path, *, test: bool) -> None:
    """Raises DataError if the folder does not hold what it should."""
    images, labels = load_own(folder, test=False)
    if len(labels.unique()) < 2:
        raise DataError(f"All images of {folder} have the same label: there is nothing to tell apart.")
    rim = torch.cat([images[:, 0, [0, -1]].flatten(), images[:, 0, :, [0, -1]].flatten()])
    if float(rim.float().mean()) > 255 * LIGHTEST_GROUND:
        raise DataError(f"The images of {folder} are dark on light: subtract their pixels from 255.")
    if test:
        load_own(folder, test=True)


def count_pixels(folder: Path) -> Pixels:
    """Mean and deviation, exactly; counted anew where the file has changed. Raises DataError as `load_own` does."""
    state = _find(folder, TRAINING[0]).stat()
    return _count_pixels(folder, state.st_mtime_ns, state.st_size)


@cache
def _count_pixels(folder: Path, _changed: int, _size: int) -> Pixels:
    images, _ = load_own(folder, test=False)
    counts = torch.bincount(images.flatten(), minlength=256).double()
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = float((counts * values).sum() / counts.sum())
    std = float(((counts * (values - mean) ** 2).sum() / counts.sum()).sqrt())
    if std == 0:
        raise DataError(f"All pixels of {folder} are alike: there is nothing to see.")
    return Pixels(mean=mean, std=std, frame=OWN_FRAME)


def _find(folder: Path, name: str) -> Path:
    places = [folder / below / f"{name}{ending}" for below in ("", "raw") for ending in ("", ".gz")]
    for place in places:
        if place.exists():
            return place
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}.")
    raise DataError(
        f"{folder} has no {name}, here or in raw, gzipped or not. docs/data-sets.md makes such files of pictures."
    )


def _read(path: Path) -> bytearray:
    """A copy, for tensors may be written to."""
    content = read_whole(path, LARGEST_FILE)
    return bytearray(unpack(path, content, LARGEST_FILE, remedy="Make it anew.") if path.suffix == ".gz" else content)
