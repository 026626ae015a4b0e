"""The network, and its file."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from search.config import Channels, ModelConfig
from search.data import Split, normalise
from search.model import ALL_VIEWS, ONE_VIEW, TinyCNN, View, crop, load_model, load_record, resize, save_model

CONFIG = ModelConfig(channels=((4, 5), (6,), (7, 8)), dropout=0.1)
RECORD = {"trial": 3, "val_accuracy": 98.5, "config": {"lr": 0.015}, "note": "größer", "none": None}

shapes = pytest.mark.parametrize(
    "channels", [((1,), (1,), (1,)), ((4, 5), (6,), (7, 8)), ((3,), (4, 5, 6), (7,)), ((9, 8, 7), (6, 5), (4, 3, 2))]
)


@pytest.fixture
def used_model(few_digits: Split) -> TinyCNN:
    """A network whose batch norms have seen digits."""
    torch.manual_seed(0)
    model = TinyCNN(CONFIG)
    model(normalise(few_digits.images))
    return model.eval()


@pytest.fixture
def saved(tmp_path: Path, used_model: TinyCNN) -> Path:
    path = tmp_path / "best.safetensors"
    save_model(path, used_model, CONFIG, RECORD)
    return path


def output_shapes(model: TinyCNN, kind: type[nn.Module], images: torch.Tensor) -> list[tuple[int, int]]:
    """Channels and height of what each layer of a kind gives."""
    seen: list[tuple[int, int]] = []
    for layer in model.modules():
        if isinstance(layer, kind):
            layer.register_forward_hook(lambda _layer, _inputs, out: seen.append((out.shape[1], out.shape[2])))
    model(images)
    return seen


@shapes
def test_every_image_gets_ten_logits(channels: Channels, few_digits: Split) -> None:
    logits = TinyCNN(ModelConfig(channels=channels)).eval()(normalise(few_digits.images[:5]))
    assert logits.shape == (5, 10)
    assert logits.isfinite().all()


@shapes
def test_the_first_two_convolutions_and_the_last_are_unpadded(channels: Channels, few_digits: Split) -> None:
    first = (22, 20, 20)[: len(channels[0])]
    second, third = (size_after := first[-1] // 2), size_after // 2
    sizes = [*first, *[second] * len(channels[1]), *[third] * (len(channels[2]) - 1), third - 2]
    expected = list(zip((width for stage in channels for width in stage), sizes, strict=True))
    model = TinyCNN(ModelConfig(channels=channels))
    assert output_shapes(model, nn.Conv2d, normalise(few_digits.images[:2])) == expected


@shapes
def test_a_stage_pools_once_at_its_end_and_before_its_norm(channels: Channels, few_digits: Split) -> None:
    images = normalise(few_digits.images[:2])
    model = TinyCNN(ModelConfig(channels=channels))
    pooled = 11 if len(channels[0]) == 1 else 10
    assert output_shapes(model, nn.MaxPool2d, images) == [(channels[0][-1], pooled), (channels[1][-1], 5)]
    model = TinyCNN(ModelConfig(channels=channels))
    first = [20] * (len(channels[0]) - 2) + [pooled] if len(channels[0]) > 1 else []
    sizes = first + [pooled] * (len(channels[1]) - 1) + [5] * len(channels[2]) + [3]
    assert [size for _, size in output_shapes(model, nn.BatchNorm2d, images)] == sizes


@shapes
def test_every_convolution_has_a_norm_but_the_first_which_has_a_bias(channels: Channels) -> None:
    model = TinyCNN(ModelConfig(channels=channels))
    biases = [layer.bias is not None for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    num_norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    assert biases == [True] + [False] * num_norms


def test_the_margin_of_an_image_is_not_looked_at(few_digits: Split) -> None:
    model = TinyCNN(CONFIG).eval()
    images = normalise(few_digits.images[:5])
    framed = torch.nn.functional.pad(images[:, :, 2:-2, 2:-2], (2, 2, 2, 2), value=7.0)
    assert torch.equal(model(framed), model(images))
    framed[:, :, 2, 2:-2] = 7.0
    assert not torch.equal(model(framed), model(images))


def test_a_view_is_resized_and_shifted(few_digits: Split) -> None:
    images = normalise(few_digits.images)
    assert torch.equal(crop(images, 1, -2), images[:, :, 3:27, 0:24])
    larger = resize(images, 30)
    assert larger.shape[2:] == (30, 30)
    assert torch.equal(crop(larger, 0, 0), larger[:, :, 3:27, 3:27])
    network = TinyCNN(ModelConfig(channels=((2,), (3,), (4,)))).eval()
    with torch.no_grad():
        expected = network(larger[:, :, 2:30, 1:29])  # of which it looks at the centre
        torch.testing.assert_close(network(images, (View(30, 1, 0),)), expected)


def test_all_views_differ_and_lie_within_the_image() -> None:
    assert len(set(ALL_VIEWS)) == len(ALL_VIEWS) == 27
    assert set(ONE_VIEW) < set(ALL_VIEWS)
    for view in ALL_VIEWS:
        image = torch.zeros(1, 1, view.side, view.side)
        assert crop(image, view.down, view.right).shape == (1, 1, 24, 24)


def test_dropout_acts_after_each_stage_in_training_only(few_digits: Split) -> None:
    images = normalise(few_digits.images[:64])
    model = TinyCNN(ModelConfig(channels=CONFIG.channels, dropout=0.5))
    assert len(output_shapes(model, nn.Dropout, images)) == 3
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_without_dropout_training_repeats(few_digits: Split) -> None:
    images = normalise(few_digits.images[:64])
    model = TinyCNN(ModelConfig(channels=CONFIG.channels))
    assert torch.equal(model(images), model(images))


def test_a_saved_model_comes_back_bit_for_bit(saved: Path, used_model: TinyCNN, few_digits: Split) -> None:
    loaded = load_model(saved)
    assert loaded.state_dict().keys() == used_model.state_dict().keys()
    for name, tensor in used_model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
        assert loaded.state_dict()[name].dtype == tensor.dtype
    images = normalise(few_digits.images)
    assert torch.equal(loaded(images), used_model(images))


def test_a_loaded_model_is_ready_to_classify_and_named_by_text_or_path(saved: Path) -> None:
    loaded = load_model(str(saved))
    assert not any(layer.training for layer in loaded.modules())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_network_in_channels_last_is_saved_all_the_same(
    tmp_path: Path, used_model: TinyCNN, few_digits: Split
) -> None:
    images = normalise(few_digits.images)
    before = used_model(images)
    save_model(tmp_path / "last.safetensors", used_model.to(memory_format=torch.channels_last), CONFIG, RECORD)
    assert torch.equal(load_model(tmp_path / "last.safetensors")(images), before)


def test_the_record_comes_back_as_it_was(saved: Path) -> None:
    assert load_record(saved) == RECORD


def test_saving_makes_the_folder_and_leaves_one_file(tmp_path: Path, used_model: TinyCNN) -> None:
    path = tmp_path / "results" / "a study" / "best.safetensors"
    for number in range(2):
        save_model(path, used_model, CONFIG, {"number": number})
    assert os.listdir(path.parent) == ["best.safetensors"]
    assert load_record(path) == {"number": 1}


def test_a_save_that_fails_keeps_the_file_that_was_there_and_leaves_no_other(
    saved: Path, used_model: TinyCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", run_full)
    with pytest.raises(OSError, match="No space left"):
        save_model(saved, used_model, CONFIG, {"number": 1})
    assert load_record(saved) == RECORD
    assert os.listdir(saved.parent) == [saved.name]


def test_a_record_that_cannot_be_written_changes_nothing(saved: Path, used_model: TinyCNN) -> None:
    with pytest.raises(TypeError):
        save_model(saved, used_model, CONFIG, {"path": Path()})
    assert load_record(saved) == RECORD
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: whole[:100], lambda whole: whole[:-1], lambda whole: b"no model" * 50]
)
def test_a_damaged_file_is_refused_by_name(saved: Path, damage: Callable[[bytes], bytes]) -> None:
    saved.write_bytes(damage(saved.read_bytes()))
    with pytest.raises(ValueError, match=f"{saved.name} is not a model saved by this version of the tool"):
        load_model(saved)


FOREIGN: dict[str, dict[str, str] | None] = {
    "no metadata": None,
    "other metadata": {"format": "pt"},
    "a model of another kind": {"model": '{"layers": 12}', "record": "{}"},
    "metadata that is no JSON": {"model": "tiny", "record": "tiny"},
    "another network's weights": {"model": '{"channels": [[4], [4], [4]], "dropout": 0.0}', "record": "{}"},
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


def test_a_file_without_a_record_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    for content in (safetensors.torch.save({"weight": torch.ones(2)}), b"damaged"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name} is not a model saved by this version of the tool"):
            load_record(path)


@pytest.mark.parametrize("load", [load_model, load_record])
def test_a_missing_file_says_so(tmp_path: Path, load: Callable[[Path], Any]) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.safetensors")
