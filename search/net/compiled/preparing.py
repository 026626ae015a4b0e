"""Compiles everything before somebody has to wait for it."""

import contextlib
from collections.abc import Callable
from dataclasses import replace

import torch

from ...config import IMAGE_SIZE, LANES, AugmentConfig, ModelConfig
from ..crops import ALL_CROPS
from ..datasets import Pixels
from ..model import TinyCNN
from ..weights import flat_weights
from .evaluation import compiled_logits
from .images import warp
from .kept import stamp
from .training import CompiledTraining
from .weights import CompiledAdamW, average_weights


def prepare(tell: Callable[[str], None] = lambda _message: None) -> None:
    """Compiles what is not compiled yet, so that nobody has to wait for it later."""
    ready = stamp()
    if ready is None:
        tell("Every process compiles for this CPU, as no cache folder can be written to. Set XDG_CACHE_HOME to one.")
        return
    if ready.exists():
        return
    tell("Compiling for this CPU. It takes about a minute, once.")
    config = ModelConfig(
        channels=((2, 2), (2, 2), (2, 2)), blocks=("dense", "separable", "dense"), dropout=0.1, residual=True
    )
    model = TinyCNN(config)
    images, labels = torch.zeros(LANES, 1, IMAGE_SIZE, IMAGE_SIZE), torch.zeros(LANES, dtype=torch.int64)
    step = CompiledTraining(model, flat_weights(model), batch_size=LANES, image_side=IMAGE_SIZE)
    step.seed_dropout(0)
    step(images, labels)
    for channels in (config.channels, ((2, 2, 2), (2, 2), (2, 2))):  # the second begins with what all crops share
        compiled_logits(TinyCNN(replace(config, channels=channels)).eval(), images, ALL_CROPS[:1])
    pixels = Pixels(mean=0.1, std=0.3, frame=0)
    warp(images.byte(), torch.zeros(LANES, 5), AugmentConfig(rotation=1.0), pixels)
    weights = torch.zeros(LANES, requires_grad=True)
    weights.grad = torch.zeros(LANES)
    CompiledAdamW([weights]).step()
    average_weights([weights], [weights])(1.0)
    with contextlib.suppress(OSError):
        ready.touch()
