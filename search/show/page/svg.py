"""Figures as SVG that lie in a page: their colours follow its theme, and their text is text."""

import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from html import escape
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Colours that nothing else has: each stands for one of the page's, which is another by day than by night.
THEME = {
    "ink": "#0a0b01",
    "faint": "#0a0b02",
    "grid": "#0a0b03",
    "main": "#0a0b04",
    "good": "#0a0b05",
    "bad": "#0a0b06",
    "warm": "#0a0b07",
}
INK, FAINT, GRID, MAIN, GOOD, BAD, WARM = THEME.values()
BY_DAY = {  # in pictures, which have no theme
    "ink": "#1d2430",
    "faint": "#9aa3b0",
    "grid": "#e3e6eb",
    "main": "#2a66c8",
    "good": "#1c7c45",
    "bad": "#c0392b",
    "warm": "#c96f12",
}
WIDTH = 5.4  # inches: as wide as a phone's screen, so that text is not scaled down there
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold any sign
    "svg.hashsalt": "figure",  # the same figure is the same file
    "font.size": 9,
    "axes.titlesize": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.constrained_layout.use": True,
}


def style() -> AbstractContextManager[None]:
    """How figures look; they have to be made within it."""
    return matplotlib.rc_context(STYLE)


def to_svg(figure: Figure, name: str, label: str, tips: Mapping[str, str]) -> str:
    """The figure as an element of a page.

    Args:
        name: Of the figure: identifiers begin with it, for a page has many figures.
        label: For those who do not see it.
        tips: What is told of an element when it is pointed at, by the identifier (gid) that it has in the figure.
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with style():
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style).*?</\1>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;?", "", text)  # the page's own
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', _opening(label), text, count=1)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    for role, colour in THEME.items():
        text = text.replace(colour, f"var(--{role})")
    text = text.replace("#000000", "var(--ink)")
    for gid, words in tips.items():
        text = text.replace(
            f'<g id="{name}-{gid}">', f'<g id="{name}-{gid}" class="tip"><title>{escape(words)}</title>'
        )
    return re.sub(r"\n\s*", "\n", text)


def _opening(label: str) -> str:
    words = escape(label).replace("\\", r"\\")
    return rf'<svg viewBox="\1" role="img" aria-label="{words}">'


def to_png(figure: Figure, title: str = "") -> bytes:
    """The figure as a picture, in the colours of the day."""
    if title:
        figure.suptitle(title, fontsize="medium", wrap=True, parse_math=False)
    svg_colours = dict(zip(THEME.values(), BY_DAY.values(), strict=True))
    for artist in figure.findobj():
        for what in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            getter, setter = getattr(artist, f"get_{what}", None), getattr(artist, f"set_{what}", None)
            colour = _hex(getter()) if getter is not None and setter is not None else None
            if colour in svg_colours and setter is not None:
                setter(svg_colours[colour])
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return buffer.getvalue()


def _hex(colour: object) -> str | None:
    try:
        return matplotlib.colors.to_hex(colour)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return None
