"""Writes down how a network lies in memory, for the kernels (`layout`)."""

from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor, nn

from ...config import LANES
from ..model import Residual, SeparableConv2d, TinyCNN
from .layout import BLOCK, IN_WORK, SIZES, Numbers, Program

Places = Callable[[Tensor], tuple[int, int]]
"""Where a tensor of a network begins and ends, in the array that holds all of its kind."""

_ALIGNED = 16  # numbers: a cache line, so that no vector lies on two


class Part:
    """A block's modules: a convolution, and what follows it until the next."""

    def __init__(self, layers: list[nn.Module], *, residual: bool) -> None:
        convolution = layers[0]
        self.separable = isinstance(convolution, SeparableConv2d)
        wide, narrow = convolution if isinstance(convolution, SeparableConv2d) else (convolution, convolution)
        assert isinstance(wide, nn.Conv2d)
        assert isinstance(narrow, nn.Conv2d)
        self.wide, self.narrow = wide, narrow
        self.ins, self.outs = wide.in_channels, narrow.out_channels
        self.norm = next((layer for layer in layers if isinstance(layer, nn.BatchNorm2d)), None)
        self.pools = any(isinstance(layer, nn.MaxPool2d) for layer in layers)
        self.residual, self.dropout = residual, 0.0
        self.padding = int(wide.padding[0])


def parts_of(model: TinyCNN) -> list[Part]:
    """A network's blocks, in order."""
    parts: list[Part] = []
    layers: list[nn.Module] = []
    for layer in model.features:
        if isinstance(layer, nn.Dropout):
            parts[-1].dropout = layer.p
        elif isinstance(layer, Residual):
            parts.append(Part(list(layer), residual=True))
        else:
            layers.append(layer)
            if isinstance(layer, nn.ReLU):
                parts.append(Part(layers, residual=False))
                layers = []
    return parts


def with_padding(parts: list[Part]) -> Iterator[tuple[Part, int]]:
    """The blocks, each with the padding that the next one wants of what it makes."""
    return zip(parts, [*(part.padding for part in parts[1:]), 0], strict=True)


class Plan:
    """The work of one network: programs, and one array that they share."""

    def __init__(self, tiles: int, places: Places) -> None:
        self.tiles, self._places = tiles, places
        self._size = 0

    def take(self, count: int) -> tuple[int, int]:
        """Where so many numbers begin and end."""
        begin = self._size
        self._size += -(-count // _ALIGNED) * _ALIGNED
        return begin, begin + count

    def work(self) -> Numbers:
        """All that was taken: zeros."""
        room = np.zeros(self._size + _ALIGNED, dtype=np.float32)
        begin = -(room.ctypes.data // room.itemsize) % _ALIGNED
        return room[begin : begin + self._size]

    def input(self, channels: int, rows: int, padding: int = 0) -> np.void:
        """The record of what is there before the first block: padded, and not to be activated."""
        block = _empty()
        block["out_rows"], block["out_padding"] = rows, padding
        put(block, "out", self.take(self.tiles * channels * (rows + 2 * padding) ** 2 * LANES))
        return block

    def block(self, part: Part, before: np.void, out_padding: int, *, pools: bool, trains: bool) -> np.void:
        """The record of a block.

        Args:
            before: That of the block before.
            pools: Whether it pools, if it can.
            trains: Whether it goes back as well.
        """
        block = _empty()
        in_rows = int(before["out_rows"]) + 2 * part.padding
        rows = in_rows - 2
        pools = pools and part.pools
        out_rows = rows // 2 if pools else rows
        border = 2 - part.padding
        sources = part.ins if part.residual else 0
        sizes = (part.ins, in_rows, part.outs, rows, out_rows, pools, border, sources, out_padding)
        for name, size in zip(SIZES, sizes, strict=True):
            block[name] = size
        self._place_weights(block, part, trains=trains)
        tile = part.outs * out_rows**2 * LANES
        counts = {
            "x": self.tiles * tile,
            "codes": self.tiles * tile if pools else 0,
            "out": self.tiles * part.outs * (out_rows + 2 * out_padding) ** 2 * LANES,
            "scale": part.outs,
            "shift": part.outs,
            "packed": part.narrow.weight.numel(),
            "unpooled": part.outs * rows**2 * LANES if pools else 0,
            "between": part.ins * rows**2 * LANES if part.separable else 0,
        }
        if trains:
            wide = (rows + 2 * border) ** 2 * LANES
            counts |= {
                "moments": 2 * part.outs * LANES if part.norm is not None else 0,
                "mask": self.tiles * tile if part.dropout > 0 else 0,
                **dict.fromkeys(("mean", "deviation", "slope", "offset"), part.outs),
                "gradient": self.tiles * tile,
                "g_between": part.ins * wide if part.separable else 0,
                "g_inside": part.outs * rows**2 * LANES if part.separable else part.outs * wide,
                "point_sums": part.narrow.weight.numel() * LANES,
                "depth_sums": part.wide.weight.numel() * LANES if part.separable else 0,
            }
        for name in IN_WORK:
            if counts.get(name):
                put(block, name, self.take(counts[name]))
        if part.residual:
            put(block, "source", (before["out"], before["out_end"]))
        return block

    def _place_weights(self, block: np.void, part: Part, *, trains: bool) -> None:
        put(block, "point", self._places(part.narrow.weight))
        if part.separable:
            put(block, "depth", self._places(part.wide.weight))
        if not trains:
            return
        if part.norm is None:
            assert part.narrow.bias is not None
            put(block, "beta", self._places(part.narrow.bias))
        else:
            assert part.norm.running_mean is not None
            assert part.norm.running_var is not None
            put(block, "gamma", self._places(part.norm.weight))
            put(block, "beta", self._places(part.norm.bias))
            put(block, "running_mean", self._places(part.norm.running_mean))
            put(block, "running_var", self._places(part.norm.running_var))

    def chain(self, parts: list[tuple[Part, int]], first: np.void, *, pools: bool = True, trains: bool) -> Program:
        """The program of blocks, each for what the one before makes; with each, the padding of its output."""
        records = [first]
        for part, out_padding in parts:
            records.append(self.block(part, records[-1], out_padding, pools=pools, trains=trains))
        return np.array(records, dtype=BLOCK)


def _empty() -> np.void:
    record: np.void = np.zeros(1, dtype=BLOCK)[0]
    return record


def put(block: np.void, name: str, place: tuple[int, int]) -> None:
    """Writes into a record where something begins and ends."""
    block[name], block[f"{name}_end"] = place
