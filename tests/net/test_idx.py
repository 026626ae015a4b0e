"""Files in torchvision's layout: read, checked and fetched."""

import contextlib
import http.server
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from miniature import Miniature

from search.net.data import Split
from search.net.datasets import DataError
from search.net.idx import load_pair, provide_files


def provide(miniature: Miniature, *, test: bool = False) -> None:
    files = miniature.files
    provide_files(miniature.folder, files.folder, files.training | files.test if test else files.training)


def num_digits(miniature: Miniature, files: dict[str, str]) -> int:
    images, labels = load_pair(miniature.folder, miniature.files.folder, files)
    assert len(images) == len(labels)
    return len(labels)


# Files that are there


def test_a_pair_holds_the_digits_that_were_written(miniature: Miniature, sample_splits: tuple[Split, Split]) -> None:
    images, labels = load_pair(miniature.folder, "MNIST", miniature.files.training)
    some = sample_splits[0].select(torch.arange(0, 3_200, 8))
    assert torch.equal(images, some.images)
    assert torch.equal(labels, some.labels)


def test_files_that_cannot_be_written_are_read(miniature: Miniature) -> None:
    for path in miniature.raw.iterdir():
        path.chmod(0o444)
    provide(miniature, test=True)
    assert num_digits(miniature, miniature.files.training) == 400
    assert num_digits(miniature, miniature.files.test) == 100


def test_a_damaged_file_is_named_with_its_sum_and_the_fix(miniature: Miniature) -> None:
    name, md5 = next(iter(miniature.files.training.items()))
    (miniature.raw / name).write_bytes(b"damaged")
    with pytest.raises(DataError, match=rf"{name} is damaged \(MD5 .*, not {md5}\)\. Delete it"):
        provide(miniature)


# The download, from servers on this machine


@contextlib.contextmanager
def silent_server(greeting: bytes = b"") -> Iterator[str]:
    """Accepts, says at most its greeting, and then nothing more; fails the test unless the client hangs up."""
    patient_clients: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = listener.accept()
                client.settimeout(5)
                with client, contextlib.suppress(ConnectionError):
                    client.recv(65_536)
                    client.sendall(greeting)
                    try:
                        client.recv(65_536)
                    except TimeoutError:
                        patient_clients.append(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert not patient_clients


@contextlib.contextmanager
def file_server(files: dict[str, bytes]) -> Iterator[str]:
    """Serves these files, and 404 for all else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            body = files.get(self.path.removeprefix("/"))
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(files.get(self.path.removeprefix("/"), b""))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def mirrors(online: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The servers that are asked, in order; to be filled."""
    urls: list[str] = []
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", urls)
    return urls


def test_absent_files_are_fetched_and_only_those_that_are_needed(
    miniature: Miniature, online: dict[str, bytes], mirrors: list[str]
) -> None:
    with file_server(online) as url:
        mirrors.append(url)
        provide(miniature)
        assert sorted(os.listdir(miniature.raw)) == sorted(miniature.files.training)
        assert num_digits(miniature, miniature.files.training) == 400
        provide(miniature, test=True)
        assert num_digits(miniature, miniature.files.test) == 100


def test_the_folder_is_made_for_what_is_fetched(
    miniature: Miniature, online: dict[str, bytes], mirrors: list[str]
) -> None:
    shutil.rmtree(miniature.folder)
    with file_server(online) as url:
        mirrors.append(url)
        provide(miniature)
    assert num_digits(miniature, miniature.files.training) == 400


def test_archives_that_lie_in_the_folder_are_unpacked_without_a_download(
    miniature: Miniature, online: dict[str, bytes]
) -> None:
    for name in miniature.files.training:
        (miniature.raw / f"{name}.gz").write_bytes(online[f"{name}.gz"])
    provide(miniature)  # no mirror is in reach
    assert num_digits(miniature, miniature.files.training) == 400
    for name in miniature.files.training:
        assert (miniature.raw / f"{name}.gz").read_bytes() == online[f"{name}.gz"]


def test_an_archive_is_checked_where_nothing_is_published_of_what_is_inside(
    miniature: Miniature, online: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    raw, files = tmp_path / "KMNIST" / "raw", dict.fromkeys(miniature.files.training)
    raw.mkdir(parents=True)
    for name in files:
        (raw / f"{name}.gz").write_bytes(online[f"{name}.gz"])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz is damaged \(MD5 .*Delete it"):
        provide_files(tmp_path, "KMNIST", files)  # good files, but others
    monkeypatch.setattr(torchvision.datasets.KMNIST, "resources", torchvision.datasets.MNIST.resources)
    provide_files(tmp_path, "KMNIST", files)
    assert len(load_pair(tmp_path, "KMNIST", files)[1]) == 400


def test_another_data_set_is_fetched_from_its_own_mirrors(
    miniature: Miniature, online: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fashion = torchvision.datasets.FashionMNIST
    monkeypatch.setattr(fashion, "resources", torchvision.datasets.MNIST.resources)
    with file_server(online) as url:
        monkeypatch.setattr(fashion, "mirrors", [url])
        provide_files(tmp_path, "FashionMNIST", miniature.files.training)
    assert len(load_pair(tmp_path, "FashionMNIST", miniature.files.training)[1]) == 400


PARTIAL_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000)
NO_HTTP = b"220 mail.example.org ESMTP\r\n\r\n"


@pytest.mark.parametrize("greeting", [b"", PARTIAL_ANSWER, NO_HTTP], ids=["nothing", "half a file", "another protocol"])
def test_a_server_that_falls_silent_does_not_hold_up_a_search(
    miniature: Miniature, mirrors: list[str], greeting: bytes
) -> None:
    with silent_server(greeting) as url:
        mirrors.append(url)
        for _ in range(2):
            with pytest.raises(FileNotFoundError, match="cannot be downloaded"):
                provide(miniature)
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("answer", ["not found", "another page", "damaged archive"])
def test_a_wrong_answer_counts_as_no_answer(
    miniature: Miniature, online: dict[str, bytes], mirrors: list[str], answer: str
) -> None:
    images = next(iter(miniature.files.training))
    answers = {"not found": {}, "another page": {f"{images}.gz": b"<html>Please log in"}}
    served = answers.get(answer, {f"{images}.gz": online[f"{images}.gz"][:-9]})
    with file_server(served) as url:
        mirrors.append(url)
        with pytest.raises(FileNotFoundError, match="cannot be downloaded"):
            provide(miniature)
    assert os.listdir(miniature.raw) == []


def test_the_next_mirror_and_the_next_try_make_up_for_a_silent_server(
    miniature: Miniature, online: dict[str, bytes], mirrors: list[str]
) -> None:
    with silent_server(PARTIAL_ANSWER) as silent, file_server(online) as answering:
        mirrors.append(silent)
        with pytest.raises(FileNotFoundError, match="cannot be downloaded"):
            provide(miniature)
        mirrors.append(answering)
        provide(miniature)
    assert num_digits(miniature, miniature.files.training) == 400


# A download that failed leaves things as they were


@pytest.mark.parametrize("there", ["", "data", "data/MNIST", "data/MNIST/raw"])
def test_a_failed_download_leaves_no_empty_folder_behind(miniature: Miniature, tmp_path: Path, there: str) -> None:
    place = tmp_path / "place"
    (place / there).mkdir(parents=True)
    before = sorted(place.rglob("*"))
    with pytest.raises(FileNotFoundError, match="cannot be downloaded"):
        provide_files(place / "data", "MNIST", miniature.files.training)
    assert sorted(place.rglob("*")) == before


def test_a_download_that_fails_halfway_keeps_what_came(
    miniature: Miniature, online: dict[str, bytes], mirrors: list[str], tmp_path: Path
) -> None:
    images = next(iter(miniature.files.training))
    with file_server({f"{images}.gz": online[f"{images}.gz"]}) as url:
        mirrors.append(url)
        with pytest.raises(FileNotFoundError, match="cannot be downloaded"):
            provide_files(tmp_path / "data", "MNIST", miniature.files.training)
    assert [path.name for path in (tmp_path / "data").rglob("*") if path.is_file()] == [images]


def test_a_folder_that_cannot_be_made_is_the_reason_that_is_told(miniature: Miniature, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded \(Not a directory\)"):
        provide_files(tmp_path / "file", "MNIST", miniature.files.training)
    assert (tmp_path / "file").is_file()
