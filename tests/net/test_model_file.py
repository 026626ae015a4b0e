"""A network's file."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from search.config import ModelConfig
from search.net.data import Split, normalise
from search.net.datasets import MNIST_PIXELS
from search.net.model import TinyCNN
from search.net.model_file import load_model, save_model
from search.net.model_origin import read_origin

CONFIG = ModelConfig(channels=((4, 5), (6,), (7, 8)), dropout=0.1)
ORIGIN = json.dumps({"trial": 3, "val_accuracy": 98.5, "note": "größer", "none": None}, ensure_ascii=False)


@pytest.fixture
def used_model(few_digits: Split) -> TinyCNN:
    """A network whose batch norms have seen digits."""
    torch.manual_seed(0)
    model = TinyCNN(CONFIG)
    model(normalise(few_digits.images, MNIST_PIXELS))
    return model.eval()


@pytest.fixture
def saved(tmp_path: Path, used_model: TinyCNN) -> Path:
    path = tmp_path / "winner.safetensors"
    save_model(path, used_model, CONFIG, ORIGIN)
    return path


def test_a_saved_model_comes_back_bit_for_bit(saved: Path, used_model: TinyCNN, few_digits: Split) -> None:
    loaded = load_model(saved)
    assert loaded.state_dict().keys() == used_model.state_dict().keys()
    for name, tensor in used_model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
        assert loaded.state_dict()[name].dtype == tensor.dtype
    images = normalise(few_digits.images, MNIST_PIXELS)
    assert torch.equal(loaded(images), used_model(images))


def test_a_loaded_model_is_ready_to_classify_and_named_by_text_or_path(saved: Path) -> None:
    loaded = load_model(str(saved))
    assert not any(layer.training for layer in loaded.modules())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_network_in_channels_last_is_saved_all_the_same(
    tmp_path: Path, used_model: TinyCNN, few_digits: Split
) -> None:
    images = normalise(few_digits.images, MNIST_PIXELS)
    before = used_model(images)
    save_model(tmp_path / "last.safetensors", used_model.to(memory_format=torch.channels_last), CONFIG, ORIGIN)
    assert torch.equal(load_model(tmp_path / "last.safetensors")(images), before)


def test_the_origin_comes_back_as_it_was(saved: Path) -> None:
    assert read_origin(saved) == ORIGIN


def test_saving_makes_the_folder_and_leaves_one_file(tmp_path: Path, used_model: TinyCNN) -> None:
    path = tmp_path / "results" / "a study" / "winner.safetensors"
    for number in range(2):
        save_model(path, used_model, CONFIG, json.dumps({"number": number}))
    assert os.listdir(path.parent) == ["winner.safetensors"]
    assert read_origin(path) == '{"number": 1}'


def test_a_save_that_fails_keeps_the_file_that_was_there_and_leaves_no_other(
    saved: Path, used_model: TinyCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", run_full)
    with pytest.raises(OSError, match="No space left"):
        save_model(saved, used_model, CONFIG, '{"number": 1}')
    assert read_origin(saved) == ORIGIN
    assert os.listdir(saved.parent) == [saved.name]


def test_an_origin_that_cannot_be_written_changes_nothing(saved: Path, used_model: TinyCNN) -> None:
    with pytest.raises(UnicodeEncodeError):
        save_model(saved, used_model, CONFIG, '"\ud800"')
    assert read_origin(saved) == ORIGIN
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: whole[:100], lambda whole: whole[:-1], lambda whole: b"no model" * 50]
)
def test_a_damaged_file_is_refused_by_name(saved: Path, damage: Callable[[bytes], bytes]) -> None:
    saved.write_bytes(damage(saved.read_bytes()))
    with pytest.raises(ValueError, match=f"{saved.name} is not a model saved by this version of the tool"):
        load_model(saved)


def test_a_changed_byte_of_the_weights_is_noticed(saved: Path) -> None:
    whole = saved.read_bytes()
    for place in (-1, -100, 8 + int.from_bytes(whole[:8], "little")):
        changed = bytearray(whole)
        changed[place] ^= 1
        saved.write_bytes(changed)
        for load in (load_model, read_origin):
            with pytest.raises(
                ValueError, match=f"{saved.name} is not a model .* weights are not those that were saved"
            ):
                load(saved)


def test_a_model_of_before_there_was_a_checksum_is_read(saved: Path, used_model: TinyCNN) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata = file.metadata()
    del metadata["sha256"]
    safetensors.torch.save_file(used_model.state_dict(), saved, metadata)
    assert torch.equal(load_model(saved).state_dict()["head.weight"], used_model.state_dict()["head.weight"])
    assert read_origin(saved) == ORIGIN


FOREIGN: dict[str, dict[str, str] | None] = {
    "no metadata": None,
    "other metadata": {"format": "pt"},
    "a model of another kind": {"model": '{"layers": 12}', "record": "{}"},
    "metadata that is no JSON": {"model": "tiny", "record": "tiny"},
    "another network's weights": {"model": '{"channels": [[4], [4], [4]], "dropout": 0.0}', "record": "{}"},
    "a network of a later version": {"model": '{"channels": [[4, 5], [6], [7, 8]], "kernel": 5}', "record": "{}"},
    "an impossible network": {"model": '{"channels": [[4], [4]], "dropout": 0.0}', "record": "{}"},
}


@pytest.mark.parametrize("metadata", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_safetensors_file_is_refused_by_name(
    tmp_path: Path, used_model: TinyCNN, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file(used_model.state_dict(), path, metadata)
    with pytest.raises(ValueError, match=f"{path.name} is not a model saved by this version of the tool"):
        load_model(path)


def test_a_file_without_an_origin_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    for content in (safetensors.torch.save({"weight": torch.ones(2)}), b"damaged"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name} is not a model saved by this version of the tool"):
            read_origin(path)


@pytest.mark.parametrize("load", [load_model, read_origin])
def test_a_missing_file_says_so(tmp_path: Path, load: Callable[[Path], Any]) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.safetensors")
