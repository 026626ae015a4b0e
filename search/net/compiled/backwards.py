"""The way back, from the loss to the gradients of weights."""

import numpy as np

from ...config import LANES
from .convolutions import TAPS, dense, dense_gradient, depth_gradient, depthwise, point_gradient, pointwise, turn
from .forwards import clear, logit
from .jit import helper, kernel, large_helper
from .layout import activation_of
from .vectors import (
    add,
    fma,
    load,
    multiply,
    part,
    splat,
    store,
    subtract,
    total,
    where_equal,
    where_positive,
    zeros,
)


@kernel
def head_gradient(features, weight, bias, labels, d_features, d_weight, d_bias):  # type: ignore[no-untyped-def]
    """The mean cross-entropy of a linear head, and the gradients of what it sees and of its weights.

    Args:
        features, d_features: [image, channel].
        weight, d_weight: [class, channel], flat.
    """
    images, channels = features.shape
    classes = len(bias)
    clear(d_weight)
    clear(d_bias)
    d_features[:, :] = 0
    logits = np.empty(classes, dtype=np.float32)
    loss = 0.0
    for image in range(images):
        for each in range(classes):
            logits[each] = logit(features, image, weight, bias, each)
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
def backward(program, arrays, gradients, work, tiles, d_features):  # type: ignore[no-untyped-def]
    """The gradients of all blocks' weights, norms and biases.

    Args:
        program: What `forward` has run; see `layout`.
        d_features: The gradient of the features: [image, channel].
    """
    last = program[len(program) - 1]
    _spread(d_features, part(work, last.gradient, last.gradient_end), tiles, last.outs, last.out_rows * last.out_rows)
    for index in range(len(program) - 1, 0, -1):
        block, before = program[index], program[index - 1]
        if block.gamma_end > block.gamma:
            _differentiate_norm(block, gradients, work, tiles)
        _differentiate_block(block, before, arrays, gradients, work, tiles)


@large_helper
def _spread(g, out, tiles, channels, pixels):  # type: ignore[no-untyped-def]
    """The gradient of pixels, of whose mean it is g [image, channel]."""
    for tile in range(tiles):
        for channel in range(channels):
            at = (tile * channels + channel) * pixels * LANES
            for pixel in range(pixels):
                for lane in range(LANES):
                    out[at + pixel * LANES + lane] = g[tile * LANES + lane, channel] / np.float32(pixels)


@large_helper
def _differentiate_norm(block, gradients, work, tiles):  # type: ignore[no-untyped-def]
    """The gradients of scale and shift, and by them slope and offset, which without a norm are zero."""
    d_gamma = part(gradients.vectors, block.gamma, block.gamma_end)
    d_beta = part(gradients.vectors, block.beta, block.beta_end)
    x, scale, shift, mask, _, _, _, _ = activation_of(block, work)
    g, mean = part(work, block.gradient, block.gradient_end), part(work, block.mean, block.mean_end)
    deviation = part(work, block.deviation, block.deviation_end)
    slope, offset = part(work, block.slope, block.slope_end), part(work, block.offset, block.offset_end)
    pixels = block.out_rows * block.out_rows
    count = tiles * pixels * LANES
    for channel in range(block.outs):
        factor, extra, centre = splat(scale[channel]), splat(shift[channel]), splat(mean[channel])
        sums, products = zeros(1), zeros(1)
        for tile in range(tiles):
            at = (tile * block.outs + channel) * pixels * LANES
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


@large_helper
def _differentiate_block(block, before, arrays, gradients, work, tiles):  # type: ignore[no-untyped-def]
    """What a block owes to its weights, and to the block before, if that is not the images."""
    ins, x_rows, outs, rows, border = block.ins, block.in_rows, block.outs, block.rows, block.border
    point = part(arrays.weights, block.point, block.point_end)
    depth = part(arrays.weights, block.depth, block.depth_end)
    x, d_x = part(work, before.out, before.out_end), part(work, before.gradient, before.gradient_end)
    g = part(work, block.gradient, block.gradient_end)
    packed, inside = part(work, block.packed, block.packed_end), part(work, block.g_inside, block.g_inside_end)
    between, g_between = part(work, block.between, block.between_end), part(work, block.g_between, block.g_between_end)
    point_sums = part(work, block.point_sums, block.point_sums_end)
    depth_sums = part(work, block.depth_sums, block.depth_sums_end)
    separable = len(depth) > 0
    d_bias = part(gradients.vectors, block.beta, block.beta_end)
    has_norm = block.gamma_end > block.gamma
    bias_sums = np.zeros(0 if has_norm else outs * LANES, dtype=np.float32)
    pixels, out_pixels = rows * rows, block.out_rows * block.out_rows
    g_rows = rows + 2 * border
    in_rows = g_rows - 2
    clear(point_sums)
    clear(depth_sums)
    turn(point, packed, outs, ins, 1 if separable else TAPS)
    depth_turned = np.empty_like(depth)
    for index in range(len(depth)):
        depth_turned[index] = depth[index // TAPS * TAPS + TAPS - 1 - index % TAPS]
    for tile in range(tiles):
        at, x_at = tile * outs * out_pixels * LANES, tile * ins * x_rows * x_rows * LANES
        d_x_at = tile * ins * in_rows * in_rows * LANES
        _pass_back(block, work, at, inside, 0 if separable else border, bias_sums)
        if separable:
            # Computing this again is faster than fetching it from where a whole batch of it fits.
            depthwise(x, x_at, depth, between, 0, ins, x_rows, x_rows, rows, rows)
            point_gradient(outs, between, 0, inside, point_sums, ins, pixels)
            pointwise(inside, 0, packed, between, 0, outs, ins, pixels)
            _widen(between, g_between, border, ins, rows)
            depth_gradient(x, x_at, g_between, border, depth_sums, ins, x_rows, x_rows, rows, rows)
            depthwise(g_between, 0, depth_turned, d_x, d_x_at, ins, g_rows, g_rows, in_rows, in_rows)
        else:
            dense_gradient(x, x_at, inside, border, point_sums, ins, x_rows, x_rows, outs, rows, rows)
            if len(d_x):
                dense(inside, 0, packed, d_x, d_x_at, outs, g_rows, g_rows, ins, in_rows, in_rows)
        for index in range(min(block.sources, outs) * out_pixels):  # what was added is not pooled or padded
            place = d_x_at + index * LANES
            store(d_x, place, add(load(d_x, place), load(g, at + index * LANES)))
    _sum_lanes(point_sums, part(gradients.weights, block.point, block.point_end))
    _sum_lanes(depth_sums, part(gradients.weights, block.depth, block.depth_end))
    if not has_norm:
        _sum_lanes(bias_sums, d_bias)


@large_helper
def _pass_back(block, work, at, out, border, bias_sums):  # type: ignore[no-untyped-def]
    """The gradient before norm and pooling, of one tile, with a border (whose zeros are there already).

    Args:
        bias_sums: What a bias owes so far, a vector per channel; empty where there is a norm instead.
    """
    x, scale, shift, mask, _, _, _, _ = activation_of(block, work)
    g, codes = part(work, block.gradient, block.gradient_end), part(work, block.codes, block.codes_end)
    mean = part(work, block.mean, block.mean_end)
    slope, offset = part(work, block.slope, block.slope_end), part(work, block.offset, block.offset_end)
    out_columns = block.rows + 2 * border
    out_plane = out_columns * out_columns
    pools = block.pools != 0
    nothing = zeros(1)
    one, two, three = splat(np.float32(1)), splat(np.float32(2)), splat(np.float32(3))
    below = out_columns * LANES
    for channel in range(block.outs):
        factor, extra, centre = splat(scale[channel]), splat(shift[channel]), splat(mean[channel])
        a, b = splat(slope[channel]), splat(offset[channel])
        sums = load(bias_sums, channel * LANES) if len(bias_sums) else nothing
        for row in range(block.out_rows):
            out_row = 2 * row if pools else row
            out_at = (channel * out_plane + (out_row + border) * out_columns + border) * LANES
            for _ in range(block.out_rows):
                seen = load(x, at)
                passed = load(g, at)
                if len(mask):
                    passed = multiply(passed, load(mask, at))
                passed = where_positive(fma(seen, factor, extra), passed)
                sums = add(sums, passed)
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
        if len(bias_sums):
            store(bias_sums, channel * LANES, sums)


@large_helper
def _widen(x, out, border, channels, rows):  # type: ignore[no-untyped-def]
    """Copies a tile into the middle of one with a border."""
    x_at = 0
    for channel in range(channels):
        for row in range(rows):
            at = ((channel * (rows + 2 * border) + row + border) * (rows + 2 * border) + border) * LANES
            for column in range(rows):
                store(out, at + column * LANES, load(x, x_at))
                x_at += LANES


@helper
def _sum_lanes(sums, out):  # type: ignore[no-untyped-def]
    for index in range(len(out)):
        out[index] = total(load(sums, index * LANES))
