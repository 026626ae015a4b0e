"""Trains one network. A generator of epoch results: the caller reports, prunes and stops."""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ..config import LANES, TrialConfig, derive_seed
from .augment import augmented_batches
from .crops import CENTRE, Crops
from .data import Split, normalise
from .device import Runtime
from .model import TinyCNN, draw_weights, to_device
from .weights import Weights, all_weights, flat_weights

FADING = 1 / 3  # share of the epochs, the last ones, in which augmentation fades
WARM_UP = 0.2  # share of the steps in which the learning rate rises
SHORTEST_CYCLE = 10  # steps; OneCycleLR divides by zero where its warm-up has a single one
EVALUATION_BATCH = 250  # by PyTorch, 100 to 1,000 take the same time on a CPU (results/LOG.md); memory decides
COMPILED_BATCH = 1_000  # our own kernels take images by the dozen, and what goes before and after them costs


class DivergedError(ArithmeticError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """The state after an epoch.

    Attributes:
        epoch: Counted from 1.
        train_loss: The mean cross-entropy over the epoch's augmented images, as they were trained on.
        model: The averaged weights, in evaluation mode. The same object every epoch: it goes on changing.
    """

    epoch: int
    train_loss: float
    seconds: float
    model: TinyCNN


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a network does on a split: a count of errors, so that targets are compared exactly."""

    errors: int
    num_images: int
    loss: float

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * (self.num_images - self.errors) / self.num_images


def train(config: TrialConfig, split: Split, *, epochs: int, seed: int, runtime: Runtime) -> Iterator[EpochResult]:
    """Trains with AdamW, one cycle of the learning rate, and an average of the weights.

    The result is the state after the last epoch; nothing is picked along the way. On a CPU with one thread
    the same arguments give the same weights to the last bit, also when several runs take turns.

    Raises:
        ValueError: If the images do not fill a batch.
        DivergedError: After the first epoch whose loss is not finite.
    """
    if len(split) < config.batch_size:
        raise ValueError(f"Training needs one batch or more, but got {len(split)=} and {config.batch_size=}.")
    torch.manual_seed(derive_seed(seed, "weights"))
    model = TinyCNN(config.model)
    differentiate: _Differentiate
    optimizer: torch.optim.AdamW
    own_kernels = runtime.compiled and config.batch_size % LANES == 0
    if own_kernels:
        from .compiled.training import CompiledTraining  # brings numba along, which takes half a second
        from .compiled.weights import CompiledAdamW, average_weights

        torch.manual_seed(derive_seed(seed, "weights"))
        draw_weights(model)
        weights = flat_weights(model)
        side = split.pool.shape[-1] + 2 * split.pixels.frame
        differentiate = CompiledTraining(model, weights, batch_size=config.batch_size, image_side=side)
        average = WeightAverage(model, config.average_horizon, weights, average_weights)
        optimizer = CompiledAdamW(_groups(weights, config), lr=config.lr)
    else:
        model = to_device(model, runtime.device)
        differentiate = _Autograd(model, runtime)
        average = WeightAverage(model, config.average_horizon)
        optimizer = torch.optim.AdamW(_groups(all_weights(model), config), lr=config.lr, fused=True)
    generator = torch.Generator(runtime.device).manual_seed(derive_seed(seed, "batches"))
    steps = len(split) // config.batch_size
    total_steps = max(epochs * steps, SHORTEST_CYCLE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=config.lr, total_steps=total_steps, pct_start=WARM_UP
    )
    for epoch in range(1, epochs + 1):
        start = time.monotonic()
        differentiate.seed_dropout(derive_seed(seed, "dropout", epoch))  # anew: what others drew in between is moot
        total_loss = torch.zeros((), device=runtime.device)
        model.train()
        strengths = config.augment.scaled(augment_strength(epoch, epochs, config.final_augment))
        batches = augmented_batches(split, config.batch_size, strengths, generator, own_kernels=own_kernels)
        for images, labels in batches:
            total_loss += differentiate(images, labels)
            optimizer.step()
            schedule.step()
            average.update()
        train_loss = total_loss.item() / steps  # the epoch's only wait for the device
        if not math.isfinite(train_loss):
            raise DivergedError(f"The loss was {train_loss} in epoch {epoch}.")
        yield EpochResult(epoch=epoch, train_loss=train_loss, seconds=time.monotonic() - start, model=average.model)


def augment_strength(epoch: int, epochs: int, final: float) -> float:
    """The strength of an epoch's augmentation, as a fraction of the configured one.

    It falls over the last third of the epochs, while the learning rate does: the network ends on images more like
    those it is judged by (as in "Data Augmentation Revisited: Rethinking the Distribution Gap between Clean and
    Augmented Data", He et al., 2019).
    """
    num_fading = max(1, round(FADING * epochs))
    progress = max(0, epoch - (epochs - num_fading)) / num_fading
    return 1 - (1 - final) * progress


@torch.inference_mode()
def predict(model: TinyCNN, split: Split, runtime: Runtime, crops: Crops = CENTRE) -> Float[Tensor, "n 10"]:
    """The logits of a network in evaluation mode, in fp32; with several crops of an image, their mean."""
    parts = []
    for part in split.parts(COMPILED_BATCH if runtime.compiled else EVALUATION_BATCH):
        images = normalise(part.images, part.pixels, check=False)
        if runtime.compiled:
            from .compiled.evaluation import compiled_logits

            parts.append(compiled_logits(model, images, crops))
        else:
            with runtime.autocast():
                parts.append(model(images, crops).float())
    return torch.cat(parts)


def evaluate(model: TinyCNN, split: Split, runtime: Runtime, crops: Crops = CENTRE) -> Evaluation:
    """Counts the errors of a network in evaluation mode (see `predict`)."""
    return judge(predict(model, split, runtime, crops), split)


def judge(logits: Float[Tensor, "n 10"], split: Split) -> Evaluation:
    """How logits do on the images that they are of."""
    errors = (logits.argmax(dim=1) != split.labels).sum()
    loss = F.cross_entropy(logits, split.labels)
    return Evaluation(errors=int(errors), num_images=len(split), loss=float(loss))


class _Differentiate(Protocol):
    """What gives the loss of a batch, and writes the gradients."""

    def seed_dropout(self, seed: int) -> None: ...

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor | float: ...


class _Autograd:
    """The loss of a batch, and the gradients, by PyTorch."""

    def __init__(self, model: TinyCNN, runtime: Runtime) -> None:
        self._model, self._runtime = model, runtime

    def seed_dropout(self, seed: int) -> None:
        torch.manual_seed(seed)

    def __call__(self, images: Float[Tensor, "n 1 s s"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        with self._runtime.autocast():
            loss = F.cross_entropy(self._model(images), labels)
        self._model.zero_grad(set_to_none=True)
        loss.backward()
        return loss.detach()


def _lerp(averaged: list[Tensor], current: list[Tensor]) -> Callable[[float], object]:
    return partial(torch._foreach_lerp_, averaged, current)


class WeightAverage:
    """A running average of weights and batch-norm statistics whose memory grows with the run.

    After t steps it spans about the last `horizon * t` steps (polynomial-decay averaging, Shamir and Zhang,
    "Stochastic Gradient Descent for Non-smooth Optimization", 2013): so it forgets the start of a short run
    as well as that of a long one, and is worth evaluating from the first epoch on.
    """

    def __init__(
        self,
        model: TinyCNN,
        horizon: float,
        current: Weights | None = None,
        mover: Callable[[list[Tensor], list[Tensor]], Callable[[float], object]] = _lerp,
    ) -> None:
        """Args:
        current: The model's weights, where they are flat: then those of the average are, too.
        mover: Makes what moves the first by a share of the way to the second.
        """  # fmt: skip
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._horizon = horizon
        self._num_updates = 0
        averaged = all_weights(self.model) if current is None else flat_weights(self.model)
        self._move = mover(averaged.all, (current or all_weights(model)).all)

    @torch.no_grad()
    def update(self) -> None:
        weight = 1 / (1 + self._horizon * self._num_updates)  # the first update copies
        self._move(weight)
        self._num_updates += 1


def _groups(weights: Weights, config: TrialConfig) -> list[dict[str, Any]]:
    """Weight decay acts on convolution and linear weights, not on biases and norms."""
    return [
        {"params": weights.matrices, "weight_decay": config.weight_decay},
        {"params": weights.vectors, "weight_decay": 0.0},
    ]
