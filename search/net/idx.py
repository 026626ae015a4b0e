"""IDX files, as MNIST and its like are published: found, unpacked, downloaded, checked, and mapped into memory.

Their form is described at the end of LeCun, Cortes and Burges' page of MNIST: a magic number, the sizes, the bytes.
"""

import contextlib
import gzip
import hashlib
import io
import os
import socket
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..config import IMAGE_SIZE, NUM_CLASSES
from ..files import read_regular, write_atomically
from .datasets import DataError, Files

DOWNLOAD_TIMEOUT = 15.0  # seconds that a server may stay silent
IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes
IMAGES_MAGIC, LABELS_MAGIC = 0x803, 0x801  # bytes of three dimensions, and of one
FETCH = "Delete it, and it is fetched anew."
RENEW = "Fetch it anew, or make it anew (docs/data-sets.md)."
LARGEST_FILE = 2**26  # bytes; MNIST's largest has 47 MB


def provide_files(data_dir: Path, dataset: str, files: Files) -> None:
    """Makes sure that the files are there and undamaged; unpacks or downloads those that are absent.

    Args:
        dataset: The data set's folder below `data_dir`, and its class in torchvision.
        files: MD5 by name.

    Raises:
        DataError: If a file, or its archive, is there but damaged.
        FileNotFoundError: If a file is absent and cannot be downloaded.
    """
    folder = data_dir / dataset / "raw"
    for name, md5 in files.items():
        path, archive = folder / name, folder / f"{name}.gz"
        if not path.exists() and archive.exists():
            packed = read_whole(archive)
            if md5 is None:  # of what is inside; of the archive itself one is published
                _checked(archive, packed, _published(dataset).md5(name))
            _put(path, _checked(archive, unpack(archive, packed), md5))
        elif not path.exists():
            _download(folder, dataset, name)
        _checked(path, read_whole(path), md5)


def _put(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise DataError(
            f"{path} cannot be unpacked there ({error.strerror}). Unpack it, or name another --data-dir."
        ) from error


def read_whole(path: Path, limit: int = LARGEST_FILE) -> bytes:
    """Raises DataError if it cannot be read, or is larger."""
    try:
        return read_regular(path, limit=limit)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). {RENEW}") from error


def unpack(archive: Path, content: bytes, limit: int = LARGEST_FILE, remedy: str = FETCH) -> bytes:
    """Raises DataError, which ends with the remedy, if it is damaged."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            return file.read(limit)  # however much more it would come to
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{archive} is damaged ({error}). {remedy}") from error


def _checked(path: Path, content: bytes, md5: str | None) -> bytes:
    if md5 is None:
        count_rows(path, content)
        return content
    actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if actual != md5:
        raise DataError(f"{path} is damaged (MD5 {actual}, not {md5}). {FETCH}")
    return content


def count_rows(path: Path, content: bytes | bytearray) -> int:
    """How many images or labels there are, which the name tells apart.

    Raises:
        DataError: If they are not of MNIST's form: images of 28x28 bytes, labels from 0 to 9.
    """
    images = "images" in path.name
    size, header = (IMAGE_SIZE * IMAGE_SIZE, IMAGES_HEADER) if images else (1, LABELS_HEADER)
    if len(content) < header:
        raise DataError(f"{path} is no IDX file: it has {len(content)} bytes. {RENEW}")
    magic, num_rows, *sides = struct.unpack(f">{header // 4}i", content[:header])
    if magic != (IMAGES_MAGIC if images else LABELS_MAGIC):
        raise DataError(f"{path} holds no {'images' if images else 'labels'}: its magic number is {magic:#x}. {RENEW}")
    if images and sides != [IMAGE_SIZE, IMAGE_SIZE]:
        raise DataError(
            f"{path} holds images of {sides[0]}x{sides[1]} pixels: scale them to {IMAGE_SIZE}x{IMAGE_SIZE}."
        )
    if len(content) != header + num_rows * size:
        raise DataError(
            f"{path} is cut off or too long: {num_rows} rows have {header + num_rows * size} bytes. {RENEW}"
        )
    if not images and max(content[header:], default=0) >= NUM_CLASSES:
        raise DataError(f"{path} has a label of {max(content[header:])}: the classes are 0 to {NUM_CLASSES - 1}.")
    return int(num_rows)


def load_pair(data_dir: Path, dataset: str, files: Files) -> tuple[UInt8[Tensor, "n 1 28 28"], Int64[Tensor, " n"]]:
    """A pair of files, checked before; the images are mapped into memory, so processes share them."""
    images, labels = (data_dir / dataset / "raw" / name for name in files)
    pixels = _read_idx(images, IMAGES_HEADER).view(-1, 1, IMAGE_SIZE, IMAGE_SIZE)
    return pixels, _read_idx(labels, LABELS_HEADER).long()


def _read_idx(path: Path, header: int) -> UInt8[Tensor, " n"]:
    return torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)[header:]


def _download(folder: Path, dataset: str, name: str) -> None:
    """Fetches one file with torchvision's downloader, which shows its progress, from the first mirror that answers."""
    from torchvision.datasets.utils import download_and_extract_archive

    published = _published(dataset)
    compressed, md5 = f"{name}.gz", published.md5(name)
    reasons: list[str] = []
    with _folders(folder):
        for mirror in published.mirrors:
            try:
                with TemporaryDirectory(dir=folder, prefix=".download-") as partial, _socket_timeout(DOWNLOAD_TIMEOUT):
                    download_and_extract_archive(mirror + compressed, partial, filename=compressed, md5=md5)
                    os.replace(Path(partial, name), folder / name)
                return
            except (OSError, HTTPException, RuntimeError, EOFError) as error:  # silent, not HTTP, damaged
                cause = getattr(error, "reason", error)
                reasons.append(str(getattr(cause, "strerror", None) or cause))
    raise FileNotFoundError(f"{name} is not in {folder}, and {dataset} cannot be downloaded ({reasons[-1]}).")


@dataclass(frozen=True)
class _Published:
    """What torchvision knows of a data set: where it can be had, and the MD5 of its archives."""

    mirrors: Sequence[str]
    resources: Mapping[str, str]

    def md5(self, name: str) -> str:
        return self.resources[f"{name}.gz"]


def _published(dataset: str) -> _Published:
    import torchvision

    known = getattr(torchvision.datasets, dataset)
    return _Published(known.mirrors, dict(known.resources))


@contextlib.contextmanager
def _folders(folder: Path) -> Iterator[None]:
    """Makes a folder and those above it; in the end, removes those of them that have stayed empty."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    with contextlib.suppress(OSError):  # told by what is then to be written there
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # not empty
            for each in made:
                each.rmdir()


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """The downloader sets no time limit of its own, and would wait for ever for a silent server."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
