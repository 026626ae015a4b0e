"""A folder of one's own images, and the data sets that are not digits."""

import gzip
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from miniature import write_idx

from search.net.data import Split, fingerprint, load_final_splits, load_search_splits, normalise
from search.net.datasets import DATASETS, MNIST_PIXELS, DataError, dataset_row, find_dataset
from search.net.own import TEST, TRAINING

FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian's package dataset-fashion-mnist


@pytest.fixture
def own(tmp_path: Path, few_digits: Split) -> Path:
    """A folder of 240 images to train with and 16 to test on."""
    folder = tmp_path / "my letters"
    folder.mkdir()
    for names, part in ((TRAINING, slice(0, 240)), (TEST, slice(240, 256))):
        write_idx(folder / names[0], few_digits.images[part, 0])
        write_idx(folder / names[1], few_digits.labels[part])
    return folder


def fail_to_warn(message: str) -> None:
    raise AssertionError(message)


def test_a_folder_is_a_data_set(own: Path, few_digits: Split) -> None:
    row = find_dataset(str(own), Path("nowhere"), fail_to_warn)
    assert (row.name, row.target, row.judged) == (str(own.resolve()), None, True)
    assert dataset_row(row.name) == row
    training, validation = load_search_splits(row, Path("nowhere"))
    assert (len(training), len(validation)) == (200, 40)
    everything, test = load_final_splits(row, Path("nowhere"))
    assert torch.equal(everything.images, few_digits.images[:240])
    assert torch.equal(test.labels, few_digits.labels[240:])


def test_its_pixels_are_counted(own: Path, few_digits: Split) -> None:
    pixels, images = dataset_row(str(own)).pixels, few_digits.images[:240].double() / 255
    assert (pixels.mean, pixels.std) == pytest.approx((float(images.mean()), float(images.std(correction=0))))
    assert pixels.frame == 2  # nothing says that its border is empty
    write_idx(own / TRAINING[0], few_digits.images[:200, 0])
    write_idx(own / TRAINING[1], few_digits.labels[:200])
    assert dataset_row(str(own)).pixels.mean == pytest.approx(float((few_digits.images[:200].double() / 255).mean()))


def test_it_may_be_gzipped_and_lie_in_raw(own: Path) -> None:
    before = fingerprint(*load_final_splits(dataset_row(str(own)), own))
    (own / "raw").mkdir()
    for name in (*TRAINING, *TEST):
        (own / "raw" / f"{name}.gz").write_bytes(gzip.compress((own / name).read_bytes()))
        (own / name).unlink()
    assert fingerprint(*load_final_splits(dataset_row(str(own)), own)) == before
    assert sorted(path.suffix for path in (own / "raw").iterdir()) == [".gz"] * 4  # nothing is unpacked there


def cut_off(folder: Path) -> None:
    path = folder / TRAINING[0]
    path.write_bytes(path.read_bytes()[:-1])


def swap(folder: Path) -> None:
    images, labels = (folder / name for name in TRAINING)
    images.write_bytes(labels.read_bytes())


def enlarge(folder: Path) -> None:
    write_idx(folder / TRAINING[0], torch.zeros(240, 32, 32))


def mislabel(folder: Path) -> None:
    write_idx(folder / TRAINING[1], torch.arange(240) % 11)


def lose_labels(folder: Path) -> None:
    write_idx(folder / TRAINING[1], torch.arange(239) % 10)


def label_alike(folder: Path) -> None:
    write_idx(folder / TRAINING[1], torch.zeros(240))


def invert(folder: Path) -> None:
    write_idx(folder / TRAINING[0], torch.full((240, 28, 28), 255))


def remove(folder: Path) -> None:
    (folder / TRAINING[1]).unlink()


def empty(folder: Path) -> None:
    (folder / TRAINING[0]).write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut_off, "is cut off or too long"),
        (swap, "holds no images"),
        (enlarge, "images of 32x32 pixels"),
        (mislabel, "a label of 10"),
        (lose_labels, "240 images and train-labels-idx1-ubyte 239 labels"),
        (label_alike, "the same label"),
        (invert, "dark on light"),
        (remove, "has no train-labels-idx1-ubyte"),
        (empty, "is no IDX file"),
    ],
)
def test_a_folder_that_is_not_in_order_is_refused_in_one_line(
    own: Path, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(own)
    with pytest.raises(DataError, match=told) as refused:
        find_dataset(str(own), Path("nowhere"), fail_to_warn)
    assert "\n" not in str(refused.value)


def test_a_search_does_not_need_the_test_files_and_a_proof_does(own: Path) -> None:
    (own / TEST[0]).unlink()
    row = find_dataset(str(own), Path("nowhere"), fail_to_warn)
    load_search_splits(row, Path("nowhere"))
    with pytest.raises(DataError, match="has no t10k-images-idx3-ubyte"):
        load_final_splits(row, Path("nowhere"))


# Images that fill their frame

FILLED = replace(MNIST_PIXELS, frame=2)


def test_what_lies_at_the_border_is_seen_through_a_frame(few_digits: Split) -> None:
    images = few_digits.images[:4]
    framed = normalise(images, FILLED)
    assert framed.shape == (4, 1, 32, 32)
    assert torch.equal(framed[:, :, 2:-2, 2:-2], normalise(images, MNIST_PIXELS))
    assert framed[0, 0, 0, 0] == normalise(torch.zeros(1, 1, 28, 28), MNIST_PIXELS, check=False)[0, 0, 0, 0]


@pytest.mark.skipif(not FASHION.exists(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_found_unpacked_and_checked(tmp_path: Path) -> None:
    row, raw = DATASETS["fashion-mnist"], tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in FASHION.glob("*.gz"):
        (raw / path.name).symlink_to(path)
    assert find_dataset("fashion-mnist", tmp_path, fail_to_warn) is row
    training, test = load_final_splits(row, tmp_path)
    assert (len(training), len(test)) == (60_000, 10_000)
    counts, values = training.images.flatten().bincount().double(), torch.arange(256).double() / 255
    mean = float((counts * values).sum() / counts.sum())
    std = math.sqrt(float((counts * (values - mean) ** 2).sum() / counts.sum()))
    assert (row.pixels.mean, row.pixels.std) == pytest.approx((mean, std), abs=5e-5)
    assert training.labels.bincount().tolist() == [6_000] * 10


def test_a_set_without_published_checksums_is_checked_by_its_form(tmp_path: Path, few_digits: Split) -> None:
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for names, part in ((TRAINING, slice(0, 240)), (TEST, slice(240, 256))):
        write_idx(raw / names[0], few_digits.images[part, 0])
        write_idx(raw / names[1], few_digits.labels[part])
    row = find_dataset("kmnist", tmp_path, fail_to_warn)
    assert [len(split) for split in load_final_splits(row, tmp_path)] == [240, 16]
    (raw / TRAINING[0]).write_bytes((raw / TRAINING[0]).read_bytes()[:-1])
    with pytest.raises(DataError, match="cut off"):
        find_dataset("kmnist", tmp_path, fail_to_warn)
