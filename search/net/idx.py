"""IDX files, as MNIST and its like are published: found, downloaded, checked, and mapped into memory."""

import contextlib
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from search.config import IMAGE_SIZE
from search.net.datasets import DataError

DOWNLOAD_TIMEOUT = 15.0  # seconds that a server may stay silent
IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes


def provide_files(data_dir: Path, dataset: str, files: dict[str, str]) -> None:
    """Makes sure that the files are there and undamaged; downloads those that are absent.

    Args:
        dataset: The data set's folder below `data_dir`, and its class in torchvision.
        files: MD5 by name.

    Raises:
        DataError: If a file is damaged.
        FileNotFoundError: If a file is absent and cannot be downloaded.
    """
    folder = data_dir / dataset / "raw"
    for name, md5 in files.items():
        path = folder / name
        if not path.exists():
            _download(folder, dataset, name)
        try:
            actual = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}).") from error
        if actual != md5:
            raise DataError(f"{path} is damaged (MD5 {actual}, not {md5}). Delete it, and it is fetched anew.")


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
                    if (folder / compressed).exists():  # then it is not fetched but only unpacked
                        shutil.copy(folder / compressed, partial)
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
