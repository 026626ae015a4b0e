"""What sections of a page are made of: words, figures, tables, pictures, commands, and a place to draw."""

from dataclasses import dataclass

from .sketch import Drawing


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells are words; numbers are aligned to the right.

    Attributes:
        caption: What it is of.
        marked: The row that is told apart, by its place.
        folded: Whether it is behind a line that opens it.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marked: int | None = None
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture with its words below; `source` is a data URL, and a part of it may be shown.

    Attributes:
        offset: Of a picture of tiles, the place of the one that is shown.
    """

    source: str
    alternative: str
    caption: str
    offset: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures in a row, as many as fit."""

    caption: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Lines to type."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A place to draw a digit."""


Block = Drawing | Table | Pictures | Commands | Canvas


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page."""

    id: str
    title: str
    words: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
