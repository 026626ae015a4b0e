"""Digits as pictures."""

import io

from PIL import Image

from ...config import IMAGE_SIZE

MISSES = "misses.png"  # beside a proof: the images that most networks miss
SHOWN_IMAGES = 24  # of those


def to_png(pixels: bytes) -> bytes:
    """Digits as a picture, side by side: each 28 times 28 bytes, 0 for black.

    Raises:
        ValueError: If they are no whole images.
    """
    size = IMAGE_SIZE * IMAGE_SIZE
    count, rest = divmod(len(pixels), size)
    if rest or not count:
        raise ValueError(f"An image has {size} pixels, but got {len(pixels)}.")
    strip = Image.new("L", (count * IMAGE_SIZE, IMAGE_SIZE))
    for place in range(count):
        image = Image.frombytes("L", (IMAGE_SIZE, IMAGE_SIZE), pixels[place * size : (place + 1) * size])
        strip.paste(image, (place * IMAGE_SIZE, 0))
    buffer = io.BytesIO()
    strip.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
