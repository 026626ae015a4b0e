"""The network on a CPU in fp32: what PyTorch would compute, several times as fast (`search.net.kernels`)."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import IMAGE_SIZE, LANES, AugmentConfig, ModelConfig
from . import descent, kernels, warping
from .crops import ALL_CROPS, Crops, crop_side, take_regions
from .datasets import Pixels
from .kept import stamp
from .model import DenseConv2d, Residual, SeparableConv2d, TinyCNN

Numbers = NDArray[np.float32]
_NONE: Numbers = np.zeros(0, dtype=np.float32)
_TILES_AT_ONCE = 4  # that are evaluated


class CompiledTraining:
    """The loss of a batch, and the gradients of a network's parameters.

    It shares weights, statistics and gradients with the model, which an optimizer and an average go on working with.
    """

    def __init__(self, model: TinyCNN, *, batch_size: int, image_side: int) -> None:
        """Args: batch_size: A multiple of eight."""
        if batch_size % LANES:
            raise ValueError(f"A batch has to be a multiple of {LANES} images, but got {batch_size=}.")
        self._tiles, self._side = batch_size // LANES, crop_side(image_side)
        self._images = _numbers(self._tiles * self._side**2 * LANES)
        self._blocks: list[_TrainingBlock] = []
        rows = self._side
        for part, out_padding in _with_padding(list(_parts(model))):
            self._blocks.append(_TrainingBlock(part, self._tiles, rows, out_padding))
            rows = self._blocks[-1].out_rows
        self._features = np.zeros((batch_size, self._blocks[-1].outs), dtype=np.float32)
        self._d_features = np.zeros_like(self._features)
        head = model.head
        self._head = _flat(head.weight), _flat(head.bias)
        self._d_head = _flat_gradient(head.weight), _flat_gradient(head.bias)

    def __call__(self, images: Float[Tensor, "n 1 s s"], labels: Int64[Tensor, " n"]) -> float:
        """Writes the gradients of the mean cross-entropy, which it gives."""
        frame = (images.shape[-1] - self._side) // 2
        kernels.tile_images(images.numpy(), self._images, self._tiles, self._side, frame)
        before: _Block | None = None
        for block in self._blocks:
            block.forward(before, self._images)
            before = block
        last = self._blocks[-1]
        pixels = last.out_rows**2
        kernels.average_pixels(last.activate(), self._features, self._tiles, last.outs, pixels)
        loss: float = kernels.head_gradient(
            self._features, *self._head, labels.numpy(), self._d_features, *self._d_head
        )
        kernels.spread_pixels(self._d_features, last.gradient, self._tiles, last.outs, pixels)
        for block, before in zip(reversed(self._blocks), [*reversed(self._blocks[:-1]), None], strict=True):
            block.backward(before.gradient if before else _NONE)
        return loss


@torch.inference_mode()
def compiled_logits(model: TinyCNN, images: Float[Tensor, "n 1 s s"], crops: Crops) -> Float[Tensor, "n 10"]:
    """What `TinyCNN.forward` gives in evaluation mode."""
    parts = list(_parts(model))
    head = _flat(model.head.weight), _flat(model.head.bias)
    logits = np.zeros((len(images), model.head.out_features), dtype=np.float32)
    for region, corners in take_regions(images, crops, _resize):
        for features, rows in _views(parts, region.contiguous(), corners, crop_side(images.shape[-1])):
            kernels.add_logits(features, *head, logits[rows])
    return torch.from_numpy(logits / np.float32(len(crops)))


def warp(
    images: UInt8[Tensor, "n 1 28 28"], draws: Float[Tensor, "n 5"], strengths: AugmentConfig, pixels: Pixels
) -> Float[Tensor, "n 1 s s"]:
    """What `search.net.augment.augment` makes of images by these draws."""
    side = images.shape[-1] + 2 * pixels.frame
    out = torch.empty(len(images), 1, side, side)
    angle = strengths.rotation * np.pi / 180
    factors = np.array([angle, strengths.shift, strengths.shift, strengths.scale, strengths.shear])
    mean, deviation = np.float32(255 * pixels.mean), np.float32(255 * pixels.std)
    warping.warp_images(images.numpy(), draws.numpy(), factors, pixels.frame, mean, deviation, out.numpy())
    return out


def _resize(images: Float[Tensor, "n 1 h h"], side: int) -> Float[Tensor, "n 1 s s"]:
    if images.shape[-1] == side:
        return images
    out = torch.empty(len(images), 1, side, side)
    warping.resize_images(images.numpy(), out.numpy())
    return out


class CompiledAdamW(torch.optim.AdamW):
    """AdamW for a few flat tensors."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weights in group["params"]:
                state = self.state[weights]
                if not state:
                    state |= {"step": 0, "first": torch.zeros_like(weights), "second": torch.zeros_like(weights)}
                state["step"] += 1
                descent.descend(
                    _flat(weights), _flat(weights.grad), _flat(state["first"]), _flat(state["second"]),
                    float(group["lr"]), *map(float, group["betas"]), group["eps"], group["weight_decay"], state["step"],
                )  # fmt: skip


def average_weights(averaged: list[Tensor], current: list[Tensor], share: float) -> None:
    """What `torch._foreach_lerp_` does."""
    for average, tensor in zip(averaged, current, strict=True):
        descent.average_weights(_flat(average), _flat(tensor), share)


def prepare(tell: Callable[[str], None] = lambda _message: None) -> None:
    """Compiles what is not compiled yet, so that nobody has to wait for it later."""
    ready = stamp()
    if ready is None:
        tell("Every process compiles for this CPU, as no cache folder can be written to. Set XDG_CACHE_HOME to one.")
        return
    if ready.exists():
        return
    tell("Compiling for this CPU. It takes less than a minute, once.")
    config = ModelConfig(
        channels=((2, 2), (2, 2), (2, 2)), blocks=("dense", "separable", "dense"), dropout=0.1, residual=True
    )
    model = TinyCNN(config)
    images, labels = torch.zeros(LANES, 1, IMAGE_SIZE, IMAGE_SIZE), torch.zeros(LANES, dtype=torch.int64)
    CompiledTraining(model, batch_size=LANES, image_side=IMAGE_SIZE)(images, labels)
    for channels in (config.channels, ((2, 2, 2), (2, 2), (2, 2))):  # the second begins with what all crops share
        compiled_logits(TinyCNN(replace(config, channels=channels)).eval(), images, ALL_CROPS[:1])
    pixels = Pixels(mean=0.1, std=0.3, frame=0)
    warp(images.byte(), torch.zeros(LANES, 5), AugmentConfig(rotation=1.0), pixels)
    weights = torch.zeros(LANES, requires_grad=True)
    weights.grad = torch.zeros(LANES)
    CompiledAdamW([weights]).step()
    average_weights([weights], [weights], 1.0)
    with contextlib.suppress(OSError):
        ready.touch()


class _Part:
    """A block's modules: a convolution, and what follows it until the next."""

    def __init__(self, layers: list[nn.Module], *, residual: bool) -> None:
        convolution = layers[0]
        separable = isinstance(convolution, SeparableConv2d)
        wide, narrow = convolution if isinstance(convolution, SeparableConv2d) else (convolution, convolution)
        assert isinstance(wide, nn.Conv2d)
        assert isinstance(narrow, nn.Conv2d)
        self.separable, self.wide, self.narrow = separable, wide, narrow
        self.ins, self.outs = wide.in_channels, narrow.out_channels
        self.norm = next((layer for layer in layers if isinstance(layer, nn.BatchNorm2d)), None)
        self.pools = any(isinstance(layer, nn.MaxPool2d) for layer in layers)
        self.residual, self.dropout = residual, 0.0
        self.padding = int(wide.padding[0])
        self.weight = _flat_copy(narrow.weight)
        self.depth_weight = _flat_copy(wide.weight) if separable else _NONE


def _parts(model: TinyCNN) -> Iterator[_Part]:
    layers: list[nn.Module] = []
    part: _Part | None = None
    for layer in model.features:
        if isinstance(layer, nn.Dropout):
            assert part is not None
            part.dropout = layer.p
            continue
        if isinstance(layer, Residual | DenseConv2d | SeparableConv2d) and part is not None:
            yield part
            part = None
        if isinstance(layer, Residual):
            part = _Part(list(layer), residual=True)
            continue
        layers.append(layer)
        if isinstance(layer, nn.ReLU):
            part, layers = _Part(layers, residual=False), []
    assert part is not None
    yield part


def _with_padding(parts: list[_Part]) -> Iterator[tuple[_Part, int]]:
    """The blocks, each with the padding that the next one wants of what it makes."""
    return zip(parts, [*(part.padding for part in parts[1:]), 0], strict=True)


class _Block:
    """A block with the memory that it takes for so many tiles of images of one size."""

    def __init__(self, part: _Part, tiles: int, in_rows: int, out_padding: int, *, pools: bool) -> None:
        self.part, self.tiles, self.outs, self.out_padding = part, tiles, part.outs, out_padding
        x_rows = in_rows + 2 * part.padding
        self.rows = rows = x_rows - 2
        self.out_rows = rows // 2 if pools else rows
        self.shape = (part.ins, x_rows, x_rows, part.outs, rows, rows, pools)
        size = tiles * part.outs * self.out_rows**2 * LANES
        self.x = _numbers(size)
        self.out = _numbers(tiles * part.outs * (self.out_rows + 2 * out_padding) ** 2 * LANES)
        self.codes = _numbers(size if part.pools else 0)
        self.scratch = _numbers(part.outs * rows**2 * LANES if pools else 0)
        self.between = _numbers(part.ins * rows**2 * LANES if part.separable else 0)
        self.packed = _numbers(len(part.weight))
        self.scale, self.shift = np.ones(part.outs, dtype=np.float32), _numbers(part.outs)
        self.mask = self.pivot = self.moments = self.before = _NONE

    def convolve(self, before: "_Block | None", x: Numbers) -> None:
        """Activates what the block before has convolved; the first block takes x instead."""
        part = self.part
        activation = before.activation if before else (_NONE, _NONE, _NONE, _NONE, _NONE, 0, x, 0)
        self.before = activation[-2]
        kernels.convolve_block(
            *activation, part.weight, part.depth_weight, self.packed, self.between, self.scratch, self.x, self.codes,
            self.pivot, self.moments, self.tiles, self.shape,
        )  # fmt: skip

    def activate(self) -> Numbers:
        kernels.activate(*self.activation, self.tiles, self.outs, self.out_rows)
        return self.out

    @property
    def activation(self) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers, int, Numbers, int]:
        source, sources = (self.before, self.part.ins) if self.part.residual else (_NONE, 0)
        return self.x, self.scale, self.shift, self.mask, source, sources, self.out, self.out_padding


class _TrainingBlock(_Block):
    def __init__(self, part: _Part, tiles: int, in_rows: int, out_padding: int) -> None:
        super().__init__(part, tiles, in_rows, out_padding, pools=part.pools)
        _flat(part.narrow.weight), _flat(part.wide.weight)  # raises where the optimizer would not see its weights
        self._border = 2 - part.padding
        wide = (self.rows + 2 * self._border) ** 2
        self.gradient = _numbers(len(self.x))
        self._turned = _numbers(len(part.weight))
        self._g_between = _numbers(part.ins * wide * LANES if part.separable else 0)
        self._g_inside = _numbers(part.outs * (self.rows**2 if part.separable else wide) * LANES)
        self._w_sums = _numbers(len(part.weight) * LANES)
        self._depth_sums = _numbers(len(part.depth_weight) * LANES)
        self._mean, self._slope, self._offset = (_numbers(part.outs) for _ in range(3))
        self._deviation = np.ones(part.outs, dtype=np.float32)
        self._d_weight = _flat_gradient(part.narrow.weight)
        self._d_depth_weight = _flat_gradient(part.wide.weight) if part.separable else _NONE
        if part.norm is None:
            assert part.narrow.bias is not None
            self._bias = _flat(part.narrow.bias)
            self._d_scale, self._d_shift = _numbers(part.outs), _flat_gradient(part.narrow.bias)
        else:
            assert part.norm.running_mean is not None
            assert part.norm.running_var is not None
            self._norm = (
                _flat(part.norm.weight), _flat(part.norm.bias), _flat(part.norm.running_mean),
                _flat(part.norm.running_var),
            )  # fmt: skip
            self.pivot, self.moments = self._norm[2], _numbers(2 * part.outs * LANES)
            self._d_scale, self._d_shift = _flat_gradient(part.norm.weight), _flat_gradient(part.norm.bias)

    def forward(self, before: _Block | None, x: Numbers) -> None:
        self.convolve(before, x)
        part = self.part
        if part.norm is None:
            self.shift[:] = self._bias
        else:
            count = self.tiles * self.out_rows**2 * LANES
            kernels.finish_norm(self.moments, count, *self._norm, self._mean, self._deviation, self.scale, self.shift)
        if part.dropout > 0:
            kept = torch.rand(len(self.x)) >= part.dropout  # the same on all machines, which `bernoulli_` is not
            self.mask = kept.float().div_(1 - part.dropout).numpy()

    def backward(self, g_before: Numbers) -> None:
        part = self.part
        kernels.norm_gradient(
            self.gradient, self.x, self.mask, self.tiles, self.outs, self.out_rows**2, self.scale, self.shift,
            self._mean, self._deviation, self._slope, self._offset, self._d_scale, self._d_shift,
        )  # fmt: skip
        if part.norm is None:
            self._slope[:] = self._offset[:] = 0
        kernels.block_gradient(
            self.gradient, self.x, self.mask, self.codes, self.scale, self.shift, self._mean, self._slope,
            self._offset, self.before, part.weight, part.depth_weight, self._turned, self.between, g_before,
            self._g_between, self._g_inside, self._w_sums, self._depth_sums, self._d_weight, self._d_depth_weight,
            self.tiles, self.shape, self._border, part.ins if part.residual else 0,
        )  # fmt: skip


class _EvaluationBlock(_Block):
    def __init__(self, part: _Part, tiles: int, in_rows: int, out_padding: int, *, pools: bool) -> None:
        super().__init__(part, tiles, in_rows, out_padding, pools=pools)
        if part.norm is None:
            assert part.narrow.bias is not None
            self.shift = _flat(part.narrow.bias)
        else:
            mean, variance = part.norm.running_mean, part.norm.running_var
            assert mean is not None
            assert variance is not None
            # Not `torch.sqrt`, which another library computes where there is one, and rounds otherwise.
            self.scale = _flat(part.norm.weight) / np.sqrt(_flat(variance) + np.float32(kernels.EPSILON))
            self.shift = _flat(part.norm.bias) - _flat(mean) * self.scale


def _views(
    parts: list[_Part], region: Float[Tensor, "n 1 r r"], corners: list[tuple[int, int]], side: int
) -> Iterator[tuple[Numbers, slice]]:
    """The features, [image, channel], of every crop of a region, some images at a time, and which images these are.

    The convolutions at the start that neither pad nor pool are computed once for all crops.
    """
    num_shared = next(index + 1 for index, part in enumerate(parts) if part.pools or parts[index + 1].padding)
    shared, rest = parts[:num_shared], parts[num_shared:]
    last = shared[-1]
    tiles = min(_TILES_AT_ONCE, -(-len(region) // LANES))
    rows, crop_rows = region.shape[-1], side - 2 * num_shared
    before: list[_EvaluationBlock] = []
    for part in shared:
        before.append(_EvaluationBlock(part, tiles, rows, 0, pools=False))
        rows = before[-1].out_rows
    window_rows = crop_rows // 2 if last.pools else crop_rows
    padding = rest[0].padding
    seen = _numbers(tiles * last.outs * (window_rows + 2 * padding) ** 2 * LANES)
    after: list[_EvaluationBlock] = []
    at = window_rows
    for part, out_padding in _with_padding(rest):
        after.append(_EvaluationBlock(part, tiles, at, out_padding, pools=part.pools))
        at = after[-1].out_rows
    pooled = _numbers(tiles * last.outs * window_rows**2 * LANES if last.pools else 0)
    images = _numbers(tiles * region.shape[-1] ** 2 * LANES)
    features = np.zeros((tiles * LANES, rest[-1].outs), dtype=np.float32)
    for begin in range(0, len(region), tiles * LANES):
        part_of = region[begin : begin + tiles * LANES]
        count = len(part_of)
        if count < tiles * LANES:
            part_of = torch.cat([part_of, part_of.new_zeros(tiles * LANES - count, *part_of.shape[1:])])
        kernels.tile_images(part_of.numpy(), images, tiles, region.shape[-1], 0)
        previous: _EvaluationBlock | None = None
        for block in before:
            block.convolve(previous, images)
            previous = block
        split = before[-1]
        if not last.pools:
            split.activate()
        for top, left in corners:
            if last.pools:
                kernels.pool_window(split.x, rows, top, left, pooled, split.codes, tiles, last.outs, window_rows)
                kernels.activate(
                    pooled, split.scale, split.shift, _NONE, _NONE, 0, seen, padding, tiles, last.outs, window_rows
                )
            else:
                kernels.copy_window(split.out, rows, top, left, seen, tiles, last.outs, window_rows, padding)
            previous = None
            for block in after:
                block.convolve(previous, seen)
                previous = block
            x = after[-1].activate()
            kernels.average_pixels(x, features, tiles, rest[-1].outs, at**2)
            yield features[:count], slice(begin, begin + count)


def _numbers(count: int) -> Numbers:
    return np.zeros(count, dtype=np.float32)


def _flat(tensor: Tensor) -> Numbers:
    """The tensor's own memory. Raises RuntimeError where that is in another order (channels_last)."""
    assert tensor.dtype == torch.float32, tensor.dtype  # the kernels would read what is not there
    flat: Numbers = tensor.detach().view(-1).numpy()
    return flat


def _flat_copy(tensor: Tensor) -> Numbers:
    """The tensor's own memory, or a copy where that is in another order."""
    return _flat(tensor.detach().contiguous())


def _flat_gradient(parameter: Tensor) -> Numbers:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return _flat(parameter.grad)
