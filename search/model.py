"""The network, and its file."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from search.config import IMAGE_SIZE, MARGIN, NUM_CLASSES, ModelConfig
from search.files import write_atomically

NUM_UNPADDED = 2  # convolutions at the start of the first stage, where it has as many


class View(NamedTuple):
    """How a network looks at an image: resized to so many pixels a side, shifted by so many down and right."""

    side: int
    down: int
    right: int


Views = tuple[View, ...]
ONE_VIEW: Views = (View(IMAGE_SIZE, 0, 0),)
ALL_VIEWS: Views = tuple(
    View(side, down, right)
    for side in (IMAGE_SIZE - 2, IMAGE_SIZE, IMAGE_SIZE + 2)
    for down in (-1, 0, 1)
    for right in (-1, 0, 1)
)


class TinyCNN(nn.Module):
    """Three stages of 3x3 convolutions, global average pooling and a linear head.

    Each block is a convolution, batch norm and ReLU, save the first, whose convolution has a bias instead of the
    norm: at the full resolution a norm costs most, and it earned nothing that five seeds show (results/LOG.md). The
    last block of the first two stages pools before its norm, so that norm and ReLU see a quarter of the pixels.

    The first two convolutions of the first stage and the very last one are unpadded, for the border of an image is
    empty: the stages work at 20, 10 and 5 pixels a side (11 and 5 after a first stage of a single convolution).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        fan_in = 1
        for stage, widths in enumerate(config.channels):
            last_stage = stage == len(config.channels) - 1
            for position, width in enumerate(widths):
                ends_stage = position == len(widths) - 1
                first = stage == position == 0
                unpadded = (stage == 0 and position < NUM_UNPADDED) or (last_stage and ends_stage)
                norm = config.norm and not first
                layers.append(nn.Conv2d(fan_in, width, kernel_size=3, padding=0 if unpadded else 1, bias=not norm))
                if ends_stage and not last_stage:
                    layers.append(nn.MaxPool2d(2))
                if norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU(inplace=True))
                fan_in = width
            if config.dropout > 0:
                layers.append(nn.Dropout(config.dropout))
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(fan_in, NUM_CLASSES)

    def forward(self, images: Float[Tensor, "n 1 28 28"], views: Views = ONE_VIEW) -> Float[Tensor, "n 10"]:
        """Logits of normalised images (`search.data.normalise`): their mean over the views.

        Several views of a test image are as old as AlexNet's ten crops (Krizhevsky et al., 2012). Here shifts undo
        what pooling every other pixel loses, and sizes are interpolated as training images are; both cost time but no
        parameter.
        """
        resized = {side: resize(images, side) for side in {view.side for view in views}}
        crops = (crop(resized[side], down, right) for side, down, right in views)
        logits = [self.head(self.features(each).mean(dim=(2, 3))) for each in crops]
        return torch.stack(logits).mean(dim=0) if len(logits) > 1 else logits[0]


def resize(images: Float[Tensor, "n 1 h h"], side: int) -> Float[Tensor, "n 1 s s"]:
    """The images with so many pixels a side."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)


def crop(images: Float[Tensor, "n 1 h h"], down: int, right: int) -> Float[Tensor, "n 1 24 24"]:
    """The part of the images that is so far from their centre."""
    side = IMAGE_SIZE - 2 * MARGIN
    middle = (images.shape[-1] - side) // 2
    top, left = middle + down, middle + right
    return images[:, :, top : top + side, left : left + side].contiguous(memory_format=torch.channels_last)


def num_params(model: nn.Module) -> int:
    """Every element of every parameter, trainable or not."""
    return sum(parameter.numel() for parameter in model.parameters())


def save_model(path: Path, model: TinyCNN, config: ModelConfig, record: dict[str, Any]) -> None:
    """Writes weights, network and record to one safetensors file, atomically: whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {"model": json.dumps(asdict(config)), "record": json.dumps(record)}
    write_atomically(path, save(tensors, metadata=metadata))


def load_model(path: str | Path) -> TinyCNN:
    """The saved network, ready to classify: in evaluation mode, on the CPU.

    Raises:
        ValueError: If the file is not one that `save_model` wrote.
    """
    with _opened(path) as (metadata, tensors):
        config = json.loads(metadata["model"])
        config["channels"] = tuple(tuple(stage) for stage in config["channels"])
        model = TinyCNN(ModelConfig(**config))
        model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


def load_record(path: str | Path) -> dict[str, Any]:
    """What was stored beside the weights: where the model comes from and what it reached.

    Raises:
        ValueError: If the file is not one that `save_model` wrote.
    """
    with _opened(path) as (metadata, _):
        record: dict[str, Any] = json.loads(metadata["record"])
    return record


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[dict[str, str], dict[str, Tensor]]]:
    """Metadata and tensors; whatever they lack or get wrong inside the `with` is the file's fault."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
            yield file.metadata() or {}, tensors
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a model saved by this version of the tool ({reason}).") from error


def to_device(model: TinyCNN, device: torch.device) -> TinyCNN:
    """On the device and in channels_last, the layout in which small convolutions are fastest."""
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
