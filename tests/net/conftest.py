"""For what reads, checks or fetches files."""

import gzip
from pathlib import Path

import pytest
from miniature import Miniature, md5_of, write_miniature
from torchvision.datasets import MNIST

from search.net import idx
from search.net.data import Split
from search.net.datasets import DATASETS


@pytest.fixture
def miniature(
    tmp_path: Path,
    sample_splits: tuple[Split, Split],
    final_splits: tuple[Split, Split],
    no_mirror: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Miniature:
    """A miniature in place of MNIST, and no server in reach."""
    written = write_miniature(tmp_path, sample_splits[0], final_splits[1])
    monkeypatch.setitem(DATASETS, "mnist", written.row)
    monkeypatch.setenv("no_proxy", "*")
    return written


@pytest.fixture
def online(miniature: Miniature, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a mirror of the miniature serves; the folder itself is emptied."""
    archives = {}
    for path in sorted(miniature.raw.iterdir()):
        archives[f"{path.name}.gz"] = gzip.compress(path.read_bytes(), mtime=0)
        path.unlink()
    monkeypatch.setattr(MNIST, "resources", [(name, md5_of(body)) for name, body in archives.items()])
    monkeypatch.setattr(idx, "DOWNLOAD_TIMEOUT", 0.3)
    return archives
