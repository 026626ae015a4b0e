"""What a network takes pictures for, for people."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..config import IMAGE_SIZE

RAMP = " .:-=+*#%@"  # from black to white


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A picture, and what it is taken for.

    Attributes:
        complaint: Why it could not be read; then there is nothing else.
        probabilities: Of each class.
        classes: What they are called.
        pixels: What the network saw: 28 times 28 bytes.
    """

    file: str
    complaint: str | None = None
    probabilities: tuple[float, ...] = ()
    pixels: bytes = b""
    classes: tuple[str, ...] = ()

    @property
    def ranked(self) -> tuple[tuple[str, float], ...]:
        """The answers and their probabilities, the likeliest first."""
        return tuple(sorted(zip(self.classes, self.probabilities, strict=True), key=lambda answer: -answer[1]))


def to_json(predictions: Sequence[Prediction]) -> str:
    rows = [
        {"file": each.file, "error": each.complaint}
        if each.complaint is not None
        else {
            "file": each.file,
            "answer": each.ranked[0][0],
            "probabilities": {
                name: round(value, 6) for name, value in zip(each.classes, each.probabilities, strict=True)
            },
        }
        for each in predictions
    ]
    return json.dumps({"predictions": rows}, indent=2)


def prediction_table(predictions: Sequence[Prediction], *, with_pixels: bool) -> RenderableType:
    """A row for each picture, and, if that is asked for, what the network saw of it."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("Picture", "Answer", "Sure", "Else"):
        table.add_column(heading, justify="left" if heading == "Picture" else "right")
    for each in predictions:
        if each.complaint is None:
            (answer, sure), (other, second), *_ = each.ranked
            table.add_row(Text(each.file), answer, f"{sure:.1%}", f"{other} ({second:.1%})")
    parts: list[RenderableType] = [table] if table.row_count else []
    if with_pixels:
        parts += [Text(f"{each.file}:\n{draw(each.pixels)}") for each in predictions if each.complaint is None]
    return Group(*parts)


def draw(pixels: bytes) -> str:
    """An image in letters, two a pixel, for letters are about twice as high as they are wide."""
    rows = [pixels[start : start + IMAGE_SIZE] for start in range(0, len(pixels), IMAGE_SIZE)]
    return "\n".join("".join(2 * RAMP[value * (len(RAMP) - 1) // 255] for value in row).rstrip() for row in rows)
