"""Weights: how an optimizer and an average move them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from . import descent
from .arrays import flat


class CompiledAdamW(torch.optim.AdamW):
    """AdamW for a few flat tensors."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weights in group["params"]:
                state = self.state[weights]
                if state.get("gradient") is not weights.grad:
                    moments = state["arrays"][2:] if state else [np.zeros(len(weights), np.float32) for _ in range(2)]
                    state |= {"gradient": weights.grad, "arrays": [flat(weights), flat(weights.grad), *moments]}
                state["step"] = state.get("step", 0) + 1
                descent.descend(
                    *state["arrays"], float(group["lr"]), *map(float, group["betas"]), group["eps"],
                    group["weight_decay"], state["step"],
                )  # fmt: skip


def average_weights(averaged: list[Tensor], current: list[Tensor]) -> Callable[[float], None]:
    """What moves the first by a share of the way to the second, as `torch._foreach_lerp_` does."""
    pairs = [(flat(average), flat(tensor)) for average, tensor in zip(averaged, current, strict=True)]

    def move(share: float) -> None:
        for average, tensor in pairs:
            descent.average_weights(average, tensor, share)

    return move
