"""How a network lies in memory, as the kernels see it.

Features are [tile, channel, row, column, lane], a tile being eight images, all of them square. All that is made on the
way lies in one flat array, the work; weights, vectors and statistics lie in others. A program says what lies where: a
record for each block (`BLOCK`), in which `x` is where x begins, and `x_end` where it ends.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .jit import helper
from .vectors import part

Numbers = NDArray[np.float32]
Program = NDArray[np.void]
NONE: Numbers = np.zeros(0, dtype=np.float32)

SIZES = ("ins", "in_rows", "outs", "rows", "out_rows", "pools", "border", "sources", "out_padding")
"""
ins, in_rows: Channels and rows of the input, padding included.
outs, rows: Of the convolution; out_rows: of what is left of it by pooling, which pools says.
border: Of zeros, which the way back wants around the gradient of the convolution: two less the padding.
sources: How many channels of its input a residual block adds.
out_padding: What the next block wants around the output; its zeros are there from the start.
"""
IN_WORK = (
    "x", "codes", "pooled", "moments", "mask", "source", "out", "mean", "deviation", "scale", "shift", "slope",
    "offset", "gradient", "packed", "unpooled", "between", "g_between", "g_inside", "point_sums", "depth_sums",
)  # fmt: skip
"""
x: What was convolved and pooled; codes: which of four pixels was the largest; pooled: room for what a crop sees.
moments: Sum and sum of squares of what of x lies above a number near its mean: [2, channel, lane].
mask: Dropout's factors, of the size of x; empty without dropout.
source: The block's input; out: its output.
mean, deviation: Of x; scale, shift: what each channel is multiplied with, and what is added then.
slope, offset: The gradient before the norm is scale * g + slope * (x - mean) + offset, where g has passed ReLU.
gradient: Of the output.
packed: Room for weights in another order; unpooled: for one tile of what is to be pooled.
between: Room for one tile of what lies between depthwise and pointwise; g_between: for its gradient, with the border.
g_inside: Room for one tile of the gradient of the convolution, with the border in a dense block.
point_sums, depth_sums: Room for eight sums for each weight.
"""
IN_WEIGHTS = ("point", "depth")  # of the dense or pointwise convolution, and of the depthwise one
IN_VECTORS = ("gamma", "beta")  # of the norm; without one, beta is the convolution's bias
IN_STATISTICS = ("running_mean", "running_var")
PLACES = (*IN_WORK, *IN_WEIGHTS, *IN_VECTORS, *IN_STATISTICS)
BLOCK = np.dtype([(name, np.int64) for name in (*SIZES, *PLACES, *(f"{each}_end" for each in PLACES))])


class Arrays(NamedTuple):
    """What a program's numbers are places in: weights, norms and biases, running statistics; or gradients of these."""

    weights: Numbers
    vectors: Numbers
    statistics: Numbers


class Activation(NamedTuple):
    """How a block makes its output: ReLU of scale and shift, plus a residual block's input, times dropout's mask."""

    x: Any
    scale: Any
    shift: Any
    mask: Any
    source: Any
    sources: Any
    out: Any
    padding: Any


@helper
def activation_of(block, work):  # type: ignore[no-untyped-def]
    return Activation(
        part(work, block.x, block.x_end),
        part(work, block.scale, block.scale_end),
        part(work, block.shift, block.shift_end),
        part(work, block.mask, block.mask_end),
        part(work, block.source, block.source_end),
        block.sources,
        part(work, block.out, block.out_end),
        block.out_padding,
    )
