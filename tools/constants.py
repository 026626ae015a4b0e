"""Sentences whose figures are constants of the code."""

from search.config import IMAGE_SIZE
from search.net.crops import ALL_CROPS, LARGER, SHIFTS, crop_side


def views() -> str:
    """How a network looks at an image."""
    side = crop_side(IMAGE_SIZE)
    *sides, last = (str(IMAGE_SIZE + larger) for larger in LARGER)
    return (
        f"A network looks at {side}x{side} pixels. While it trains, and when a trial is pruned, these are the central "
        f"ones of the {IMAGE_SIZE}x{IMAGE_SIZE}. After the last epoch, and only then, it looks at each image "
        f"{len(ALL_CROPS)} times: resized to {', '.join(sides)} and {last} pixels a side, each shifted by at most "
        f"{max(SHIFTS)} pixel along each axis. The mean of the logits decides.\n"
    )
