"""Weights: how an optimizer and an average move them."""

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
                if not state:
                    state |= {"step": 0, "first": torch.zeros_like(weights), "second": torch.zeros_like(weights)}
                state["step"] += 1
                descent.descend(
                    flat(weights), flat(weights.grad), flat(state["first"]), flat(state["second"]),
                    float(group["lr"]), *map(float, group["betas"]), group["eps"], group["weight_decay"], state["step"],
                )  # fmt: skip


def average_weights(averaged: list[Tensor], current: list[Tensor], share: float) -> None:
    """What `torch._foreach_lerp_` does."""
    for average, tensor in zip(averaged, current, strict=True):
        descent.average_weights(flat(average), flat(tensor), share)
