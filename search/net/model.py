"""The network."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..config import NUM_CLASSES, NUM_UNPADDED, ModelConfig
from .crops import CENTRE, Crops, crop_side, take_regions, window


class DenseConv2d(nn.Conv2d):
    """A 3x3 convolution."""

    def __init__(self, fan_in: int, width: int, *, padding: int, bias: bool) -> None:
        super().__init__(fan_in, width, kernel_size=3, padding=padding, bias=bias)


class SeparableConv2d(nn.Sequential):
    """A 3x3 convolution of each channel by itself, then a 1x1 convolution of all of them."""

    def __init__(self, fan_in: int, width: int, *, padding: int, bias: bool) -> None:
        super().__init__(
            nn.Conv2d(fan_in, fan_in, kernel_size=3, padding=padding, groups=fan_in, bias=False),
            nn.Conv2d(fan_in, width, kernel_size=1, bias=bias),
        )


class Residual(nn.Sequential):
    """A block that is added to its input; channels that one of the two lacks count as zeros."""

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        added = features
        for layer in self:
            added = layer(added)
        extra = added.shape[1] - features.shape[1]
        return added + F.pad(features, (0, 0, 0, 0, 0, extra))  # a negative extra cuts off


class TinyCNN(nn.Module):
    """Three stages of 3x3 convolutions, global average pooling and a linear head.

    Each block is a convolution, dense or separable, batch norm and ReLU, save the first, whose convolution is dense and
    has a bias instead of the norm: at the full resolution a norm costs most, and it earned nothing that five seeds show
    (results/LOG.md). The last block of the first two stages pools before its norm, so that norm and ReLU see a quarter
    of the pixels.

    The first two convolutions of the first stage and the very last one are unpadded, for the border of an image is
    empty: without a frame, the stages work at 20, 10 and 5 pixels a side (11 and 5 after a first stage of a single
    convolution).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        num_shared = 0  # layers before the first that pads or pools
        fan_in = 1
        for stage, (widths, kind) in enumerate(zip(config.channels, config.blocks, strict=True)):
            last_stage = stage == len(config.channels) - 1
            for position, width in enumerate(widths):
                ends_stage = position == len(widths) - 1
                first = stage == position == 0
                unpadded = (stage == 0 and position < NUM_UNPADDED) or (last_stage and ends_stage)
                norm = config.norm and not first
                pools = ends_stage and not last_stage
                convolve = SeparableConv2d if kind == "separable" and not first else DenseConv2d
                block: list[nn.Module] = [convolve(fan_in, width, padding=0 if unpadded else 1, bias=not norm)]
                if pools:
                    block.append(nn.MaxPool2d(2))
                if norm:
                    block.append(nn.BatchNorm2d(width))
                block.append(nn.ReLU(inplace=True))
                if unpadded and stage == 0:
                    num_shared = len(layers) + (1 if pools else len(block))
                layers += [Residual(*block)] if config.residual and config.is_inner(stage, position) else block
                fan_in = width
            if config.dropout > 0:
                layers.append(nn.Dropout(config.dropout))
        self.features = nn.Sequential(*layers)
        self._shared, self._rest = layers[:num_shared], layers[num_shared:]
        self.head = nn.Linear(fan_in, NUM_CLASSES)

    def forward(self, images: Float[Tensor, "n 1 s s"], crops: Crops = CENTRE) -> Float[Tensor, "n 10"]:
        """Logits of normalised images (`search.net.data.normalise`): the mean over the crops, of several
        in fp32 at least.

        Several views of a test image are as old as AlexNet's ten crops (Krizhevsky et al., 2012). Here shifts undo
        what pooling every other pixel loses, and sizes are interpolated as training images are; both cost time but no
        parameter.
        """
        logits: list[Tensor] = []
        for region, corners in take_regions(images, crops):
            # What neither pads nor pools is the same for every crop: it is computed once for all of a size.
            features = _apply(self._shared, region)
            side = crop_side(images.shape[-1]) - (region.shape[-1] - features.shape[-1])
            for top, left in corners:
                seen = _apply(self._rest, window(features, top, left, side))
                logits.append(self.head(seen.mean(dim=(2, 3))))
        if len(logits) == 1:
            return logits[0]
        # bf16 has eight bits: too few for the sum of 27.
        exact = torch.promote_types(logits[0].dtype, torch.float32)
        return torch.stack(logits).mean(dim=0, dtype=exact)


def _apply(layers: list[nn.Module], images: Tensor) -> Tensor:
    for layer in layers:
        images = layer(images)
    return images


@torch.no_grad()
def draw_weights(model: TinyCNN) -> None:
    """Draws all weights and biases anew, as PyTorch does when it makes a layer: evenly, within 1 / sqrt(inputs).

    That is `nn.init.kaiming_uniform_` with a slope of sqrt(5), in two operations that every CPU rounds alike, which
    `Tensor.uniform_` is not.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = layer.weight[0].numel() ** -0.5
            for parameter in layer.parameters(recurse=False):
                parameter.copy_(torch.rand(parameter.shape).mul_(2 * bound).sub_(bound))


def num_params(model: nn.Module) -> int:
    """Every element of every parameter, trainable or not."""
    return sum(parameter.numel() for parameter in model.parameters())


def to_device(model: TinyCNN, device: torch.device) -> TinyCNN:
    """On the device and in channels_last, the layout in which small convolutions are fastest."""
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
