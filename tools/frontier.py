"""The part of the pages that tells the frontier: from its committed record."""

from search.proof.frontier import Frontier
from search.show import frontier as words
from search.show.words import escape_markdown
from tools.earned import rivals_in_short
from tools.results import FRONTIER


def claim() -> str:
    """The claim, the plot, and what the searches have earned, as the README begins."""
    record = _record()
    paragraphs = [
        f"**{escape_markdown(words.claim(record))}**",
        "![Test accuracy against parameters: every seed a dot](results/frontier/frontier.png)",
        escape_markdown(words.earned(record)),
        rivals_in_short(),
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _record() -> Frontier:
    return Frontier.read(FRONTIER / "frontier.json")


def frontier() -> str:
    """The claim, the plot, the table, and what these rest on."""
    record = _record()
    headings, *rows = words.rows(record)
    used = [index for index, name in enumerate(headings) if any(row[index] for row in rows)]
    lines = ["| " + " | ".join(row[index] for index in used) + " |" for row in (headings, *rows)]
    paragraphs = [
        f"**{escape_markdown(words.claim(record))}**",
        "![Accuracy against parameters: every seed a dot](../results/frontier/frontier.png)",
        "\n".join([lines[0], "|" + "---|" * len(used), *lines[1:]]),
        *map(escape_markdown, words.notes(record)),
    ]
    return "\n\n".join(paragraphs) + "\n"
