"""A network with what comes before and after it: raw pixels go in, probabilities come out."""

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .crops import Crops
from .data import normalise
from .datasets import Pixels
from .model import TinyCNN


class Classifier(nn.Module):
    """Attributes: crops: The views, of whose logits it takes the mean."""

    def __init__(self, model: TinyCNN, pixels: Pixels, crops: Crops, *, check: bool = True) -> None:
        """Args: check: Whether to refuse pixels that cannot be right; a file for other programs cannot."""
        super().__init__()
        self.model, self.pixels, self.crops, self._check = model, pixels, crops, check

    def forward(self, images: Float[Tensor, "n 1 28 28"] | UInt8[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 10"]:
        """Probabilities.

        Args:
            images: Of pixels from 0, the ground, to 255.

        Raises:
            ValueError: If the pixels are from 0 to 1, or dark on light (`normalise`).
        """
        logits: Tensor = self.model(normalise(images, self.pixels, check=self._check), self.crops)
        return logits.softmax(dim=1)
