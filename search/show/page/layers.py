"""A network layer by layer: shapes, parameters and multiply-adds, by arithmetic."""

from dataclasses import dataclass

from ...config import KERNEL_AREA, NUM_CLASSES, NUM_UNPADDED, ModelConfig


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution and what belongs to it, or the head.

    Attributes:
        extras: What follows it, in order.
        channels, side: What it gives: so many channels of `side` times `side` pixels.
        multiply_adds: For one view of an image.
    """

    stage: int
    name: str
    extras: tuple[str, ...]
    channels: int
    side: int
    num_params: int
    multiply_adds: int


def layers_of(model: ModelConfig, side: int) -> list[Layer]:
    """All of them, in order, where the network looks at so many pixels a side."""
    found: list[Layer] = []
    fan_in = 1
    for stage, (widths, kind) in enumerate(zip(model.channels, model.blocks, strict=True)):
        last_stage = stage == len(model.channels) - 1
        for position, width in enumerate(widths):
            ends_stage = position == len(widths) - 1
            first = stage == position == 0
            unpadded = (stage == 0 and position < NUM_UNPADDED) or (last_stage and ends_stage)
            separable = kind == "separable" and not first
            norm = model.norm and not first
            pools = ends_stage and not last_stage
            side -= 2 * unpadded
            weights = KERNEL_AREA * fan_in + fan_in * width if separable else KERNEL_AREA * fan_in * width
            multiply_adds = weights * side**2
            side //= 1 + pools
            residual = model.residual and model.is_inner(stage, position)
            extras = [
                *["max-pooling"] * pools,
                *["batch norm"] * norm,
                "ReLU",
                *["input added"] * residual,
                *["dropout"] * (ends_stage and model.dropout > 0),
            ]
            found.append(
                Layer(
                    stage=stage + 1,
                    name=f"{'separable' if separable else 'dense'} 3x3{'' if unpadded else ', padded'}",
                    extras=tuple(extras),
                    channels=width,
                    side=side,
                    num_params=weights + (2 if norm else 1) * width,
                    multiply_adds=multiply_adds,
                )
            )
            fan_in = width
    head = Layer(
        stage=len(model.channels) + 1,
        name="mean over pixels, linear",
        extras=(),
        channels=NUM_CLASSES,
        side=1,
        num_params=(fan_in + 1) * NUM_CLASSES,
        multiply_adds=fan_in * NUM_CLASSES,
    )
    return [*found, head]
