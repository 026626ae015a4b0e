"""The blocks of the network, forwards and backwards, as loops over eight images at a time.

Images lie side by side in the lanes of a vector, so every loop is over channels and pixels alone, nothing is summed
across lanes until the very end, and small layers waste nothing. (Libraries put channels or pixels there, which suits
networks a hundred times as wide: at our widths they reach a tenth to a fifth of what these loops do.)

What is marked as a kernel is called from Python; the rest is compiled into these. Every array is flat. Features are
[tile, channel, row, column, lane], a tile being eight images.
"""

import numpy as np

from ..config import LANES
from .convolutions import TAPS, dense, dense_gradient, depth_gradient, depthwise, pack, point_gradient, pointwise, turn
from .jit import helper, kernel
from .vectors import (
    add,
    fma,
    load,
    maximum,
    multiply,
    splat,
    store,
    subtract,
    total,
    where_above,
    where_equal,
    where_positive,
    zeros,
)

EPSILON = 1e-5  # of batch norm, as PyTorch has it
MOMENTUM = 0.1


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
    pack(weight, packed, outs, ins, 1 if separable else TAPS)
    moments[:] = 0
    for tile in range(tiles):
        x_at, out_at = tile * ins * x_rows * x_columns * LANES, tile * outs * out_pixels * LANES
        if len(raw):
            inner_rows, inner_columns = x_rows - 2 * padding, x_columns - 2 * padding
            _activate(raw, tile, scale, shift, mask, source, sources, x, ins, inner_rows, inner_columns, padding)
        target, target_at = (scratch, 0) if pools else (out, out_at)
        if separable:
            depthwise(x, x_at, depth_weight, between, 0, ins, x_rows, x_columns, rows, columns)
            pointwise(between, 0, packed, target, target_at, ins, outs, pixels)
        else:
            dense(x, x_at, packed, target, target_at, ins, x_rows, x_columns, outs, rows, columns)
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
    turn(weight, turned, outs, ins, 1 if separable else TAPS)
    depth_turned = np.empty_like(depth_weight)
    for index in range(len(depth_weight)):
        depth_turned[index] = depth_weight[index // TAPS * TAPS + TAPS - 1 - index % TAPS]
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
            depthwise(before, before_at, depth_weight, between, 0, ins, x_rows, x_columns, rows, columns)
            point_gradient(outs, between, 0, g_inside, w_sums, ins, pixels)
            pointwise(g_inside, 0, turned, between, 0, outs, ins, pixels)
            _widen(between, g_between, border, ins, rows, columns)
            depth_gradient(before, before_at, g_between, border, depth_sums, ins, x_rows, x_columns, rows, columns)
            depthwise(g_between, 0, depth_turned, g_before, g_before_at, ins, g_rows, g_columns, in_rows, in_columns)
        else:
            dense_gradient(before, before_at, g_inside, border, w_sums, ins, x_rows, x_columns, outs, rows, columns)
            if len(g_before):
                dense(g_inside, 0, turned, g_before, g_before_at, outs, g_rows, g_columns, ins, in_rows, in_columns)
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
