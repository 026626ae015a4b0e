"""Convolutions of one tile of eight images, and the gradients of their weights: where the time goes.

A convolution is dense (3x3), pointwise (1x1) or depthwise (3x3 of each channel by itself). Weights are
[input, row, column, output], so those of neighbouring outputs are neighbours. The gradient of an input is the same
convolution with its weights turned, over the output's gradient with a border of zeros.
"""

from collections.abc import Callable
from typing import Any

from ...config import LANES
from .jit import helper, large_helper
from .vectors import (
    convolve,
    correlate,
    put,
    take,
    zeros,
)

_ACROSS = 2  # positions that are computed at once
_CACHED = 48  # pixels of all channels that a cache of 32 KiB holds, and the gradient's with them
_SIDE = 3
TAPS = 9


def _for_all_outputs(make: Callable[[int], Any], most: int = 4) -> Any:
    """A kernel for any number of outputs, of those for one to `most`, three or four, at once."""
    one, two, three = make(1), make(2), make(3)
    largest = three if most == 3 else make(most)

    @helper
    def run(outs, *rest):  # type: ignore[no-untyped-def]
        first = 0
        while first < outs:
            left = outs - first
            if left >= most + 2 or left == most:  # so that a single one is seldom left over
                largest(first, *rest)
                first += most
            elif left == 3 or left == 5:
                three(first, *rest)
                first += 3
            elif left == 2 or left == 4:
                two(first, *rest)
                first += 2
            else:
                one(first, *rest)
                first += 1

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


@large_helper
def dense(x, x_at, w, out, out_at, ins, x_rows, x_columns, outs, rows, columns):  # type: ignore[no-untyped-def]
    for row in range(rows):  # for all outputs, while a row of the input is in the cache
        _run_dense(outs, row, x, x_at, w, out, out_at, ins, x_rows, x_columns, outs, rows, columns)


@large_helper
def pointwise(x, x_at, w, out, out_at, ins, outs, pixels):  # type: ignore[no-untyped-def]
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
                        sums = convolve(sums, x, x_from, w, channel * TAPS + tap * _SIDE, 1, 1, across, _SIDE)
                    place = out_at + ((channel * rows + row) * columns + column) * LANES
                    put(out, place, LANES, 0, across, 1, sums)

    return run


_depthwise_2, _depthwise_5 = _make_depthwise(2), _make_depthwise(5)


@helper
def depthwise(x, x_at, w, out, out_at, channels, x_rows, x_columns, rows, columns):  # type: ignore[no-untyped-def]
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
                kept = ((first * ins + channel) * TAPS + tap * _SIDE) * LANES
                sums = take(sums_of, kept, ins * TAPS * LANES, LANES, outs, _SIDE)
                for row in range(begin, end):
                    x_from = x_at + (channel * x_rows + row + tap) * x_columns * LANES
                    g_from = first * plane + ((row + border) * g_columns + border) * LANES
                    for column in range(columns):
                        shift = column * LANES
                        sums = correlate(sums, g, g_from + shift, plane, x, x_from + shift, LANES, outs, _SIDE)
                put(sums_of, kept, ins * TAPS * LANES, LANES, outs, _SIDE, sums)

    return run


# With three taps each, the sums of four outputs do not fit into 16 registers.
_run_dense_gradient = _for_all_outputs(_make_dense_gradient, most=3)


@large_helper
def dense_gradient(x, x_at, g, border, sums, ins, x_rows, x_columns, outs, rows, columns):  # type: ignore[no-untyped-def]
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


point_gradient = _for_all_outputs(_make_point_gradient, most=3)


@large_helper
def depth_gradient(x, x_at, g, border, sums, channels, x_rows, x_columns, rows, columns):  # type: ignore[no-untyped-def]
    g_columns = columns + 2 * border
    x_row = x_columns * LANES
    for channel in range(channels):
        kept = channel * TAPS * LANES
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


@large_helper
def pack(weight, out, outs, ins, taps):  # type: ignore[no-untyped-def]
    """From PyTorch's order [output, input, row, column] to [input, row, column, output]."""
    for o in range(outs):
        for i in range(ins):
            for tap in range(taps):
                out[(i * taps + tap) * outs + o] = weight[(o * ins + i) * taps + tap]


@large_helper
def turn(weight, out, outs, ins, taps):  # type: ignore[no-untyped-def]
    """Packs for the way back: inputs and outputs change places, and each 3x3 is turned by half a circle."""
    for o in range(outs):
        for i in range(ins):
            for tap in range(taps):
                out[(o * taps + taps - 1 - tap) * ins + i] = weight[(o * ins + i) * taps + tap]
