"""The layers of the network, forwards and backwards, as loops over eight images at a time.

Images lie side by side in the lanes of a vector, so every loop is over channels and pixels alone, nothing is summed
across lanes until the very end, and small layers waste nothing. (Libraries put channels or pixels there, which suits
networks a hundred times as wide: at our widths they reach a tenth to a fifth of what these loops do.)

What is marked as a kernel is called from Python; the rest is compiled into these.

Every array is flat. Features are [tile, channel, row, column, lane], a tile being eight images; weights are
[input, row, column, output], so those of neighbouring outputs are neighbours. A convolution is dense (3x3), pointwise
(1x1) or depthwise (3x3 of each channel by itself). The gradient of its input is the same convolution with its weights
turned, over the output's gradient with a border of zeros.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..config import LANES
from .jit import helper, kernel
from .vectors import (
    add,
    convolve,
    correlate,
    fma,
    load,
    maximum,
    multiply,
    put,
    splat,
    store,
    subtract,
    take,
    total,
    where_above,
    where_equal,
    where_positive,
    zeros,
)

EPSILON = 1e-5  # of batch norm, as PyTorch has it
MOMENTUM = 0.1
_ACROSS = 2  # positions that are computed at once
_CACHED = 48  # pixels of all channels that a cache of 32 KiB holds, and the gradient's with them
_SIDE = 3
_TAPS = 9


def _for_all_outputs(make: Callable[[int], Any]) -> Any:
    """A kernel for any number of outputs, of those for one to four at once."""
    one, two, three, four = make(1), make(2), make(3), make(4)

    @helper
    def run(outs, *rest):  # type: ignore[no-untyped-def]
        first = 0
        while first < outs:
            left = outs - first
            if left >= 6 or left == 4:  # fours and threes make up every number but 1, 2 and 5
                four(first, *rest)
                first += 4
            elif left == 5 or left == 3:
                three(first, *rest)
                first += 3
            elif left == 2:
                two(first, *rest)
                first += 2
            else:
                one(first, *rest)
                first += 1

    return run


def _for_all_gradients(make: Callable[[int], Any]) -> Any:
    """The same of those for up to three: with three taps each, more sums than that do not fit into 16 registers."""
    one, two, three = make(1), make(2), make(3)

    @helper
    def run(outs, *rest):  # type: ignore[no-untyped-def]
        first = 0
        while first < outs:
            left = outs - first
            if left == 1:
                one(first, *rest)
                first += 1
            elif left == 2 or left == 4:
                two(first, *rest)
                first += 2
            else:
                three(first, *rest)
                first += 3

    return run


def _make_dense(outs: int, side: int) -> Any:
    num_sums = outs * _ACROSS

    @helper
    def run(first, row, x, x_at, w, out, out_at, ins, x_rows, x_columns, all_outs, rows, columns):  # type: ignore[no-untyped-def]
        plane = rows * columns * LANES
        for begin in range(0, columns, _ACROSS):
            column = min(begin, columns - _ACROSS)  # the last ones may be computed twice
            sums = zeros(num_sums)
            for channel in range(ins):
                for tap in range(side):
                    x_from = x_at + ((channel * x_rows + row + tap) * x_columns + column) * LANES
                    w_from = (channel * side + tap) * side * all_outs + first
                    sums = convolve(sums, x, x_from, w, w_from, all_outs, outs, _ACROSS, side)
            put(out, out_at + first * plane + (row * columns + column) * LANES, LANES, plane, _ACROSS, outs, sums)

    return run


_run_dense = _for_all_outputs(lambda outs: _make_dense(outs, _SIDE))
_run_pointwise = _for_all_outputs(lambda outs: _make_dense(outs, 1))


@helper
def _dense(x, x_at, w, out, out_at, ins, x_rows, x_columns, outs, rows, columns):  # type: ignore[no-untyped-def]
    for row in range(rows):  # for all outputs, while a row of the input is in the cache
        _run_dense(outs, row, x, x_at, w, out, out_at, ins, x_rows, x_columns, outs, rows, columns)


@helper
def _pointwise(x, x_at, w, out, out_at, ins, outs, pixels):  # type: ignore[no-untyped-def]
    _run_pointwise(outs, 0, x, x_at, w, out, out_at, ins, 1, pixels, outs, 1, pixels)


def _make_depthwise(across: int) -> Any:
    @helper
    def run(x, x_at, w, out, out_at, channels, x_rows, x_columns, rows, columns):  # type: ignore[no-untyped-def]
        for channel in range(channels):
            for row in range(rows):
                for begin in range(0, columns, across):
                    column = min(begin, columns - across)
                    sums = zeros(across)
                    for tap in range(_SIDE):
                        x_from = x_at + ((channel * x_rows + row + tap) * x_columns + column) * LANES
                        sums = convolve(sums, x, x_from, w, channel * _TAPS + tap * _SIDE, 1, 1, across, _SIDE)
                    place = out_at + ((channel * rows + row) * columns + column) * LANES
                    put(out, place, LANES, 0, across, 1, sums)

    return run


_depthwise_2, _depthwise_5 = _make_depthwise(2), _make_depthwise(5)


@helper
def _depthwise(x, x_at, w, out, out_at, channels, x_rows, x_columns, rows, columns):  # type: ignore[no-untyped-def]
    if columns % 5 == 0:
        _depthwise_5(x, x_at, w, out, out_at, channels, x_rows, x_columns, rows, columns)
    else:
        _depthwise_2(x, x_at, w, out, out_at, channels, x_rows, x_columns, rows, columns)


def _make_dense_gradient(outs: int) -> Any:
    @helper
    def run(first, begin, end, x, x_at, g, border, sums_of, ins, x_rows, x_columns, rows, columns):  # type: ignore[no-untyped-def]
        g_columns = columns + 2 * border
        plane = (rows + 2 * border) * g_columns * LANES
        for channel in range(ins):
            for tap in range(_SIDE):
                kept = ((first * ins + channel) * _TAPS + tap * _SIDE) * LANES
                sums = take(sums_of, kept, ins * _TAPS * LANES, LANES, outs, _SIDE)
                for row in range(begin, end):
                    x_from = x_at + (channel * x_rows + row + tap) * x_columns * LANES
                    g_from = first * plane + ((row + border) * g_columns + border) * LANES
                    for column in range(columns):
                        shift = column * LANES
                        sums = correlate(sums, g, g_from + shift, plane, x, x_from + shift, LANES, outs, _SIDE)
                put(sums_of, kept, ins * _TAPS * LANES, LANES, outs, _SIDE, sums)

    return run


_run_dense_gradient = _for_all_gradients(_make_dense_gradient)


@helper
def _dense_gradient(x, x_at, g, border, sums, ins, x_rows, x_columns, outs, rows, columns):  # type: ignore[no-untyped-def]
    """Adds to sums what one tile adds to the gradient of the weights."""
    at_once = max(1, _CACHED // columns)
    for begin in range(0, rows, at_once):
        end = min(begin + at_once, rows)
        _run_dense_gradient(outs, begin, end, x, x_at, g, border, sums, ins, x_rows, x_columns, rows, columns)


def _make_point_gradient(outs: int) -> Any:
    @helper
    def run(first, x, x_at, g, sums_of, ins, pixels):  # type: ignore[no-untyped-def]
        plane = pixels * LANES
        step = ins * LANES
        for channel in range(0, ins - 2, 3):
            kept = (first * ins + channel) * LANES
            sums = take(sums_of, kept, step, LANES, outs, 3)
            for pixel in range(pixels):
                g_from, x_from = first * plane + pixel * LANES, x_at + channel * plane + pixel * LANES
                sums = correlate(sums, g, g_from, plane, x, x_from, plane, outs, 3)
            put(sums_of, kept, step, LANES, outs, 3, sums)
        for channel in range(ins // 3 * 3, ins):
            kept = (first * ins + channel) * LANES
            sums = take(sums_of, kept, step, LANES, outs, 1)
            for pixel in range(pixels):
                g_from, x_from = first * plane + pixel * LANES, x_at + channel * plane + pixel * LANES
                sums = correlate(sums, g, g_from, plane, x, x_from, plane, outs, 1)
            put(sums_of, kept, step, LANES, outs, 1, sums)

    return run


_run_point_gradient = _for_all_gradients(_make_point_gradient)


@helper
def _depth_gradient(x, x_at, g, border, sums, channels, x_rows, x_columns, rows, columns):  # type: ignore[no-untyped-def]
    g_columns = columns + 2 * border
    x_row = x_columns * LANES
    for channel in range(channels):
        kept = channel * _TAPS * LANES
        top = take(sums, kept, 0, LANES, 1, _SIDE)
        middle = take(sums, kept + 3 * LANES, 0, LANES, 1, _SIDE)
        bottom = take(sums, kept + 6 * LANES, 0, LANES, 1, _SIDE)
        for row in range(rows):
            x_from = x_at + (channel * x_rows + row) * x_row
            g_from = ((channel * (rows + 2 * border) + row + border) * g_columns + border) * LANES
            for _ in range(columns):
                top = correlate(top, g, g_from, 0, x, x_from, LANES, 1, _SIDE)
                middle = correlate(middle, g, g_from, 0, x, x_from + x_row, LANES, 1, _SIDE)
                bottom = correlate(bottom, g, g_from, 0, x, x_from + 2 * x_row, LANES, 1, _SIDE)
                g_from += LANES
                x_from += LANES
        put(sums, kept, 0, LANES, 1, _SIDE, top)
        put(sums, kept + 3 * LANES, 0, LANES, 1, _SIDE, middle)
        put(sums, kept + 6 * LANES, 0, LANES, 1, _SIDE, bottom)


@helper
def _pool(x, x_at, plane, step, out, codes, at, channels, rows, columns):  # type: ignore[no-untyped-def]
    """The largest of every 2x2 pixels, and which that was: 0 to 3, the first of equals."""
    for channel in range(channels):
        for row in range(rows):
            for column in range(columns):
                place = x_at + channel * plane + 2 * row * step + 2 * column * LANES
                best, code = load(x, place), splat(np.float32(0))
                for number in range(1, 4):
                    other = load(x, place + (number // 2) * step + (number % 2) * LANES)
                    code = where_above(other, best, splat(np.float32(number)), code)
                    best = maximum(other, best)
                store(out, at, best)
                store(codes, at, code)
                at += LANES


@kernel
def pool_window(x, x_rows, top, left, out, codes, tiles, channels, rows):  # type: ignore[no-untyped-def]
    """Pools a square part of features without padding, to so many rows and columns."""
    step = x_rows * LANES
    for tile in range(tiles):
        x_at = tile * channels * x_rows * step + top * step + left * LANES
        _pool(x, x_at, x_rows * step, step, out, codes, tile * channels * rows * rows * LANES, channels, rows, rows)


@kernel
def copy_window(x, x_rows, top, left, out, tiles, channels, rows, padding):  # type: ignore[no-untyped-def]
    """Copies a square part of features without padding into the middle of some with it."""
    out_rows = rows + 2 * padding
    for plane in range(tiles * channels):
        for row in range(rows):
            x_at = ((plane * x_rows + row + top) * x_rows + left) * LANES
            out_at = ((plane * out_rows + row + padding) * out_rows + padding) * LANES
            for column in range(rows):
                store(out, out_at + column * LANES, load(x, x_at + column * LANES))


@helper
def _pack(weight, out, outs, ins, taps):  # type: ignore[no-untyped-def]
    """From PyTorch's order [output, input, row, column] to [input, row, column, output]."""
    for o in range(outs):
        for i in range(ins):
            for tap in range(taps):
                out[(i * taps + tap) * outs + o] = weight[(o * ins + i) * taps + tap]


@helper
def _turn(weight, out, outs, ins, taps):  # type: ignore[no-untyped-def]
    """Packs for the way back: inputs and outputs change places, and each 3x3 is turned by half a circle."""
    for o in range(outs):
        for i in range(ins):
            for tap in range(taps):
                out[(o * taps + taps - 1 - tap) * ins + i] = weight[(o * ins + i) * taps + tap]


@helper
def _activate(  # type: ignore[no-untyped-def]
    raw, tile, scale, shift, mask, source, sources, out, channels, rows, columns, padding
):
    """ReLU of scale and shift, of one tile; a residual block adds its input, and dropout multiplies with its mask."""
    out_columns = columns + 2 * padding
    out_plane = (rows + 2 * padding) * out_columns
    source_columns = columns + 2
    source_plane = (rows + 2) * source_columns
    nothing = zeros(1)
    for channel in range(channels):
        factor, extra = splat(scale[channel]), splat(shift[channel])
        at = (tile * channels + channel) * rows * columns * LANES
        for row in range(rows):
            out_at = ((tile * channels + channel) * out_plane + (row + padding) * out_columns + padding) * LANES
            source_at = ((tile * sources + channel) * source_plane + (row + 1) * source_columns + 1) * LANES
            for column in range(columns):
                value = maximum(fma(load(raw, at), factor, extra), nothing)
                if channel < sources:
                    value = add(value, load(source, source_at + column * LANES))
                if len(mask):
                    value = multiply(value, load(mask, at))
                store(out, out_at + column * LANES, value)
                at += LANES


@kernel
def activate(raw, scale, shift, mask, source, sources, out, padding, tiles, channels, rows):  # type: ignore[no-untyped-def]
    """What a block makes of its convolution.

    Args:
        raw: What was convolved and pooled.
        scale, shift: Of its norm.
        mask: Of dropout, and of the size of raw; empty without.
        source, sources: The block's input, padded by one, and how many channels of it a residual block adds.
        out: The result, with the padding that the next block wants; its zeros are there already.
    """
    for tile in range(tiles):
        _activate(raw, tile, scale, shift, mask, source, sources, out, channels, rows, rows, padding)


@kernel
def convolve_block(  # type: ignore[no-untyped-def]
    raw,
    scale,
    shift,
    mask,
    source,
    sources,
    x,
    padding,
    weight,
    depth_weight,
    packed,
    between,
    scratch,
    out,
    codes,
    pivot,
    moments,
    tiles,
    shape,
):
    """The activation of the block before, then a convolution, pooling, and what batch norm wants to know of it.

    All of it tile by tile, for a tile fits into a cache where a batch does not.

    Args:
        raw, scale, shift, mask, source, sources, x, padding: Of `activate`, in the block before; x is its out. If raw
            is empty, x is the input already.
        weight: Of the dense or pointwise convolution, as PyTorch has it.
        depth_weight: Of the depthwise one; empty in a dense block.
        packed: Room for the weights.
        between: Room for one tile of what lies between the two: [channel, row, column, lane].
        scratch: Room for one tile of what is to be pooled.
        out, codes: The results; codes say which pixel of four was the largest.
        pivot: For each channel a number near its mean; empty if nobody wants the moments.
        moments: Sum and sum of squares of what lies above the pivot: [2, channel, lane].
        shape: Inputs, rows and columns of x; outputs, rows and columns of the convolution; whether it pools.
    """  # fmt: skip
    ins, x_rows, x_columns, outs, rows, columns, pools = shape
    separable = len(depth_weight) > 0
    pixels = rows * columns
    out_pixels = (rows // 2) * (columns // 2) if pools else pixels
    _pack(weight, packed, outs, ins, 1 if separable else _TAPS)
    moments[:] = 0
    for tile in range(tiles):
        x_at, out_at = tile * ins * x_rows * x_columns * LANES, tile * outs * out_pixels * LANES
        if len(raw):
            inner_rows, inner_columns = x_rows - 2 * padding, x_columns - 2 * padding
            _activate(raw, tile, scale, shift, mask, source, sources, x, ins, inner_rows, inner_columns, padding)
        target, target_at = (scratch, 0) if pools else (out, out_at)
        if separable:
            _depthwise(x, x_at, depth_weight, between, 0, ins, x_rows, x_columns, rows, columns)
            _pointwise(between, 0, packed, target, target_at, ins, outs, pixels)
        else:
            _dense(x, x_at, packed, target, target_at, ins, x_rows, x_columns, outs, rows, columns)
        if pools:
            step = columns * LANES
            _pool(scratch, 0, rows * step, step, out, codes, out_at, outs, rows // 2, columns // 2)
        for channel in range(len(pivot)):
            centre = splat(pivot[channel])
            sums, squares = load(moments, channel * LANES), load(moments, (outs + channel) * LANES)
            for pixel in range(out_pixels):
                away = subtract(load(out, out_at + (channel * out_pixels + pixel) * LANES), centre)
                sums = add(sums, away)
                squares = fma(away, away, squares)
            store(moments, channel * LANES, sums)
            store(moments, (outs + channel) * LANES, squares)


@kernel
def finish_norm(moments, count, gamma, beta, running_mean, running_var, mean, deviation, scale, shift):  # type: ignore[no-untyped-def]
    """Batch norm's statistics: what each channel is to be multiplied with, and what is added then.

    Args:
        moments: Of `convolve_block`, whose pivot was the running mean.
        count: Of the numbers that went into it.
    """
    channels = len(gamma)
    for channel in range(channels):
        away = np.float64(total(load(moments, channel * LANES))) / count
        squares = np.float64(total(load(moments, (channels + channel) * LANES))) / count
        variance = max(squares - away * away, 0.0)
        mean[channel] = running_mean[channel] + away
        deviation[channel] = np.sqrt(variance + EPSILON)
        scale[channel] = gamma[channel] / deviation[channel]
        shift[channel] = beta[channel] - mean[channel] * scale[channel]
        running_mean[channel] += MOMENTUM * away
        running_var[channel] += MOMENTUM * (variance * count / (count - 1) - running_var[channel])


@kernel
def average_pixels(x, out, tiles, channels, pixels):  # type: ignore[no-untyped-def]
    """The mean of each channel of each image: out is [image, channel]."""
    for tile in range(tiles):
        for channel in range(channels):
            at = (tile * channels + channel) * pixels * LANES
            for lane in range(LANES):
                value = np.float32(0)
                for pixel in range(pixels):
                    value += x[at + pixel * LANES + lane]
                out[tile * LANES + lane, channel] = value / np.float32(pixels)


@kernel
def spread_pixels(g, out, tiles, channels, pixels):  # type: ignore[no-untyped-def]
    """The gradient of `average_pixels`."""
    for tile in range(tiles):
        for channel in range(channels):
            at = (tile * channels + channel) * pixels * LANES
            for pixel in range(pixels):
                for lane in range(LANES):
                    out[at + pixel * LANES + lane] = g[tile * LANES + lane, channel] / np.float32(pixels)


@helper
def _bounded(value, most):  # type: ignore[no-untyped-def]
    """Between zero and most; zero for what is no number."""
    if value > most:
        return most
    return value if value > 0 else np.float32(0)


@kernel
def warp_images(images, draws, strengths, frame, mean, deviation, out):  # type: ignore[no-untyped-def]
    """Rotates, shifts, scales and shears images by their draws, bilinearly; brings them to zero mean and unit variance.

    Args:
        images: [image, 1, row, column], bytes.
        draws: [image, 5], from -1 to 1: of rotation, both shifts, scale and shear.
        strengths: What these are multiplied with: radians, pixels, pixels, and shares.
        frame: Black pixels on every side of an image; outside, all is black.
        mean, deviation: Of pixels.
        out: [image, 1, row, column], the frame included.
    """
    side = out.shape[2]
    inner = side - 2 * frame
    slope, dark = np.float32(1) / deviation, -mean / deviation
    width = inner + 4
    padded = np.full(width * width, dark, dtype=np.float32)  # two pixels of black: what lies further out is the same
    centre = np.float32((side - 1) / 2)
    border, furthest = np.float32(frame - 2), np.float32(inner + 2)
    next_pixel, next_row = np.uint32(1), np.uint32(width)
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
        for row in range(side):
            down = np.float32(row) - centre
            x_row, y_row = x_y * down + x_shift + centre, y_y * down + y_shift + centre
            for column in range(side):
                right = np.float32(column) - centre
                x, y = x_x * right + x_row, y_x * right + y_row
                left, top = np.floor(x), np.floor(y)
                along, below = x - left, y - top
                i = np.int32(_bounded(left - border, furthest))
                j = np.int32(_bounded(top - border, furthest))
                at = np.uint32(j * width + i)
                upper = padded[at] + along * (padded[at + next_pixel] - padded[at])
                at += next_row
                lower = padded[at] + along * (padded[at + next_pixel] - padded[at])
                out[image, 0, row, column] = upper + below * (lower - upper)


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


@kernel
def tile_images(images, out, tiles, side, frame):  # type: ignore[no-untyped-def]
    """The middle of images [image, 1, row, column], which is all but a frame so wide, in tiles."""
    for tile in range(tiles):
        for row in range(side):
            for column in range(side):
                at = ((tile * side + row) * side + column) * LANES
                for lane in range(LANES):
                    out[at + lane] = images[tile * LANES + lane, 0, row + frame, column + frame]


@kernel
def norm_gradient(g, x, mask, tiles, channels, pixels, scale, shift, mean, deviation, slope, offset, d_gamma, d_beta):  # type: ignore[no-untyped-def]
    """The gradients of scale and shift, and with them how each channel's gradient passes a batch norm.

    The gradient before the norm is scale * g + slope * (x - mean) + offset, where g has passed ReLU.
    """
    count = tiles * pixels * LANES
    for channel in range(channels):
        factor, extra, centre = splat(scale[channel]), splat(shift[channel]), splat(mean[channel])
        sums, products = zeros(1), zeros(1)
        for tile in range(tiles):
            at = (tile * channels + channel) * pixels * LANES
            for pixel in range(pixels):
                step = at + pixel * LANES
                seen = load(x, step)
                passed = load(g, step)
                if len(mask):
                    passed = multiply(passed, load(mask, step))
                passed = where_positive(fma(seen, factor, extra), passed)
                sums = add(sums, passed)
                products = fma(passed, subtract(seen, centre), products)
        d_beta[channel] = total(sums)
        d_gamma[channel] = total(products) / deviation[channel]
        slope[channel] = -scale[channel] * d_gamma[channel] / deviation[channel] / count
        offset[channel] = -scale[channel] * d_beta[channel] / count


@helper
def _pass_back(  # type: ignore[no-untyped-def]
    g, x, mask, codes, at, out, border, scale, shift, mean, slope, offset, channels, rows, columns, pools
):
    """The gradient before norm and pooling, of one tile, with a border (whose zeros are there already)."""
    out_columns = columns + 2 * border
    out_plane = (rows + 2 * border) * out_columns
    nothing = zeros(1)
    one, two, three = splat(np.float32(1)), splat(np.float32(2)), splat(np.float32(3))
    below = out_columns * LANES
    for channel in range(channels):
        factor, extra, centre = splat(scale[channel]), splat(shift[channel]), splat(mean[channel])
        a, b = splat(slope[channel]), splat(offset[channel])
        for row in range(rows // 2 if pools else rows):
            out_row = 2 * row if pools else row
            out_at = (channel * out_plane + (out_row + border) * out_columns + border) * LANES
            for _ in range(columns // 2 if pools else columns):
                seen = load(x, at)
                passed = load(g, at)
                if len(mask):
                    passed = multiply(passed, load(mask, at))
                passed = where_positive(fma(seen, factor, extra), passed)
                passed = fma(passed, factor, fma(subtract(seen, centre), a, b))
                if pools:
                    code = load(codes, at)
                    store(out, out_at, where_equal(code, nothing, passed, nothing))
                    store(out, out_at + LANES, where_equal(code, one, passed, nothing))
                    store(out, out_at + below, where_equal(code, two, passed, nothing))
                    store(out, out_at + below + LANES, where_equal(code, three, passed, nothing))
                    out_at += 2 * LANES
                else:
                    store(out, out_at, passed)
                    out_at += LANES
                at += LANES


@helper
def _sum_lanes(sums, out):  # type: ignore[no-untyped-def]
    for index in range(len(out)):
        out[index] = total(load(sums, index * LANES))


@kernel
def block_gradient(  # type: ignore[no-untyped-def]
    g,
    x,
    mask,
    codes,
    scale,
    shift,
    mean,
    slope,
    offset,
    before,
    weight,
    depth_weight,
    turned,
    between,
    g_before,
    g_between,
    g_inside,
    w_sums,
    depth_sums,
    d_weight,
    d_depth_weight,
    tiles,
    shape,
    border,
    sources,
):
    """What a block owes to its weights, and to its input.

    Args:
        g: Of the block's output.
        x: What `convolve_block` has made.
        mean, slope, offset: What `finish_norm` and `norm_gradient` have made of the norm.
        before: The block's input, with its padding.
        turned: Room for the weights.
        between: Room for one tile of what lies between depthwise and pointwise.
        g_before: Of the block's input without its padding, as a result; empty for a first block, which needs none.
        g_between: One tile of the gradient between pointwise and depthwise, with a border of zeros.
        g_inside: One tile of the gradient of the convolution's output; with such a border in a dense block.
        w_sums, depth_sums: Room for eight sums for each weight.
        d_weight, d_depth_weight: Of the weights, as a result, in PyTorch's order.
        border: Two less the padding.
        sources: How many channels of its input a residual block adds.
    """  # fmt: skip
    ins, x_rows, x_columns, outs, rows, columns, pools = shape
    separable = len(depth_weight) > 0
    pixels = rows * columns
    out_pixels = (rows // 2) * (columns // 2) if pools else pixels
    g_rows, g_columns = rows + 2 * border, columns + 2 * border
    in_rows, in_columns = g_rows - 2, g_columns - 2
    w_sums[:] = 0
    depth_sums[:] = 0
    _turn(weight, turned, outs, ins, 1 if separable else _TAPS)
    depth_turned = np.empty_like(depth_weight)
    for index in range(len(depth_weight)):
        depth_turned[index] = depth_weight[index // _TAPS * _TAPS + _TAPS - 1 - index % _TAPS]
    for tile in range(tiles):
        at, before_at = tile * outs * out_pixels * LANES, tile * ins * x_rows * x_columns * LANES
        g_before_at = tile * ins * in_rows * in_columns * LANES
        inside_border = 0 if separable else border
        _pass_back(
            g,
            x,
            mask,
            codes,
            at,
            g_inside,
            inside_border,
            scale,
            shift,
            mean,
            slope,
            offset,
            outs,
            rows,
            columns,
            pools,
        )
        if separable:
            # Computing this again is faster than fetching it from where a whole batch of it fits.
            _depthwise(before, before_at, depth_weight, between, 0, ins, x_rows, x_columns, rows, columns)
            _run_point_gradient(outs, between, 0, g_inside, w_sums, ins, pixels)
            _pointwise(g_inside, 0, turned, between, 0, outs, ins, pixels)
            _widen(between, g_between, border, ins, rows, columns)
            _depth_gradient(before, before_at, g_between, border, depth_sums, ins, x_rows, x_columns, rows, columns)
            _depthwise(g_between, 0, depth_turned, g_before, g_before_at, ins, g_rows, g_columns, in_rows, in_columns)
        else:
            _dense_gradient(before, before_at, g_inside, border, w_sums, ins, x_rows, x_columns, outs, rows, columns)
            if len(g_before):
                _dense(g_inside, 0, turned, g_before, g_before_at, outs, g_rows, g_columns, ins, in_rows, in_columns)
        for index in range(min(sources, outs) * out_pixels):  # what a residual block adds is not pooled or padded
            place = g_before_at + index * LANES
            store(g_before, place, add(load(g_before, place), load(g, at + index * LANES)))
    _sum_lanes(w_sums, d_weight)
    _sum_lanes(depth_sums, d_depth_weight)


@helper
def _widen(x, out, border, channels, rows, columns):  # type: ignore[no-untyped-def]
    """Copies a tile into the middle of one with a border."""
    x_at = 0
    for channel in range(channels):
        for row in range(rows):
            at = ((channel * (rows + 2 * border) + row + border) * (columns + 2 * border) + border) * LANES
            for column in range(columns):
                store(out, at + column * LANES, load(x, x_at))
                x_at += LANES


@kernel
def head_gradient(features, weight, bias, labels, d_features, d_weight, d_bias):  # type: ignore[no-untyped-def]
    """The mean cross-entropy of a linear head, and the gradients of what it sees and of its weights.

    Args:
        features, d_features: [image, channel].
        weight, d_weight: [class, channel], flat.
    """
    images, channels = features.shape
    classes = len(bias)
    d_weight[:] = 0
    d_bias[:] = 0
    d_features[:, :] = 0
    logits = np.empty(classes, dtype=np.float32)
    loss = 0.0
    for image in range(images):
        for each in range(classes):
            value = bias[each]
            for channel in range(channels):
                value += features[image, channel] * weight[each * channels + channel]
            logits[each] = value
        largest = logits.max()
        whole = 0.0
        for each in range(classes):
            whole += np.exp(np.float64(logits[each] - largest))
        loss += np.log(whole) - (logits[labels[image]] - largest)
        for each in range(classes):
            share = np.exp(np.float64(logits[each] - largest)) / whole
            if each == labels[image]:
                share -= 1
            slope = np.float32(share / images)
            d_bias[each] += slope
            for channel in range(channels):
                d_features[image, channel] += slope * weight[each * channels + channel]
                d_weight[each * channels + channel] += slope * features[image, channel]
    return loss / images


@kernel
def add_logits(features, weight, bias, out):  # type: ignore[no-untyped-def]
    """Adds to out [image, class] what the head makes of features [image, channel]; weight: [class, channel], flat."""
    images, classes = out.shape
    channels = features.shape[1]
    for image in range(images):
        for each in range(classes):
            value = bias[each]
            for channel in range(channels):
                value += features[image, channel] * weight[each * channels + channel]
            out[image, each] += value


@kernel
def descend(weights, gradients, first, second, rate, beta_1, beta_2, epsilon, decay, step):  # type: ignore[no-untyped-def]
    """A step of AdamW (Loshchilov and Hutter, 2019), as PyTorch has it; first and second are the moments."""
    shrink = np.float32(1 - rate * decay)
    move = np.float32(rate / (1 - beta_1**step))
    correction = np.float32(np.sqrt(1 - beta_2**step))
    keep_1, keep_2 = np.float32(beta_1), np.float32(beta_2)
    take_1, take_2 = np.float32(1 - beta_1), np.float32(1 - beta_2)
    least = np.float32(epsilon)
    for index in range(len(weights)):
        gradient = gradients[index]
        first[index] = keep_1 * first[index] + take_1 * gradient
        second[index] = keep_2 * second[index] + take_2 * gradient * gradient
        weights[index] = weights[index] * shrink - move * first[index] / (np.sqrt(second[index]) / correction + least)


@kernel
def average_weights(averaged, current, share):  # type: ignore[no-untyped-def]
    """Moves the average by a share of the way; a share of one copies."""
    near, far = np.float32(share), np.float32(1 - share)
    for index in range(len(averaged)):
        way = current[index] - averaged[index]
        averaged[index] = averaged[index] + near * way if share < 0.5 else current[index] - far * way
