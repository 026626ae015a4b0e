"""Which data set is used, and which digits each stage gets of it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from miniature import Miniature

from search.net.data import Split, fingerprint, load_final_splits, load_search_splits
from search.net.datasets import DATASETS, MNIST_PIXELS, BundledSample, DataError, IdxFiles, dataset_row, find_dataset

MNIST = DATASETS["mnist"].source
assert isinstance(MNIST, IdxFiles)
TRAIN_IMAGES, TRAIN_LABELS = MNIST.training
TEST_IMAGES, TEST_LABELS = MNIST.test


def pixels_of(split: Split) -> set[bytes]:
    return {image.numpy().tobytes() for image in split.images}


def fail_to_warn(message: str) -> None:
    pytest.fail(f"Warned: {message}")


# The choice


@pytest.mark.parametrize("choice", ["mnist", "auto"])
def test_files_that_are_there_are_used(miniature: Miniature, choice: str) -> None:
    assert find_dataset(choice, miniature.folder, fail_to_warn) is miniature.row


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS])
def test_a_missing_file_that_cannot_be_fetched_is_an_error_that_names_the_fix(miniature: Miniature, name: str) -> None:
    (miniature.raw / name).unlink()
    with pytest.raises(DataError, match=r"cannot be downloaded.*--data-dir.*--dataset sample") as caught:
        find_dataset("mnist", miniature.folder, fail_to_warn)
    assert str(miniature.folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_falls_back_to_the_sample_with_one_plain_warning(miniature: Miniature) -> None:
    (miniature.raw / TRAIN_LABELS).unlink()
    warned: list[str] = []
    assert find_dataset("auto", miniature.folder, warned.append) is DATASETS["sample"]
    assert len(warned) == 1
    assert "sample of 5,000 digits: the 99.4 % claim cannot be judged" in warned[0]
    assert "\n" not in warned[0]


def test_the_sample_is_used_without_a_look_at_the_folder(miniature: Miniature) -> None:
    (miniature.raw / TRAIN_IMAGES).write_bytes(b"damaged")
    assert find_dataset("sample", miniature.folder, fail_to_warn) is DATASETS["sample"]


@pytest.mark.parametrize("choice", ["mnist", "auto"])
@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS])
@pytest.mark.parametrize("damage", ["one bit", "cut short", "empty", "a folder"])
def test_a_damaged_file_is_an_error_under_every_choice(
    miniature: Miniature, choice: str, name: str, damage: str
) -> None:
    path = miniature.raw / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    else:
        damaged = {"one bit": whole[:-1] + bytes([whole[-1] ^ 1]), "cut short": whole[:-1], "empty": b""}
        path.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=str(path)):
        find_dataset(choice, miniature.folder, fail_to_warn)


@pytest.mark.parametrize("name", ["emnist", "MNIST", ""])
def test_a_name_that_is_no_data_set_is_refused_with_those_that_are(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=rf"There is no data set '{name}', and no such folder. Known are: mnist, .*sample."
    ):
        dataset_row(name)
    with pytest.raises(DataError, match=r"Known are: mnist, .*sample."):
        find_dataset(name, tmp_path, fail_to_warn)


# What each stage gets


def test_a_search_splits_the_training_pair_by_class_to_within_one_digit(miniature: Miniature) -> None:
    training, validation = load_search_splits(miniature.row, miniature.folder)
    whole = load_final_splits(miniature.row, miniature.folder)[0]
    assert (len(training), len(validation)) == (320, 80)
    assert pixels_of(training) | pixels_of(validation) == pixels_of(whole)
    assert (validation.labels.bincount() - whole.labels.bincount() / 5).abs().max() < 1


@pytest.mark.parametrize("files", ["absent", "damaged"])
def test_a_search_does_not_need_the_test_pair_and_neither_fetches_nor_checks_it(
    miniature: Miniature, files: str
) -> None:
    for name in miniature.files.test:
        (miniature.raw / name).unlink()
        if files == "damaged":
            (miniature.raw / name).write_bytes(b"damaged")
    assert find_dataset("mnist", miniature.folder, fail_to_warn) is miniature.row
    assert [len(split) for split in load_search_splits(miniature.row, miniature.folder)] == [320, 80]
    assert [(miniature.raw / name).exists() for name in miniature.files.test] == [files == "damaged"] * 2


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
def test_a_verification_checks_all_four_files(miniature: Miniature, name: str) -> None:
    path = miniature.raw / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{name} is damaged"):
        load_final_splits(miniature.row, miniature.folder)
    path.unlink()
    with pytest.raises(DataError, match=r"cannot be downloaded.*--data-dir"):
        load_final_splits(miniature.row, miniature.folder)


def test_files_hold_the_digits_that_were_written(
    miniature: Miniature, sample_splits: tuple[Split, Split], final_splits: tuple[Split, Split]
) -> None:
    training, test = load_final_splits(miniature.row, miniature.folder)
    assert fingerprint(training) == fingerprint(sample_splits[0].select(torch.arange(0, 3_200, 8)))
    assert fingerprint(test) == fingerprint(final_splits[1].select(torch.arange(0, 1_000, 10)))


def test_another_data_set_is_one_more_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    row = replace(DATASETS["sample"], name="tenth", source=BundledSample(pixels=MNIST_PIXELS, num_test=4_500))
    monkeypatch.setitem(DATASETS, "tenth", row)
    assert find_dataset("tenth", tmp_path, fail_to_warn) is row
    assert [len(split) for split in load_search_splits(row, tmp_path)] == [400, 100]
    assert [len(split) for split in load_final_splits(row, tmp_path)] == [500, 4_500]


# The complete MNIST


@pytest.mark.full
def test_the_complete_mnist_is_accepted_and_split_50000_to_10000_by_class(mnist_dir: Path) -> None:
    row = find_dataset("mnist", mnist_dir, fail_to_warn)
    assert row is DATASETS["mnist"]
    training, validation = load_search_splits(row, mnist_dir)
    assert (len(training), len(validation)) == (50_000, 10_000)
    share = (training.labels.bincount() + validation.labels.bincount()) / 6
    assert (validation.labels.bincount() - share).abs().max() < 1
    assert len(pixels_of(training) | pixels_of(validation)) == 60_000


@pytest.mark.full
def test_a_verification_on_the_complete_mnist_has_60000_and_10000_digits(mnist_dir: Path) -> None:
    training, test = load_final_splits(DATASETS["mnist"], mnist_dir)
    assert (len(training), len(test)) == (60_000, 10_000)
    assert training.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
