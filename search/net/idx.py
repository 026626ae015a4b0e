"""IDX files, as MNIST and its like are published: found, unpacked, downloaded, checked, and mapped into memory."""

import contextlib
import gzip
import hashlib
import io
import os
import socket
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from search.config import IMAGE_SIZE
from search.files import read_regular, write_atomically
from search.net.datasets import DataError

DOWNLOAD_TIMEOUT = 15.0  # seconds that a server may stay silent
IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes
LARGEST_FILE = 2**26  # bytes; MNIST's largest has 47 MB


def provide_files(data_dir: Path, dataset: str, files: dict[str, str]) -> None:
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
            write_atomically(path, _checked(archive, _unpacked(archive), md5))
        elif not path.exists():
            _download(folder, dataset, name)
        _checked(path, _content(path), md5)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, limit=LARGEST_FILE)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error


def _unpacked(archive: Path) -> bytes:
    try:
        with gzip.open(io.BytesIO(_content(archive))) as file:
            return file.read(LARGEST_FILE)  # however much more it would come to
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{archive} is damaged ({error}). Delete it, and the file is fetched anew.") from error


def _checked(path: Path, content: bytes, md5: str) -> bytes:
    actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if actual != md5:
        raise DataError(f"{path} is damaged (MD5 {actual}, not {md5}). Delete it, and it is fetched anew.")
    return content


def load_pair(
    data_dir: Path, dataset: str, files: dict[str, str]
) -> tuple[UInt8[Tensor, "n 1 28 28"], Int64[Tensor, " n"]]:
    """A pair of files, checked before; the images are mapped into memory, so processes share them."""
    images, labels = (data_dir / dataset / "raw" / name for name in files)
    pixels = _read_idx(images, IMAGES_HEADER).view(-1, 1, IMAGE_SIZE, IMAGE_SIZE)
    return pixels, _read_idx(labels, LABELS_HEADER).long()


def _read_idx(path: Path, header: int) -> UInt8[Tensor, " n"]:
    return torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)[header:]


def _download(folder: Path, dataset: str, name: str) -> None:
    """Fetches one file with torchvision's downloader, which shows its progress, from the first mirror that answers."""
    import torchvision
    from torchvision.datasets.utils import download_and_extract_archive

    published = getattr(torchvision.datasets, dataset)
    compressed = f"{name}.gz"
    md5 = dict(published.resources)[compressed]
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
