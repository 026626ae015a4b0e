"""A miniature MNIST: four genuine files of 400 and 100 digits."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from search.net.data import Split
from search.net.datasets import DATASETS, DataSet, Files, IdxFiles


@dataclass(frozen=True, kw_only=True)
class Miniature:
    """The data folder, and the row that goes with it."""

    folder: Path
    row: DataSet
    files: IdxFiles

    @property
    def raw(self) -> Path:
        """The folder of the files themselves."""
        return self.folder / self.files.folder / "raw"


def write_miniature(folder: Path, training: Split, test: Split) -> Miniature:
    row = DATASETS["mnist"]
    assert isinstance(row.source, IdxFiles)
    raw = folder / row.source.folder / "raw"
    raw.mkdir(parents=True)

    def write(names: Files, split: Split, num_digits: int) -> Files:
        images, labels = names
        some = split.select(torch.arange(num_digits) * (len(split) // num_digits))
        return {images: write_idx(raw / images, some.images[:, 0]), labels: write_idx(raw / labels, some.labels)}

    files = replace(
        row.source, training=write(row.source.training, training, 400), test=write(row.source.test, test, 100)
    )
    return Miniature(folder=folder, row=replace(row, source=files, held_out=5), files=files)


def write_idx(path: Path, array: Tensor) -> str:
    """The IDX format: two zeros, the type (8 is unsigned bytes), the number of dimensions, their sizes, the bytes.

    Returns the file's MD5.
    """
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.to(torch.uint8).numpy().tobytes())
    return md5_of(path.read_bytes())


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
