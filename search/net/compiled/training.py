"""Training steps: the loss of a batch, and the gradients."""

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from ...config import LANES
from ..crops import crop_side
from ..model import TinyCNN
from ..weights import Weights
from . import backwards, forwards, masks
from .arrays import flat
from .layout import NONE, Arrays, Numbers
from .programs import Plan, parts_of, with_padding


class CompiledTraining:
    """The loss of a batch, and the gradients of a network's parameters.

    It shares weights, statistics and gradients with the model, which an optimizer and an average go on working with.
    """

    def __init__(self, model: TinyCNN, weights: Weights, *, batch_size: int, image_side: int) -> None:
        """Args:
        weights: The model's, flat (`flat_weights`).
        batch_size: A multiple of eight.
        """  # fmt: skip
        if batch_size % LANES:
            raise ValueError(f"A batch has to be a multiple of {LANES} images, but got {batch_size=}.")
        self._side = crop_side(image_side)
        self._tiles = batch_size // LANES
        plan = Plan(self._tiles, lambda tensor: _place(tensor, weights))
        first = plan.input(channels=1, rows=self._side)
        parts = parts_of(model)
        self._program = plan.chain(list(with_padding(parts)), first, trains=True)
        self._work = plan.work()
        self._arrays = Arrays(*(flat(tensors[0]) if tensors else NONE for tensors in weights))
        self._gradients = Arrays(*(_flat_gradient(tensors[0]) if tensors else NONE for tensors in weights))
        self._dropout: list[tuple[np.float32, np.float32, Numbers]] = []
        self._generator = np.zeros(masks.STATE, dtype=np.uint32)
        self.seed_dropout(0)  # zeros alone would drop everything
        for part, block in zip(parts, self._program[1:], strict=True):
            for name in ("scale", "deviation"):  # of a block without norm
                self._work[block[name] : block[f"{name}_end"]] = 1
            if part.dropout > 0:
                kept = np.float32(1) / np.float32(1 - part.dropout)
                mask = self._work[block["mask"] : block["mask_end"]]
                self._dropout.append((np.float32(part.dropout), kept, mask))
        head = model.head
        self._features = np.zeros((batch_size, head.in_features), dtype=np.float32)
        self._d_features = np.zeros_like(self._features)
        self._head = flat(head.weight), flat(head.bias)
        self._d_head = _flat_gradient(head.weight), _flat_gradient(head.bias)

    def seed_dropout(self, seed: int) -> None:
        """From here on it draws what PyTorch draws after `torch.manual_seed`."""
        masks.seed_masks(self._generator, seed)

    def __call__(self, images: Float[Tensor, "n 1 s s"], labels: Int64[Tensor, " n"]) -> float:
        """Writes the gradients of the mean cross-entropy, which it gives.

        Args:
            images: Of any size from that of a crop on: the network looks at their middle.
        """
        for dropout in self._dropout:
            masks.draw_mask(self._generator, *dropout)
        frame = (images.shape[-1] - self._side) // 2
        known = self._program, self._arrays
        forwards.forward(*known, self._work, self._tiles, images.numpy(), frame, self._features)
        loss: float = backwards.head_gradient(
            self._features, *self._head, labels.numpy(), self._d_features, *self._d_head
        )
        backwards.backward(*known, self._gradients, self._work, self._tiles, self._d_features)
        return loss


def _place(tensor: Tensor, weights: Weights) -> tuple[int, int]:
    """Where in the flat tensor of its kind a tensor is. Raises ValueError if it is in none."""
    for array in weights.all:
        begin, rest = divmod(tensor.data_ptr() - array.data_ptr(), array.element_size())
        if not rest and 0 <= begin <= array.numel() - tensor.numel():
            return begin, begin + tensor.numel()
    raise ValueError("The model's tensors have to be parts of the flat ones.")


def _flat_gradient(parameter: Tensor) -> Numbers:
    assert parameter.grad is not None
    return flat(parameter.grad)
