"""A network with what comes before and after it: raw pixels go in, probabilities come out."""

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .crops import Crops
from .data import normalise
from .datasets import Pixels
from .model import TinyCNN


class Classifier(nn.Module):
    """Attributes: crops: The views, of whose logits it takes the mean."""

    def __init__(self, model: TinyCNN, pixels: Pixels, crops: Crops) -> None:
        super().__init__()
        self.model, self.pixels, self.crops = model, pixels, crops

    def forward(self, images: Float[Tensor, "n 1 28 28"] | UInt8[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 10"]:
        """Probabilities. Args: images: Of pixels from 0, the ground, to 255."""
        logits: Tensor = self.model(normalise(images, self.pixels, check=False), self.crops)
        return logits.softmax(dim=1)
