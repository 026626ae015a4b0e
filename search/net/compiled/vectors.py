"""Eight numbers at once, one for each of eight images: what the kernels compute with.

numba compiles Python, and LLVM decides what becomes of a loop. These few operations leave it no choice: a vector is a
register, a product is added to a sum with a single rounding, and nothing is summed in another order. So every CPU gives
the same bits, whatever width its registers have.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import populate_array

from ...config import LANES

# Eight lanes are a register of AVX2, two of NEON, half of one of AVX-512.
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_INDEX = ir.IntType(32)
_FLOAT_ALIGNMENT = 4  # bytes


class Vectors(types.Type):
    """So many vectors, which are registers as long as there are enough of these."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Vectors({count})")


@register_model(Vectors)
class _VectorsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vectors) -> None:
        super().__init__(manager, kind, ir.ArrayType(_VECTOR, kind.count))  # type: ignore[no-untyped-call]


VECTOR = Vectors(1)


def _emitted(define: Callable[..., Any]) -> Any:
    return intrinsic(prefer_literal=True)(define)


# Each function below is called while a kernel is compiled. The first half of one tells numba the types, the second half
# emits the instructions. Counts are literals: they are known by then.


@_emitted
def zeros(context: Any, count: Any) -> Any:
    """So many vectors of zeros."""
    kind = Vectors(count.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return ir.Constant(ir.ArrayType(_VECTOR, kind.count), None)

    return kind(count), emit


@_emitted
def part(context: Any, array: Any, begin: Any, end: Any) -> Any:
    """A part of a flat array, as an array: what a slice gives, without a look at how long the array is."""
    kind = types.Array(array.dtype, 1, "C")

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole = context.make_array(signature.args[0])(context, builder, arguments[0])
        seen = context.make_array(kind)(context, builder)
        populate_array(  # no owner: all that is cut into parts outlives the kernel
            seen,
            data=builder.gep(whole.data, [arguments[1]]),
            shape=[builder.sub(arguments[2], arguments[1])],
            strides=[whole.itemsize],
            itemsize=whole.itemsize,
            meminfo=None,
        )
        return seen._getvalue()

    return kind(array, types.intp, types.intp), emit


@_emitted
def load(context: Any, array: Any, index: Any) -> Any:
    """The vector that begins at an index of a flat array."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = _data(context, builder, signature.args[0], arguments[0])
        return _pack(builder, [_load(builder, data, arguments[1])])

    return VECTOR(array, types.intp), emit


@_emitted
def store(context: Any, array: Any, index: Any, vector: Any) -> Any:
    """Writes a vector at an index of a flat array."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = _data(context, builder, signature.args[0], arguments[0])
        _store(builder, data, arguments[1], builder.extract_value(arguments[2], 0))
        return context.get_dummy_value()

    return types.void(array, types.intp, VECTOR), emit


@_emitted
def splat(context: Any, number: Any) -> Any:
    """A number in every lane."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _pack(builder, [_splat(builder, arguments[0])])

    return VECTOR(types.float32), emit


def _elementwise(emit_one: Callable[..., Any], count: int) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _pack(builder, [emit_one(builder, *(builder.extract_value(each, 0) for each in arguments))])

    return VECTOR(*[VECTOR] * count), emit


@_emitted
def add(context: Any, a: Any, b: Any) -> Any:
    """The sum."""
    return _elementwise(lambda builder, a, b: builder.fadd(a, b), 2)


@_emitted
def subtract(context: Any, a: Any, b: Any) -> Any:
    """The difference."""
    return _elementwise(lambda builder, a, b: builder.fsub(a, b), 2)


@_emitted
def multiply(context: Any, a: Any, b: Any) -> Any:
    """The product."""
    return _elementwise(lambda builder, a, b: builder.fmul(a, b), 2)


@_emitted
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """The third added to the product of the others, rounded once."""
    return _elementwise(lambda builder, a, b, c: _fma(builder, a, b, c), 3)


@_emitted
def maximum(context: Any, a: Any, b: Any) -> Any:
    """The larger of the two; the second where they are equal, the first where one is no number."""
    return _elementwise(lambda builder, a, b: builder.select(builder.fcmp_unordered(">", a, b), a, b), 2)


@_emitted
def where_positive(context: Any, a: Any, b: Any) -> Any:
    """The second where the first is above zero, or no number; else zero."""

    def emit_one(builder: Any, a: Any, b: Any) -> Any:
        nothing = ir.Constant(_VECTOR, None)
        return builder.select(builder.fcmp_unordered(">", a, nothing), b, nothing)

    return _elementwise(emit_one, 2)


@_emitted
def where_equal(context: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """The third where the first two are equal, else the fourth."""
    return _elementwise(lambda builder, a, b, c, d: builder.select(builder.fcmp_ordered("==", a, b), c, d), 4)


@_emitted
def where_above(context: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """The third where the first is above the second, else the fourth."""
    return _elementwise(lambda builder, a, b, c, d: builder.select(builder.fcmp_ordered(">", a, b), c, d), 4)


@_emitted
def total(context: Any, vector: Any) -> Any:
    """The sum of the lanes, in a fixed order."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.extract_value(arguments[0], 0)
        lanes = [builder.extract_element(value, _INDEX(lane)) for lane in range(LANES)]
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [builder.fadd(a, b) for a, b in zip(lanes[:half], lanes[half:], strict=True)]
        return lanes[0]

    return types.float32(VECTOR), emit


@_emitted
def convolve(
    context: Any, sums: Any, x: Any, at: Any, w: Any, w_at: Any, w_step: Any, outs: Any, across: Any, taps: Any
) -> Any:
    """Adds to sums what a row of taps makes of one channel: for `outs` outputs at `across` positions side by side.

    sums[p * outs + o] += x[at + 8 * (p + t)] * w[w_at + t * w_step + o], over all taps t
    """
    num_outs, num_across, num_taps = (each.literal_value for each in (outs, across, taps))

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        packed, x, at, w, w_at, w_step = arguments[:6]
        x_data, w_data = (_data(context, builder, signature.args[k], each) for k, each in ((1, x), (3, w)))
        seen = [_load(builder, x_data, _shift(builder, at, LANES * k)) for k in range(num_across + num_taps - 1)]
        running = _unpack(builder, packed, num_outs * num_across)
        for tap in range(num_taps):
            row = builder.add(w_at, builder.mul(w_step, ir.Constant(w_step.type, tap)))
            for out in range(num_outs):
                weight = _splat(builder, builder.load(builder.gep(w_data, [_shift(builder, row, out)])))
                for position in range(num_across):
                    index = position * num_outs + out
                    running[index] = _fma(builder, seen[position + tap], weight, running[index])
        return _pack(builder, running)

    return sums(sums, x, types.intp, w, types.intp, types.intp, outs, across, taps), emit


@_emitted
def correlate(
    context: Any, sums: Any, g: Any, g_at: Any, g_step: Any, x: Any, x_at: Any, x_step: Any, outs: Any, ins: Any
) -> Any:
    """Adds to sums the products of every one of `outs` vectors with every one of `ins`.

    sums[o * ins + i] += g[g_at + o * g_step] * x[x_at + i * x_step]
    """
    num_outs, num_ins = outs.literal_value, ins.literal_value

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        packed, g, g_at, g_step, x, x_at, x_step = arguments[:7]
        g_data, x_data = (_data(context, builder, signature.args[k], each) for k, each in ((1, g), (4, x)))
        running = _unpack(builder, packed, num_outs * num_ins)
        seen = [_load(builder, x_data, _steps(builder, x_at, x_step, k)) for k in range(num_ins)]
        for out in range(num_outs):
            gradient = _load(builder, g_data, _steps(builder, g_at, g_step, out))
            for each in range(num_ins):
                index = out * num_ins + each
                running[index] = _fma(builder, gradient, seen[each], running[index])
        return _pack(builder, running)

    return sums(sums, g, types.intp, types.intp, x, types.intp, types.intp, outs, ins), emit


@_emitted
def take(context: Any, array: Any, at: Any, row_step: Any, step: Any, rows: Any, columns: Any) -> Any:
    """Vectors from a flat array, as `put` writes them."""
    num_rows, num_columns = rows.literal_value, columns.literal_value

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, row_step, step = arguments[:4]
        data = _data(context, builder, signature.args[0], array)
        places = _places(builder, at, row_step, step, num_rows, num_columns)
        return _pack(builder, [_load(builder, data, place) for place in places])

    kind = Vectors(num_rows * num_columns)
    return kind(array, types.intp, types.intp, types.intp, rows, columns), emit


@_emitted
def put(context: Any, array: Any, at: Any, row_step: Any, step: Any, rows: Any, columns: Any, vectors: Any) -> Any:
    """Writes vectors [row * columns + column] to array[at + row * row_step + column * step]."""
    num_rows, num_columns = rows.literal_value, columns.literal_value

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, at, row_step, step, _, _, packed = arguments
        data = _data(context, builder, signature.args[0], array)
        places = _places(builder, at, row_step, step, num_rows, num_columns)
        for place, vector in zip(places, _unpack(builder, packed, num_rows * num_columns), strict=True):
            _store(builder, data, place, vector)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.intp, rows, columns, vectors), emit


def _places(builder: Any, at: Any, row_step: Any, step: Any, rows: int, columns: int) -> list[Any]:
    return [
        _steps(builder, _steps(builder, at, row_step, row), step, column)
        for row in range(rows)
        for column in range(columns)
    ]


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _steps(builder: Any, at: Any, step: Any, count: int) -> Any:
    return builder.add(at, builder.mul(step, ir.Constant(step.type, count)))


def _shift(builder: Any, at: Any, by: int) -> Any:
    return builder.add(at, ir.Constant(at.type, by))


def _load(builder: Any, data: Any, at: Any) -> Any:
    vector = builder.load(builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer()))
    vector.align = _FLOAT_ALIGNMENT
    return vector


def _store(builder: Any, data: Any, at: Any, vector: Any) -> None:
    builder.store(vector, builder.bitcast(builder.gep(data, [at]), _VECTOR.as_pointer())).align = _FLOAT_ALIGNMENT


def _splat(builder: Any, number: Any) -> Any:
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, number, _INDEX(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_INDEX, LANES), [0] * LANES))


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")
    return builder.call(function, [a, b, c])


def _pack(builder: Any, vectors: list[Any]) -> Any:
    packed = ir.Constant(ir.ArrayType(_VECTOR, len(vectors)), ir.Undefined)
    for index, vector in enumerate(vectors):
        packed = builder.insert_value(packed, vector, index)
    return packed


def _unpack(builder: Any, packed: Any, count: int) -> list[Any]:
    return [builder.extract_value(packed, index) for index in range(count)]
