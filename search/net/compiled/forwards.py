"""A network's way from images to features and logits."""

import numpy as np

from ...config import LANES
from .convolutions import TAPS, dense, depthwise, pack, pointwise
from .jit import helper, kernel, large_helper
from .layout import Activation, activation_of
from .vectors import add, fma, load, maximum, multiply, part, splat, store, subtract, total, where_above, zeros

EPSILON = 1e-5  # of batch norm, as PyTorch has it
MOMENTUM = 0.1


@kernel
def forward(program, arrays, work, tiles, images, frame, features):  # type: ignore[no-untyped-def]
    """The features [image, channel] of a batch, as a network in training sees it.

    Args:
        program: See `layout`; the first record is of the images.
        frame: Of the images [image, 1, row, column], which the network does not look at.
    """
    _tile_images(images, 0, part(work, program[0].out, program[0].out_end), tiles, program[0].out_rows, frame)
    _run_blocks(program, 1, len(program), arrays, work, tiles)
    _average_output(program[len(program) - 1], work, tiles, features)


@kernel
def evaluate(program, num_shared, arrays, work, tiles, images, corners, head_weight, head_bias, features, logits):  # type: ignore[no-untyped-def]
    """Adds the logits of every crop of images.

    Args:
        program: Images, the blocks that all crops share, of which the last did not pool yet, how that pools and
            activates what a crop sees, and the other blocks.
        num_shared: Of the blocks.
        corners: Where each crop begins in the images: [crop, (top, left)].
        head_weight: [class, channel], flat.
        features: Room for [image, channel], all tiles.
        logits: [image, class].
    """
    shared, window = program[num_shared], program[num_shared + 1]
    for begin in range(0, len(images), tiles * LANES):
        _tile_images(images, begin, part(work, program[0].out, program[0].out_end), tiles, program[0].out_rows, 0)
        for corner in range(-1, len(corners)):  # -1: what all of them share
            first, end = (1, num_shared + 1) if corner < 0 else (num_shared + 2, len(program))
            if corner >= 0:
                _see_window(shared, window, work, tiles, corners[corner, 0], corners[corner, 1])
            _run_blocks(program, first, end, arrays, work, tiles)
            if corner < 0:
                if not window.pools:
                    _activate_all(activation_of(shared, work), tiles, shared.outs, shared.out_rows)
            else:
                _average_output(program[len(program) - 1], work, tiles, features)
                for image in range(min(tiles * LANES, len(images) - begin)):
                    for each in range(len(head_bias)):
                        logits[begin + image, each] += logit(features, image, head_weight, head_bias, each)


@large_helper
def _run_blocks(program, first, end, arrays, work, tiles):  # type: ignore[no-untyped-def]
    for index in range(first, end):
        block = program[index]
        _convolve(activation_of(program[index - 1], work), block, arrays, work, tiles)
        if block.moments_end > block.moments:
            _finish_norm(block, arrays, work, tiles)
        elif block.beta_end > block.beta:
            work[block.shift : block.shift_end] = part(arrays.vectors, block.beta, block.beta_end)


@large_helper
def _see_window(shared, window, work, tiles, top, left):  # type: ignore[no-untyped-def]
    """What a crop sees of the blocks that all share, activated; no block is to activate it again."""
    whole, seen = activation_of(shared, work), activation_of(window, work)
    rows = window.out_rows
    if window.pools:
        pooled = part(work, window.pooled, window.pooled_end)
        codes = part(work, window.codes, window.codes_end)
        _pool_window(whole.x, shared.rows, top, left, pooled, codes, tiles, shared.outs, rows)
        of_pooled = Activation(
            pooled, whole.scale, whole.shift, whole.mask, whole.source, 0, seen.out, window.out_padding
        )
        _activate_all(of_pooled, tiles, shared.outs, rows)
    else:
        _copy_window(whole.out, shared.rows, top, left, seen.out, tiles, shared.outs, rows, window.out_padding)


@helper
def clear(numbers):  # type: ignore[no-untyped-def]
    for index in range(len(numbers)):
        numbers[index] = 0


@helper
def logit(features, image, weight, bias, each):  # type: ignore[no-untyped-def]
    """Of an image and a class; features: [image, channel], weight: [class, channel], flat."""
    channels = features.shape[1]
    value = bias[each]
    for channel in range(channels):
        value += features[image, channel] * weight[each * channels + channel]
    return value


@large_helper
def _tile_images(images, begin, out, tiles, side, frame):  # type: ignore[no-untyped-def]
    """Images [image, 1, row, column] from the begin-th on without a frame, in tiles; zeros where none are left."""
    for tile in range(tiles):
        for row in range(side):
            for column in range(side):
                at = ((tile * side + row) * side + column) * LANES
                for lane in range(LANES):
                    image = begin + tile * LANES + lane
                    inside = image < len(images)
                    out[at + lane] = images[image, 0, row + frame, column + frame] if inside else np.float32(0)


@helper
def _pool(x, x_at, plane, step, out, codes, at, channels, rows):  # type: ignore[no-untyped-def]
    """The largest of every 2x2 pixels, and which that was: 0 to 3, the first of equals."""
    for channel in range(channels):
        for row in range(rows):
            for column in range(rows):
                place = x_at + channel * plane + 2 * row * step + 2 * column * LANES
                best, code = load(x, place), splat(np.float32(0))
                for number in range(1, 4):
                    other = load(x, place + (number // 2) * step + (number % 2) * LANES)
                    code = where_above(other, best, splat(np.float32(number)), code)
                    best = maximum(other, best)
                store(out, at, best)
                store(codes, at, code)
                at += LANES


@helper
def _pool_window(x, x_rows, top, left, out, codes, tiles, channels, rows):  # type: ignore[no-untyped-def]
    """Pools a square part of features without padding, to so many rows and columns."""
    step = x_rows * LANES
    for tile in range(tiles):
        x_at = tile * channels * x_rows * step + top * step + left * LANES
        _pool(x, x_at, x_rows * step, step, out, codes, tile * channels * rows * rows * LANES, channels, rows)


@helper
def _copy_window(x, x_rows, top, left, out, tiles, channels, rows, padding):  # type: ignore[no-untyped-def]
    """Copies a square part of features without padding into the middle of some with it."""
    out_rows = rows + 2 * padding
    for plane in range(tiles * channels):
        for row in range(rows):
            x_at = ((plane * x_rows + row + top) * x_rows + left) * LANES
            out_at = ((plane * out_rows + row + padding) * out_rows + padding) * LANES
            for column in range(rows):
                store(out, out_at + column * LANES, load(x, x_at + column * LANES))


@helper
def _activate(activation, tile, channels, rows):  # type: ignore[no-untyped-def]
    """A block's output, of one tile, which has so many rows and columns without its padding."""
    x, scale, shift, mask, source, sources, out, padding = activation
    out_columns = rows + 2 * padding
    out_plane = out_columns * out_columns
    source_columns = rows + 2  # a residual block's input is padded by one
    source_plane = source_columns * source_columns
    nothing = zeros(1)
    for channel in range(channels):
        factor, extra = splat(scale[channel]), splat(shift[channel])
        at = (tile * channels + channel) * rows * rows * LANES
        for row in range(rows):
            out_at = ((tile * channels + channel) * out_plane + (row + padding) * out_columns + padding) * LANES
            source_at = ((tile * sources + channel) * source_plane + (row + 1) * source_columns + 1) * LANES
            for column in range(rows):
                value = maximum(fma(load(x, at), factor, extra), nothing)
                if channel < sources:
                    value = add(value, load(source, source_at + column * LANES))
                if len(mask):
                    value = multiply(value, load(mask, at))
                store(out, out_at + column * LANES, value)
                at += LANES


@helper
def _activate_all(activation, tiles, channels, rows):  # type: ignore[no-untyped-def]
    for tile in range(tiles):
        _activate(activation, tile, channels, rows)


@large_helper
def _convolve(before, block, arrays, work, tiles):  # type: ignore[no-untyped-def]
    """The activation of the block before, then a convolution, pooling, and the moments of what that makes.

    All of it tile by tile, for a tile fits into a cache where a batch does not. The first block's input is there
    already: of what is before it, there is no x.
    """
    ins, x_rows, outs, rows, pools = block.ins, block.in_rows, block.outs, block.rows, block.pools != 0
    x, out, codes = before.out, part(work, block.x, block.x_end), part(work, block.codes, block.codes_end)
    point = part(arrays.weights, block.point, block.point_end)
    depth = part(arrays.weights, block.depth, block.depth_end)
    packed, unpooled = part(work, block.packed, block.packed_end), part(work, block.unpooled, block.unpooled_end)
    between, moments = part(work, block.between, block.between_end), part(work, block.moments, block.moments_end)
    pivot = part(arrays.statistics, block.running_mean, block.running_mean_end)
    separable = len(depth) > 0
    pixels = rows * rows
    out_pixels = block.out_rows * block.out_rows
    pack(point, packed, outs, ins, 1 if separable else TAPS)
    clear(moments)
    for tile in range(tiles):
        x_at, out_at = tile * ins * x_rows * x_rows * LANES, tile * outs * out_pixels * LANES
        if len(before.x):
            _activate(before, tile, ins, x_rows - 2 * before.padding)
        target, target_at = (unpooled, 0) if pools else (out, out_at)
        if separable:
            depthwise(x, x_at, depth, between, 0, ins, x_rows, x_rows, rows, rows)
            pointwise(between, 0, packed, target, target_at, ins, outs, pixels)
        else:
            dense(x, x_at, packed, target, target_at, ins, x_rows, x_rows, outs, rows, rows)
        if pools:
            step = rows * LANES
            _pool(unpooled, 0, rows * step, step, out, codes, out_at, outs, block.out_rows)
        if len(moments):
            for channel in range(outs):
                centre = splat(pivot[channel])
                sums, squares = load(moments, channel * LANES), load(moments, (outs + channel) * LANES)
                for pixel in range(out_pixels):
                    away = subtract(load(out, out_at + (channel * out_pixels + pixel) * LANES), centre)
                    sums = add(sums, away)
                    squares = fma(away, away, squares)
                store(moments, channel * LANES, sums)
                store(moments, (outs + channel) * LANES, squares)


@large_helper
def _finish_norm(block, arrays, work, tiles):  # type: ignore[no-untyped-def]
    """Batch norm's mean, deviation, scale and shift, and its running statistics.

    The moments are of what lies above the running mean.
    """
    moments = part(work, block.moments, block.moments_end)
    mean, deviation = part(work, block.mean, block.mean_end), part(work, block.deviation, block.deviation_end)
    scale, shift = part(work, block.scale, block.scale_end), part(work, block.shift, block.shift_end)
    gamma, beta = part(arrays.vectors, block.gamma, block.gamma_end), part(arrays.vectors, block.beta, block.beta_end)
    running_mean = part(arrays.statistics, block.running_mean, block.running_mean_end)
    running_var = part(arrays.statistics, block.running_var, block.running_var_end)
    count = tiles * block.out_rows * block.out_rows * LANES
    for channel in range(block.outs):
        away = np.float64(total(load(moments, channel * LANES))) / count
        squares = np.float64(total(load(moments, (block.outs + channel) * LANES))) / count
        variance = max(squares - away * away, 0.0)
        mean[channel] = running_mean[channel] + away
        deviation[channel] = np.sqrt(variance + EPSILON)
        scale[channel] = gamma[channel] / deviation[channel]
        shift[channel] = beta[channel] - mean[channel] * scale[channel]
        running_mean[channel] += MOMENTUM * away
        running_var[channel] += MOMENTUM * (variance * count / (count - 1) - running_var[channel])


@large_helper
def _average_output(block, work, tiles, features):  # type: ignore[no-untyped-def]
    """Activates the last block, and takes the mean of each channel of each image."""
    activation = activation_of(block, work)
    _activate_all(activation, tiles, block.outs, block.out_rows)
    pixels = block.out_rows * block.out_rows
    for tile in range(tiles):
        for channel in range(block.outs):
            at = (tile * block.outs + channel) * pixels * LANES
            for lane in range(LANES):
                value = np.float32(0)
                for pixel in range(pixels):
                    value += activation.out[at + pixel * LANES + lane]
                features[tile * LANES + lane, channel] = value / np.float32(pixels)
