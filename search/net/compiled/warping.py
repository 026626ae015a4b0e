"""Kernels for images before a network sees them: distorted, or resized."""

import numpy as np

from .jit import helper, kernel


@helper
def _bounded(value, most):  # type: ignore[no-untyped-def]
    """Between zero and most; zero for what is no number."""
    if value > most:
        return most
    return value if value > 0 else np.float32(0)


@kernel
def warp_images(images, draws, strengths, frame, margin, mean, deviation, out):  # type: ignore[no-untyped-def]
    """Rotates, shifts, scales and shears images by their draws, bilinearly; brings them to zero mean and unit variance.

    Args:
        images: [image, 1, row, column], bytes.
        draws: [image, 5], from -1 to 1: of rotation, both shifts, scale and shear.
        strengths: What these are multiplied with: radians, pixels, pixels, and shares.
        frame: Black pixels on every side of an image; outside, all is black.
        margin: Pixels on every side of that which are left out.
        mean, deviation: Of pixels.
        out: [image, 1, row, column], without the margin.
    """
    side = out.shape[2] + 2 * margin
    inner = side - 2 * frame
    slope, dark = np.float32(1) / deviation, -mean / deviation
    width = inner + 4
    padded = np.full(width * width, dark, dtype=np.float32)  # two pixels of black: what lies further out is the same
    centre = np.float32((side - 1) / 2)
    border, furthest = np.float32(frame - 2), np.float32(inner + 2)
    next_pixel, next_row = np.uint32(1), np.uint32(width)
    # A row in two loops: eight pixels at once can be told where they come from, and fetched one by one alone.
    columns = out.shape[3]
    at, along, below = np.empty(columns, np.int32), np.empty(columns, np.float32), np.empty(columns, np.float32)
    for image in range(len(images)):
        for row in range(inner):
            for column in range(inner):
                padded[(row + 2) * width + column + 2] = np.float32(images[image, 0, row, column]) * slope + dark
        # In double precision, for sines of single precision differ between machines. The map says where a pixel of the
        # result comes from: hence the division by the size.
        angle, size = strengths[0] * draws[image, 0], 1 + strengths[3] * draws[image, 3]
        cos, sin, slant = np.cos(angle) / size, np.sin(angle) / size, strengths[4] * draws[image, 4]
        x_x, x_y, x_shift = np.float32(cos), np.float32(cos * slant - sin), np.float32(strengths[1] * draws[image, 1])
        y_x, y_y, y_shift = np.float32(sin), np.float32(sin * slant + cos), np.float32(strengths[2] * draws[image, 2])
        for row in range(margin, side - margin):
            down = np.float32(row) - centre
            x_row, y_row = x_y * down + x_shift + centre, y_y * down + y_shift + centre
            for column in range(columns):
                right = np.float32(np.int32(column + margin)) - centre
                x, y = x_x * right + x_row, y_x * right + y_row
                left, top = np.floor(x), np.floor(y)
                along[column], below[column] = x - left, y - top
                i = np.int32(_bounded(left - border, furthest))
                j = np.int32(_bounded(top - border, furthest))
                at[column] = j * np.int32(width) + i
            for column in range(columns):
                place = np.uint32(at[column])
                upper = padded[place] + along[column] * (padded[place + next_pixel] - padded[place])
                place += next_row
                lower = padded[place] + along[column] * (padded[place + next_pixel] - padded[place])
                out[image, 0, row - margin, column] = upper + below[column] * (lower - upper)


@kernel
def resize_images(images, out):  # type: ignore[no-untyped-def]
    """Bilinear, as `F.interpolate` has it, for square images [image, 1, row, column]."""
    side, new_side = images.shape[2], out.shape[2]
    ratio = side / new_side
    for image in range(len(images)):
        for row in range(new_side):
            y = max((row + 0.5) * ratio - 0.5, 0.0)
            top = int(y)
            under, below = min(top + 1, side - 1), np.float32(y - top)
            for column in range(new_side):
                x = max((column + 0.5) * ratio - 0.5, 0.0)
                left = int(x)
                beside, along = min(left + 1, side - 1), np.float32(x - left)
                upper = images[image, 0, top, left]
                upper += along * (images[image, 0, top, beside] - upper)
                lower = images[image, 0, under, left]
                lower += along * (images[image, 0, under, beside] - lower)
                out[image, 0, row, column] = upper + below * (lower - upper)
