"""What the figures of a page have in common: how one is begun, what is told of its parts, and axes of errors."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .svg import WIDTH, to_svg

LEAST_ERROR = 0.01  # percent: one digit of MNIST's 10,000, for a logarithmic axis
ERROR_TICKS = (  # in percent; the coarsest that give enough of them serve
    (0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50, 90),
    (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 20, 50),
)
FEWEST_TICKS = 4
FigureName = Literal[
    "calibration", "confusion", "curves", "frontier", "history", "importance", "ladder", "network", "parallel",
    "reranking", "seeds", "sizes", "timeline",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure with its words.

    Attributes:
        label: What it shows, for those who do not see it.
        caption: How it is to be read.
        tips: By identifier in the figure, what is told when it is pointed at.
    """

    name: FigureName
    figure: Figure
    label: str
    caption: str
    tips: dict[str, str] = field(default_factory=dict)

    @property
    def svg(self) -> str:
        return to_svg(self.figure, self.name, self.label, self.tips)


class Sketch:
    """A figure in the making, of so many inches in height; to be made within `search.show.page.svg.style`."""

    def __init__(self, height: float) -> None:
        self.figure = Figure(figsize=(WIDTH, height))
        self.axes: Axes = self.figure.subplots()
        self.tips: dict[str, str] = {}

    def tell(self, artist: Artist, identifier: str, words: str) -> None:
        """What is told of a part when it is pointed at."""
        artist.set_gid(identifier)
        self.tips[identifier] = words

    def drawing(self, name: FigureName, *, label: str, caption: str) -> Drawing:
        return Drawing(name=name, figure=self.figure, label=label, caption=caption, tips=self.tips)


def error_of(accuracy: float) -> float:
    """What an accuracy leaves, both in percent, for a logarithmic axis."""
    return max(100 - accuracy, LEAST_ERROR)


def error_axis(axes: Axes, what: str, values: Iterable[float]) -> None:
    """A logarithmic y-axis of errors in percent that covers these."""
    found = list(values)
    axes.set_yscale("log")
    if found:
        axes.set_ylim(0.85 * min(found), 1.2 * max(found))
    ticks = error_ticks(*axes.get_ylim())
    axes.set_yticks(ticks, [f"{tick:g} %" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylabel(what)


def error_ticks(low: float, high: float) -> list[float]:
    """Round ones in a range of errors, in percent; one at least."""
    coarse, fine = ([tick for tick in ticks if low <= tick <= high] for ticks in ERROR_TICKS)
    found = coarse if len(coarse) >= FEWEST_TICKS else fine
    return found or [float(f"{(low * high) ** 0.5:.2g}")]  # in the middle of a logarithmic axis
