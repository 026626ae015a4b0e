"""Sentences whose figures are constants of the code."""

from search.config import IMAGE_SIZE, MARGIN
from search.net.crops import ALL_CROPS, SHIFTS, SIDES


def views() -> str:
    """How a network looks at a digit."""
    side = IMAGE_SIZE - 2 * MARGIN
    *sides, last = map(str, SIDES)
    return (
        f"A network looks at {side}x{side} pixels. While it trains, and when a trial is pruned, these are the central "
        f"ones of the {IMAGE_SIZE}x{IMAGE_SIZE}. After the last epoch, and only then, it looks at each digit "
        f"{len(ALL_CROPS)} times: resized to {', '.join(sides)} and {last} pixels a side, each shifted by at most "
        f"{max(SHIFTS)} pixel along each axis. The mean of the logits decides.\n"
    )
