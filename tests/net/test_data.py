"""Files, download and splits."""

import contextlib
import gzip
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.datasets import MNIST

import search.data
from search.data import (
    PIXEL_MEAN,
    PIXEL_STD,
    TEST_FILES,
    TRAIN_FILES,
    DataError,
    Split,
    find_dataset,
    fingerprint,
    load_final_splits,
    load_search_splits,
    normalise,
)

BLACK = -PIXEL_MEAN / PIXEL_STD
TRAIN_IMAGES, TRAIN_LABELS = TRAIN_FILES
TEST_IMAGES, TEST_LABELS = TEST_FILES
NOWHERE = "http://127.0.0.1:9/"  # the discard port: refused at once


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels_of(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.images}


# The bundled sample and its splits


def test_the_sample_has_4000_digits_to_train_and_1000_to_test(final_splits: tuple[Split, Split]) -> None:
    assert [len(split) for split in final_splits] == [4_000, 1_000]


def test_a_search_on_the_sample_trains_on_3200_and_validates_on_800(sample_splits: tuple[Split, Split]) -> None:
    assert [len(split) for split in sample_splits] == [3_200, 800]


def test_every_part_of_the_sample_holds_each_digit_equally_often(
    sample_splits: tuple[Split, Split], final_splits: tuple[Split, Split]
) -> None:
    for split in (*sample_splits, *final_splits):
        assert split.labels.bincount().tolist() == [len(split) // 10] * 10


def test_no_digit_is_in_two_parts(sample_splits: tuple[Split, Split], final_splits: tuple[Split, Split]) -> None:
    training, validation, test = pixels_of(sample_splits[0]), pixels_of(sample_splits[1]), pixels_of(final_splits[1])
    assert len(training | validation | test) == 5_000
    assert training | validation == pixels_of(final_splits[0])


def test_the_splits_never_change(sample_splits: tuple[Split, Split], final_splits: tuple[Split, Split]) -> None:
    assert fingerprint(*sample_splits) == "ee9d1d7f23a95db5"
    assert fingerprint(*final_splits) == "525d0b32e05c0bcc"


def test_splits_of_one_set_share_its_pixels_and_a_copy_on_a_device_takes_its_own_alone(
    sample_splits: tuple[Split, Split],
) -> None:
    training, validation = sample_splits
    assert training.pool.data_ptr() == validation.pool.data_ptr()
    assert validation.to(torch.device("cpu")) is validation
    moved = validation.to(torch.device("meta"))
    assert moved.pool.shape == (800, 1, 28, 28)
    assert moved.labels.device.type == moved.rows.device.type == "meta"


def test_the_splits_do_not_depend_on_the_global_generator(sample_splits: tuple[Split, Split], tmp_path: Path) -> None:
    torch.manual_seed(7)
    assert fingerprint(*load_search_splits("sample", tmp_path)) == fingerprint(*sample_splits)


def test_a_fingerprint_tells_images_labels_and_order_apart(few_digits: Split) -> None:
    swapped = torch.arange(len(few_digits)).roll(1)
    others = [
        Split.of(few_digits.images[swapped], few_digits.labels),
        Split.of(few_digits.images, few_digits.labels[swapped]),
        few_digits.select(swapped),
        few_digits.select(swapped[1:]),
    ]
    assert len({fingerprint(split) for split in [few_digits, *others]}) == 5


# Order and normalising


def test_the_generator_decides_the_order_and_every_epoch_has_its_own(few_digits: Split) -> None:
    def epochs(seed: int) -> list[str]:
        generator = seeded(seed)
        return [fingerprint(few_digits.shuffled(64, generator)) for _ in range(2)]

    assert epochs(1) == epochs(1)
    assert len({*epochs(1), *epochs(2)}) == 4


def test_the_parts_of_a_split_are_all_of_it_in_order(few_digits: Split) -> None:
    parts = list(few_digits.parts(100))
    assert [len(part) for part in parts] == [100, 100, 56]
    assert torch.equal(torch.cat([part.images for part in parts]), few_digits.images)
    assert torch.equal(torch.cat([part.labels for part in parts]), few_digits.labels)


def test_normalising_gives_real_digits_zero_mean_and_unit_variance(sample_splits: tuple[Split, Split]) -> None:
    images = normalise(sample_splits[0].images)
    assert abs(float(images.mean())) < 0.02
    assert abs(float(images.std()) - 1) < 0.02
    assert float(images.min()) == pytest.approx(BLACK)
    assert float(images.max()) == pytest.approx((1 - PIXEL_MEAN) / PIXEL_STD)


def test_normalising_leaves_its_input_alone(few_digits: Split) -> None:
    for images in (few_digits.images, few_digits.images.float()):
        before = images.clone()
        normalise(images)
        assert torch.equal(images, before), images.dtype


# Files in torchvision's layout


def write_idx(path: Path, array: Tensor) -> None:
    """The IDX format: two zeros, the type (8 is unsigned bytes), the number of dimensions, their sizes, the bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.to(torch.uint8).numpy().tobytes())


@pytest.fixture
def folder(
    tmp_path: Path,
    sample_splits: tuple[Split, Split],
    final_splits: tuple[Split, Split],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The data folder of a miniature MNIST: four genuine files of 400 and 100 digits, and no server in reach."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for files, split in ((TRAIN_FILES, sample_splits[0]), (TEST_FILES, final_splits[1])):
        images, labels = files
        num_digits = 400 if files is TRAIN_FILES else 100
        write_idx(raw / images, split.images[:: len(split) // num_digits, 0])
        write_idx(raw / labels, split.labels[:: len(split) // num_digits])
        for name in files:
            md5 = hashlib.md5((raw / name).read_bytes(), usedforsecurity=False).hexdigest()
            monkeypatch.setitem(files, name, md5)
    monkeypatch.setitem(search.data.NUM_VALIDATION, "mnist", 80)
    monkeypatch.setattr(MNIST, "mirrors", [NOWHERE])
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


def fail_to_warn(message: str) -> None:
    pytest.fail(f"Warned: {message}")


def raw_file(folder: Path, name: str) -> Path:
    return folder / "MNIST" / "raw" / name


def test_files_that_cannot_be_written_are_read(folder: Path) -> None:
    for path in (folder / "MNIST" / "raw").iterdir():
        path.chmod(0o444)
    training, validation = load_search_splits("mnist", folder)
    assert (len(training), len(validation)) == (320, 80)


@pytest.mark.parametrize("choice", ["mnist", "auto"])
def test_files_that_are_there_are_used(folder: Path, choice: str) -> None:
    assert find_dataset(choice, folder, fail_to_warn) == "mnist"


def test_files_hold_the_digits_that_were_written(
    folder: Path, sample_splits: tuple[Split, Split], final_splits: tuple[Split, Split]
) -> None:
    training, test = load_final_splits("mnist", folder)
    assert fingerprint(training) == fingerprint(sample_splits[0].select(torch.arange(0, 3_200, 8)))
    assert fingerprint(test) == fingerprint(final_splits[1].select(torch.arange(0, 1_000, 10)))


def test_a_search_splits_the_training_pair_by_class_to_within_one_digit(folder: Path) -> None:
    training, validation = load_search_splits("mnist", folder)
    whole = load_final_splits("mnist", folder)[0]
    assert (len(training), len(validation)) == (320, 80)
    assert pixels_of(training) | pixels_of(validation) == pixels_of(whole)
    assert (validation.labels.bincount() - whole.labels.bincount() / 5).abs().max() < 1


def test_a_search_does_not_need_the_test_pair_and_does_not_fetch_it(folder: Path) -> None:
    for name in TEST_FILES:
        raw_file(folder, name).unlink()
    assert find_dataset("mnist", folder, fail_to_warn) == "mnist"
    assert [len(split) for split in load_search_splits("mnist", folder)] == [320, 80]
    assert not any(raw_file(folder, name).exists() for name in TEST_FILES)


def test_a_search_does_not_even_check_the_test_pair(folder: Path) -> None:
    for name in TEST_FILES:
        raw_file(folder, name).write_bytes(b"damaged")
    assert find_dataset("mnist", folder, fail_to_warn) == "mnist"
    assert [len(split) for split in load_search_splits("mnist", folder)] == [320, 80]


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS])
def test_a_missing_file_that_cannot_be_fetched_is_an_error_that_names_the_fix(folder: Path, name: str) -> None:
    raw_file(folder, name).unlink()
    with pytest.raises(DataError, match=r"cannot be downloaded.*--data-dir.*--dataset sample") as caught:
        find_dataset("mnist", folder, fail_to_warn)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_falls_back_to_the_sample_with_one_plain_warning(folder: Path) -> None:
    raw_file(folder, TRAIN_LABELS).unlink()
    warned: list[str] = []
    assert find_dataset("auto", folder, warned.append) == "sample"
    assert len(warned) == 1
    assert "sample of 5,000 digits" in warned[0]
    assert "\n" not in warned[0]


def test_the_sample_is_used_without_a_look_at_the_folder(folder: Path) -> None:
    raw_file(folder, TRAIN_IMAGES).write_bytes(b"damaged")
    assert find_dataset("sample", folder, fail_to_warn) == "sample"


@pytest.mark.parametrize("choice", ["mnist", "auto"])
@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS])
@pytest.mark.parametrize("damage", ["one bit", "cut short", "empty", "a folder"])
def test_a_damaged_file_is_an_error_under_every_choice(folder: Path, choice: str, name: str, damage: str) -> None:
    path = raw_file(folder, name)
    whole = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    else:
        damaged = {"one bit": whole[:-1] + bytes([whole[-1] ^ 1]), "cut short": whole[:-1], "empty": b""}
        path.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=str(path)):
        find_dataset(choice, folder, fail_to_warn)


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
def test_a_verification_checks_all_four_files(folder: Path, name: str) -> None:
    path = raw_file(folder, name)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{name} is damaged"):
        load_final_splits("mnist", folder)
    path.unlink()
    with pytest.raises(DataError, match=r"cannot be downloaded.*--data-dir"):
        load_final_splits("mnist", folder)


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
def online(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a mirror of the miniature MNIST serves; the folder itself is emptied."""
    archives = {}
    for path in sorted((folder / "MNIST" / "raw").iterdir()):
        archives[f"{path.name}.gz"] = gzip.compress(path.read_bytes(), mtime=0)
        path.unlink()
    resources = [(name, hashlib.md5(body, usedforsecurity=False).hexdigest()) for name, body in archives.items()]
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setattr(search.data, "DOWNLOAD_TIMEOUT", 0.3)
    return archives


def test_absent_files_are_fetched_and_only_those_that_are_needed(
    folder: Path, online: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with file_server(online) as url:
        monkeypatch.setattr(MNIST, "mirrors", [url])
        assert find_dataset("mnist", folder, fail_to_warn) == "mnist"
        assert [len(split) for split in load_search_splits("mnist", folder)] == [320, 80]
        assert not any(raw_file(folder, name).exists() for name in TEST_FILES)
        assert [len(split) for split in load_final_splits("mnist", folder)] == [400, 100]


def test_archives_that_lie_in_the_folder_are_unpacked_without_a_download(
    folder: Path, online: dict[str, bytes]
) -> None:
    for name in TRAIN_FILES:
        raw_file(folder, f"{name}.gz").write_bytes(online[f"{name}.gz"])
    assert find_dataset("mnist", folder, fail_to_warn) == "mnist"  # no mirror is in reach
    assert [len(split) for split in load_search_splits("mnist", folder)] == [320, 80]
    for name in TRAIN_FILES:
        assert raw_file(folder, f"{name}.gz").read_bytes() == online[f"{name}.gz"]


PARTIAL_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000)
NO_HTTP = b"220 mail.example.org ESMTP\r\n\r\n"


@pytest.mark.parametrize("greeting", [b"", PARTIAL_ANSWER, NO_HTTP], ids=["nothing", "half a file", "another protocol"])
def test_a_server_that_falls_silent_does_not_hold_up_a_search(
    folder: Path, online: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, greeting: bytes
) -> None:
    warned: list[str] = []
    with silent_server(greeting) as url:
        monkeypatch.setattr(MNIST, "mirrors", [url])
        assert find_dataset("auto", folder, warned.append) == "sample"
        assert len(warned) == 1
        with pytest.raises(DataError, match="cannot be downloaded"):
            find_dataset("mnist", folder, fail_to_warn)
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("answer", ["not found", "another page", "damaged archive"])
def test_a_wrong_answer_counts_as_no_answer(
    folder: Path, online: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    image_file = f"{TRAIN_IMAGES}.gz"
    answers = {"not found": {}, "another page": {image_file: b"<html>Please log in"}}
    served = answers.get(answer, {image_file: online[image_file][:-9]})
    with file_server(served) as url:
        monkeypatch.setattr(MNIST, "mirrors", [url])
        with pytest.raises(DataError, match="cannot be downloaded"):
            find_dataset("mnist", folder, fail_to_warn)
    assert not raw_file(folder, TRAIN_IMAGES).exists()


def test_the_next_mirror_and_the_next_try_make_up_for_a_silent_server(
    folder: Path, online: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent_server(PARTIAL_ANSWER) as silent, file_server(online) as answering:
        monkeypatch.setattr(MNIST, "mirrors", [silent])
        assert find_dataset("auto", folder, lambda _: None) == "sample"  # leaves a partial archive behind
        monkeypatch.setattr(MNIST, "mirrors", [silent, answering])
        assert find_dataset("auto", folder, fail_to_warn) == "mnist"


# The complete MNIST


@pytest.mark.full
def test_the_complete_mnist_is_accepted_and_split_50000_to_10000_by_class(mnist_dir: Path) -> None:
    assert find_dataset("mnist", mnist_dir, fail_to_warn) == "mnist"
    training, validation = load_search_splits("mnist", mnist_dir)
    assert (len(training), len(validation)) == (50_000, 10_000)
    share = (training.labels.bincount() + validation.labels.bincount()) / 6
    assert (validation.labels.bincount() - share).abs().max() < 1
    assert len(pixels_of(training) | pixels_of(validation)) == 60_000


@pytest.mark.full
def test_a_verification_on_the_complete_mnist_has_60000_and_10000_digits(mnist_dir: Path) -> None:
    training, test = load_final_splits("mnist", mnist_dir)
    assert (len(training), len(test)) == (60_000, 10_000)
    assert training.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
