"""The values that describe a run, and the parameter budget. Standard library only."""

import hashlib
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

NUM_CLASSES = 10
IMAGE_SIZE = 28  # pixels a side
LANES = 8  # images that a CPU computes side by side
MARGIN = 2  # pixels on every side that the network does not look at: 0.24 % of all ink is there
FARTHEST = 1_000  # pixels, and shares: then nothing of an image is left to be seen
NUM_STAGES = 3
KERNEL_AREA = 9  # every convolution is 3x3
NUM_UNPADDED = 2  # convolutions at the start of the first stage, where it has as many
MAX_STAGE_BLOCKS = 4  # that the space draws

PACKAGE_NAMES = ("search", "tiny_mnist_search")  # in a checkout, and as installed
PACKAGE = __name__.partition(".")[0]  # which of them it is
DISTRIBUTION = "tiny-mnist-search"
CHECKOUT_PROGRAM = "python cli.py"  # as it is called in texts
IN_CHECKOUT = Path(__file__).parents[1].joinpath("cli.py").exists()
PROGRAM = CHECKOUT_PROGRAM if IN_CHECKOUT and Path(sys.argv[0]).stem != DISTRIBUTION else DISTRIBUTION
RECIPE = 6  # raised whenever a configuration would build another network or train it otherwise than before
# Earlier ones that PyTorch's kernels repeat in fp32: they trained and answered as recipe 6 does, but for rounding.
REPEATED_BY_PYTORCH = frozenset({4, 5})
SAME_BUT_FOR_ROUNDING = frozenset({5, RECIPE})  # what was measured of points of a search space holds for all of them

DEFAULT_MAX_PARAMS = 7_999  # "fewer than 8,000"
SMALLEST_MAX_PARAMS, LARGEST_MAX_PARAMS = 500, 100_000
MAX_EPOCHS = 15
# What no input may exceed: beyond it, a command would take all memory or time rather than say what is wrong.
MAX_TRIALS = 100_000
MAX_WORKERS = 1_024
MAX_SEEDS = 10_000
MAX_SECONDS = 366 * 24 * 3_600  # of a time limit
MAX_CONVOLUTIONS, LARGEST_NETWORK = 100, 2_000_000  # parameters: nothing larger is built, whatever a file says
MAX_BATCH_SIZE = 4_096
LARGEST_FIRST_SEED = 2**31 - 1 - MAX_SEEDS  # of a proof: the ladder's seeds begin at 2**31
LARGEST_INTEGER = 2**63 - 1  # of any other number, as databases keep them
LONGEST_SHORT_NAME = 40  # characters
LONGEST_QUOTE = 60  # characters of a wrong value that an error quotes

Channels = tuple[tuple[int, ...], ...]
Block = Literal["dense", "separable"]
BLOCKS: tuple[Block, ...] = ("dense", "separable")
ALL_DENSE: tuple[Block, ...] = ("dense", "dense", "dense")


class Network(Protocol):
    """What tells one network from another: a configuration's, or one that is on record."""

    @property
    def channels(self) -> Channels | None: ...
    @property
    def blocks(self) -> tuple[Block, ...]: ...
    @property
    def residual(self) -> bool: ...


class ExplainedError(Exception):
    """An error that the user can mend: its text, one line with the cause and the fix, is the whole message."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A stack of 3x3 convolutions over three resolutions.

    Attributes:
        channels: The output channels of every convolution, one tuple per stage. No network may have more parameters
            than the largest budget: it would only be built to be refused.
        blocks: What the convolutions of each stage are: dense, or separable into a depthwise 3x3 and a pointwise one
            (Sifre, 2014). The very first, of a single input channel, is dense.
        residual: Whether the input of each block that keeps the number of pixels is added to its output, channel by
            channel; channels that one of the two lacks count as zeros (He et al., 2015, option A: no parameters).
        dropout: The probability with which an activation is dropped after each stage.
        norm: Whether every convolution but the first has a batch norm; else all have a bias. Off in ablations alone.
    """

    channels: Channels
    blocks: tuple[Block, ...] = ALL_DENSE
    residual: bool = False
    dropout: float = 0.0
    norm: bool = True

    def __post_init__(self) -> None:
        if len(self.channels) != NUM_STAGES or not all(self.channels):
            raise ValueError(
                f"Channels need {NUM_STAGES} stages of one or more convolutions, but got {self.channels=}."
            )
        if len(self.blocks) != NUM_STAGES or not set(self.blocks) <= set(BLOCKS):
            raise ValueError(f"Blocks need a word for each of {NUM_STAGES} stages, but got {self.blocks=}.")
        if min(width for stage in self.channels for width in stage) < 1:
            raise ValueError(f"Every convolution needs at least one channel, but got {self.channels=}.")
        if sum(map(len, self.channels)) > MAX_CONVOLUTIONS or self.num_params > LARGEST_NETWORK:
            raise ValueError(
                f"A network has at most {MAX_CONVOLUTIONS} convolutions and {LARGEST_NETWORK:,} parameters."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"Dropout must be in [0, 1), but got {self.dropout=}.")

    @property
    def has_inner_blocks(self) -> bool:
        """Whether there is a block that `residual` is about."""
        return any(self.is_inner(stage, 0) or self.is_inner(stage, NUM_UNPADDED) for stage in range(NUM_STAGES))

    def is_inner(self, stage: int, position: int) -> bool:
        """Whether a block gives as many pixels as it gets: it is neither unpadded nor the last of its stage."""
        return position + 1 < len(self.channels[stage]) and (stage > 0 or position >= NUM_UNPADDED)

    @property
    def num_params(self) -> int:
        """Every element of every parameter of the network, by arithmetic."""
        return count_params(self.channels, self.blocks, norm=self.norm)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """The largest random distortion of a training image; each image draws uniformly from +-these.

    Attributes:
        rotation: Degrees.
        shift: Pixels, along each axis of the image before it is scaled and rotated.
        scale: A fraction of the size: 0.1 draws from 0.9 to 1.1.
        shear: The horizontal shift per unit of height (the tangent of the shear angle).
    """

    rotation: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    shear: float = 0.0

    def __post_init__(self) -> None:
        if not all(0 <= strength < math.inf for strength in astuple(self)):
            raise ValueError(f"Augmentation strengths must be finite and not negative, but got {self}.")
        if max(self.shift, self.shear) > FARTHEST:
            raise ValueError(f"Shift and shear must be {FARTHEST} or less, but got {self}.")
        if self.scale >= 1.0:
            raise ValueError(f"Scale must be below 1, but got {self.scale=}.")

    def scaled(self, factor: float) -> "AugmentConfig":
        """All strengths times a factor."""
        return AugmentConfig(**{name: factor * strength for name, strength in asdict(self).items()})


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Everything that a run depends on besides its data, its seed and its number of epochs.

    Attributes:
        lr: The peak of the one-cycle schedule.
        weight_decay: Decoupled (AdamW), on convolution and linear weights only.
        average_horizon: The span of the weight average, as a fraction of the steps taken so far.
        final_augment: The strength of the last epoch's augmentation, as a fraction of that of the others; the last
            third of the epochs goes there in equal steps.
    """

    model: ModelConfig
    augment: AugmentConfig
    lr: float
    weight_decay: float
    batch_size: int = 64
    average_horizon: float = 0.085  # about 1.3 of 15 epochs
    final_augment: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:  # NaN fails any comparison
            raise ValueError(f"Learning rate must be positive and finite, but got {self.lr=}.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"Weight decay must be finite and not negative, but got {self.weight_decay=}.")
        if self.batch_size < 2:
            raise ValueError(f"Batch norm needs two or more images a batch, but got {self.batch_size=}.")
        if self.batch_size > MAX_BATCH_SIZE:
            raise ValueError(f"A batch has at most {MAX_BATCH_SIZE} images, but got {self.batch_size=}.")
        if not 0.0 < self.average_horizon < 1.0:
            raise ValueError(f"The averaging horizon must be in (0, 1), but got {self.average_horizon=}.")
        if not 0.0 <= self.final_augment <= 1.0:
            raise ValueError(f"The final augmentation must be in [0, 1], but got {self.final_augment=}.")


def as_json(config: TrialConfig) -> dict[str, Any]:
    """A configuration as JSON has it.

    What every network of an earlier version had alike is left out, so that on record it stays the same configuration.
    """
    found: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    if config.model.blocks == ALL_DENSE:
        del found["model"]["blocks"]
    if not config.model.residual:
        del found["model"]["residual"]
    return found


def count_params(channels: Sequence[Sequence[int]], blocks: Sequence[Block] = ALL_DENSE, *, norm: bool = True) -> int:
    """The parameters of the network with these convolution widths, one sequence per stage.

    A dense convolution has `9 * inputs * outputs` weights, a separable one `9 * inputs + inputs * outputs`. The first
    also has a bias, the others a batch norm of 2 parameters per channel, or a bias if there is no norm; the linear head
    has a bias.
    """
    total, fan_in = 0, 1
    for widths, block in zip(channels, blocks, strict=True):
        for width in widths:
            first = total == 0
            separable = block == "separable" and not first
            total += KERNEL_AREA * fan_in + fan_in * width if separable else KERNEL_AREA * fan_in * width
            total += (2 if norm and not first else 1) * width
            fan_in = width
    return total + fan_in * NUM_CLASSES + NUM_CLASSES


def fit_channels(
    proportions: Sequence[Sequence[float]], max_params: int, blocks: Sequence[Block] = ALL_DENSE
) -> Channels:
    """The largest network of a given shape that keeps to the budget.

    Every width starts at one channel and grows a channel at a time, always the one that lags most behind
    its proportion. A width whose next channel does not fit stops; the others go on until none can grow,
    so that in the end one more channel anywhere would break the budget.

    Args:
        proportions: The relative width of every convolution, one sequence per stage.
        max_params: The largest parameter count allowed, itself included.

    Raises:
        ValueError: If not even one channel everywhere fits, or a proportion is not positive.
    """
    targets = [proportion for stage in proportions for proportion in stage]
    if min(targets) <= 0:
        raise ValueError(f"Proportions must be positive, but got {proportions=}.")
    widths = [1] * len(targets)

    def staged() -> Channels:
        grown = iter(widths)
        return tuple(tuple(next(grown) for _ in stage) for stage in proportions)

    def fits() -> bool:
        return count_params(staged(), blocks) <= max_params

    if not fits():
        raise ValueError(
            f"{len(widths)} convolutions need {count_params(staged(), blocks)} parameters, but got {max_params=}."
        )
    growing = set(range(len(widths)))
    while growing:
        # Ties go to the later layer, where a channel sees a larger part of the image.
        lagging = min(growing, key=lambda layer: ((widths[layer] + 1) / targets[layer], -layer))
        widths[lagging] += 1
        if not fits():
            widths[lagging] -= 1
            growing.remove(lagging)
    return staged()


def shortened(value: object) -> str:
    """A value as an error quotes it."""
    words = repr(value)
    return words if len(words) <= LONGEST_QUOTE else f"{words[:LONGEST_QUOTE]}..."


def short_name(dataset: str) -> str:
    """What a data set's studies and files are called after: its name, or, of a path, what is plain in its last part."""
    last = re.split(r"[/\\]", dataset.rstrip("/\\"))[-1]
    plain = re.sub(r"[^\w.-]+", "-", last).strip("-.")
    return plain[:LONGEST_SHORT_NAME] or "images"


def printable(text: str) -> str:
    """Text in which control characters, and bytes that are no text, are written as Python writes them."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def derive_seed(*parts: int | str) -> int:
    """A seed for one purpose, independent of every other's: a hash of the parts that name it.

    At least 2**62, so that no derived seed equals a verification seed, which are small numbers.
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2 | 1 << 62
