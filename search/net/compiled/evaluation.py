"""Evaluation: the logits of images, by any views."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...config import LANES
from ..crops import Crops, crop_side, take_regions
from ..model import TinyCNN
from . import forwards
from .arrays import flat_copy
from .images import resize
from .layout import NONE, Arrays, Numbers, Program
from .programs import Part, Plan, parts_of, put, with_padding

_TILES_AT_ONCE = 4  # that are evaluated


@torch.inference_mode()
def compiled_logits(model: TinyCNN, images: Float[Tensor, "n 1 s s"], crops: Crops) -> Float[Tensor, "n 10"]:
    """What `TinyCNN.forward` gives in evaluation mode."""
    side = crop_side(images.shape[-1])
    logits = np.zeros((len(images), model.head.out_features), dtype=np.float32)
    for region, corners in take_regions(images, crops, resize):
        network = _Evaluation(model, len(images), region.shape[-1], side)
        network.add_logits(region.contiguous(), corners, logits)
    return torch.from_numpy(logits / np.float32(len(crops)))


class _Evaluation:
    """A network that looks at square parts of images.

    The convolutions at the start that neither pad nor pool are computed once for all that it sees of an image.
    """

    def __init__(self, model: TinyCNN, num_images: int, region_side: int, side: int) -> None:
        parts = parts_of(model)
        num_shared = next(index + 1 for index, part in enumerate(parts) if part.pools or parts[index + 1].padding)
        shared, rest = parts[:num_shared], parts[num_shared:]
        self._tiles = min(_TILES_AT_ONCE, -(-num_images // LANES))
        copies = _Copies()
        plan = Plan(self._tiles, copies)
        first = plan.input(channels=1, rows=region_side)
        before = plan.chain([(part, 0) for part in shared], first, pools=False, trains=False)
        window = _window(plan, shared[-1], crop_rows=side - 2 * num_shared, padding=rest[0].padding)
        after = plan.chain(list(with_padding(rest)), window, trains=False)
        self._program, self._num_shared = np.concatenate([before, after]), num_shared
        self._work = plan.work()
        for program, blocks in ((before, shared), (after, rest)):
            _write_norms(self._work, program, blocks)
        self._arrays = Arrays(copies.all(), NONE, NONE)
        self._head = flat_copy(model.head.weight), flat_copy(model.head.bias)
        self._features = np.zeros((self._tiles * LANES, model.head.in_features), dtype=np.float32)

    def add_logits(self, region: Float[Tensor, "n 1 r r"], corners: list[tuple[int, int]], logits: Numbers) -> None:
        """Adds what it answers by each crop of the images: [image, class]."""
        forwards.evaluate(
            self._program, self._num_shared, self._arrays, self._work, self._tiles, region.numpy(),
            np.array(corners, dtype=np.int64), *self._head, self._features, logits,
        )  # fmt: skip


class _Copies:
    """Weights, one after the other."""

    def __init__(self) -> None:
        self._copies: list[Numbers] = []

    def __call__(self, tensor: Tensor) -> tuple[int, int]:
        begin = sum(map(len, self._copies))
        self._copies.append(flat_copy(tensor))
        return begin, begin + tensor.numel()

    def all(self) -> Numbers:
        return np.concatenate(self._copies)


def _window(plan: Plan, shared: Part, *, crop_rows: int, padding: int) -> np.void:
    """The record of what a crop sees of the last block that all share."""
    window = plan.input(shared.outs, crop_rows // 2 if shared.pools else crop_rows, padding)
    window["pools"] = shared.pools
    size = plan.tiles * shared.outs * int(window["out_rows"]) ** 2 * LANES if shared.pools else 0
    for name in ("pooled", "codes"):
        put(window, name, plan.take(size))
    return window


def _write_norms(work: Numbers, program: Program, parts: list[Part]) -> None:
    for part, block in zip(parts, program[1:], strict=True):
        scale, shift = (work[block[name] : block[f"{name}_end"]] for name in ("scale", "shift"))
        if part.norm is None:
            assert part.narrow.bias is not None
            scale[:], shift[:] = 1, flat_copy(part.narrow.bias)
        else:
            mean, variance = part.norm.running_mean, part.norm.running_var
            assert mean is not None
            assert variance is not None
            # Not `torch.sqrt`, which another library computes where there is one, and rounds otherwise.
            scale[:] = flat_copy(part.norm.weight) / np.sqrt(flat_copy(variance) + np.float32(forwards.EPSILON))
            shift[:] = flat_copy(part.norm.bias) - flat_copy(mean) * scale
