"""Tiles of SIMD registers as a Numba type: with them, a short Python loop runs at the speed of a hand-written kernel.

Numba keeps array elements in memory: every `acc[i] += a * b` is a load and a store. A `Tile` is a value, rows x columns
vectors of LANES float32 each, which LLVM keeps in registers while a loop runs. Kernels see a small matrix with
`columns * LANES` floats in each row. They state its size as a `shape`: a tuple of `rows` tuples of `columns` Nones. The
length of a tuple is part of its type, so each shape is compiled separately; None costs the least to pass.

The rows of a tile may lie anywhere in memory: row r starts at `array[bases[r] + offset]` of a flat array. `count` is
the number of floats in each row that exist there: the others read as zero and are not written. None stands for all.
"""

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from .lanes import MAX_ACCUMULATORS, WIDTH

FLOAT, INT, BYTE = ir.FloatType(), ir.IntType(32), ir.IntType(8)
VECTOR, DOUBLES = ir.VectorType(FLOAT, WIDTH), ir.VectorType(ir.DoubleType(), WIDTH)


class Tile(types.Type):
    """The Numba type of rows x columns vectors."""

    def __init__(self, rows: int, columns: int):
        self.rows, self.columns = rows, columns
        super().__init__(f"Tile({rows}x{columns}x{WIDTH})")


@register_model(Tile)
class TileModel(models.PrimitiveModel):
    """For LLVM, a tile is an array of vectors, row after row."""

    def __init__(self, manager, tile):
        super().__init__(manager, tile, ir.ArrayType(VECTOR, tile.rows * tile.columns))


# ---- Parts of the intrinsics: each emits a few LLVM instructions ----


def splat(builder, scalar):
    """One scalar in every lane."""
    empty = ir.Constant(ir.VectorType(scalar.type, WIDTH), ir.Undefined)
    vector = builder.insert_element(empty, scalar, INT(0))
    return builder.shuffle_vector(vector, empty, ir.Constant(ir.VectorType(INT, WIDTH), [0] * WIDTH))


def unpack(builder, tile):
    """The vectors of a tile, row after row."""
    return [builder.extract_value(tile, i) for i in range(tile.type.count)]


def pack(builder, vectors):
    """The tile that consists of these vectors."""
    tile = ir.Constant(ir.ArrayType(VECTOR, len(vectors)), ir.Undefined)
    for i, vector in enumerate(vectors):
        tile = builder.insert_value(tile, vector, i)
    return tile


def call(builder, name, result, *arguments):
    """Call an LLVM intrinsic."""
    signature = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)


def multiply_add(builder, a, b, c):
    """a * b + c, rounded once."""
    return call(builder, f"llvm.fma.v{WIDTH}f32", VECTOR, a, b, c)


def mask_of(builder, count, column):
    """A mask of the lanes in vector `column` of a row that belong to the row's first `count` floats."""
    lanes = ir.Constant(ir.VectorType(INT, WIDTH), [column * WIDTH + lane for lane in range(WIDTH)])
    return builder.icmp_signed("<", lanes, splat(builder, builder.trunc(count, INT)))


def keep_rolled(builder, tile):
    """Keep the loop around from being unrolled where the tile is large: two copies of it would not fit the registers.

    LLVM unrolls no loop that contains assembly, even if it is empty.
    """
    if tile.rows * tile.columns > MAX_ACCUMULATORS // 2:
        builder.asm(ir.FunctionType(ir.VoidType(), []), "", "", [], side_effect=True)


def element_of(address):
    """(LLVM type, bytes, name in LLVM intrinsics) of the array's elements, float32 or uint8; raises TypeError."""
    elements = {FLOAT: (4, "f32"), BYTE: (1, "i8")}
    if address.type.pointee not in elements:
        raise TypeError(
            f"tiles are loaded from and stored to arrays of float32 or uint8, not of {address.type.pointee}"
        )
    return address.type.pointee, *elements[address.type.pointee]


def load_vector(builder, address, count, column):
    """The vector at this address; lanes beyond `count` are zero."""
    element, size, name = element_of(address)
    vector_type = ir.VectorType(element, WIDTH)
    address = builder.bitcast(address, vector_type.as_pointer())
    if count is None:
        vector = builder.load(address, align=size)
    else:
        operands = address, INT(size), mask_of(builder, count, column), ir.Constant(vector_type, None)
        vector = call(builder, f"llvm.masked.load.v{WIDTH}{name}.p0", vector_type, *operands)
    return vector if element == FLOAT else builder.uitofp(vector, VECTOR)


def store_vector(builder, vector, address, count, column):
    """Write the vector to this address; lanes beyond `count` are not written."""
    element, size, name = element_of(address)
    if element != FLOAT:
        vector = builder.fptoui(vector, ir.VectorType(element, WIDTH))
    address = builder.bitcast(address, vector.type.as_pointer())
    if count is None:
        return builder.store(vector, address, align=size)
    operands = vector, address, INT(size), mask_of(builder, count, column)
    return call(builder, f"llvm.masked.store.v{WIDTH}{name}.p0", ir.VoidType(), *operands)


class Memory:
    """Addresses in a flat array: of one float, or of the vectors of a tile's rows."""

    def __init__(self, context, builder, array_type, array):
        self.builder = builder
        self.data = context.make_array(array_type)(context, builder, array).data

    def at(self, *terms):
        """The address of array[sum of terms]."""
        index = terms[0]
        for term in terms[1:]:
            index = self.builder.add(index, term)
        return self.builder.gep(self.data, [index], inbounds=True)

    def tile(self, tile_type, bases, offset):
        """(address, column) of each vector of a tile."""
        for base in cgutils.unpack_tuple(self.builder, bases, tile_type.rows):
            for column in range(tile_type.columns):
                yield self.at(base, offset, base.type(column * WIDTH)), column


def shape_of(shape):
    """The tile type for a tuple of tuples."""
    return Tile(len(shape), len(shape[0]))


def optional(count_type, count):
    """`count` as a value, or None."""
    return None if isinstance(count_type, (types.NoneType, types.Omitted)) else count


# ---- Functions that kernels call ----


@intrinsic
def full(typing_context, shape, value):
    """A tile with the float `value` everywhere."""
    tile = shape_of(shape)

    def emit(context, builder, signature, arguments):
        scalar = context.cast(builder, arguments[1], signature.args[1], types.float32)
        return pack(builder, [splat(builder, scalar)] * (tile.rows * tile.columns))

    return tile(shape, value), emit


@intrinsic
def load(typing_context, shape, array, bases, offset, count):
    """The tile in memory."""
    tile = shape_of(shape)

    def emit(context, builder, signature, arguments):
        _, array_value, bases_value, offset_value, count_value = arguments
        floats = optional(count, count_value)
        addresses = Memory(context, builder, array, array_value).tile(tile, bases_value, offset_value)
        return pack(builder, [load_vector(builder, address, floats, column) for address, column in addresses])

    return tile(shape, array, bases, types.intp, count), emit


@intrinsic
def store(typing_context, array, bases, offset, count, tile):
    """Write a tile to memory: as float32, or as bytes to an array of uint8."""

    def emit(context, builder, signature, arguments):
        array_value, bases_value, offset_value, count_value, tile_value = arguments
        floats = optional(count, count_value)
        addresses = Memory(context, builder, array, array_value).tile(tile, bases_value, offset_value)
        for (address, column), vector in zip(addresses, unpack(builder, tile_value), strict=True):
            store_vector(builder, vector, address, floats, column)
        return context.get_dummy_value()

    return types.void(array, bases, types.intp, count, tile), emit


@intrinsic
def accumulate(typing_context, array, bases, offset, count, tile):
    """Add a tile to memory, row after row, so that rows may overlap."""

    def emit(context, builder, signature, arguments):
        array_value, bases_value, offset_value, count_value, tile_value = arguments
        floats = optional(count, count_value)
        addresses = Memory(context, builder, array, array_value).tile(tile, bases_value, offset_value)
        for (address, column), vector in zip(addresses, unpack(builder, tile_value), strict=True):
            total = builder.fadd(load_vector(builder, address, floats, column), vector)
            store_vector(builder, total, address, floats, column)
        return context.get_dummy_value()

    return types.void(array, bases, types.intp, count, tile), emit


@intrinsic
def accumulate_row(typing_context, array, offset, row):
    """Add a tile of one row to a flat array of float64."""

    def emit(context, builder, signature, arguments):
        array_value, offset_value, row_value = arguments
        memory = Memory(context, builder, array, array_value)
        for column, vector in enumerate(unpack(builder, row_value)):
            address = memory.at(offset_value, offset_value.type(column * WIDTH))
            address = builder.bitcast(address, DOUBLES.as_pointer())
            total = builder.fadd(builder.load(address, align=8), builder.fpext(vector, DOUBLES))
            builder.store(total, address, align=8)
        return context.get_dummy_value()

    return types.void(array, types.intp, row), emit


@intrinsic
def add_outer(typing_context, tile, array, bases, offset, row):
    """The tile plus an outer product: tile[r, :] + array[bases[r] + offset] * row[0, :] for every r."""

    def emit(context, builder, signature, arguments):
        tile_value, array_value, bases_value, offset_value, row_value = arguments
        keep_rolled(builder, tile)
        memory, vectors, result = Memory(context, builder, array, array_value), unpack(builder, row_value), []
        sums = iter(unpack(builder, tile_value))
        for base in cgutils.unpack_tuple(builder, bases_value, tile.rows):
            scalar = splat(builder, builder.load(memory.at(base, offset_value)))
            result += [multiply_add(builder, scalar, vector, next(sums)) for vector in vectors]
        return pack(builder, result)

    return tile(tile, array, bases, types.intp, row), emit


@intrinsic
def add_scaled(typing_context, tile, scalar, array, bases, offset, count):
    """`tile` + scalar * (the tile in memory)."""

    def emit(context, builder, signature, arguments):
        tile_value, scalar_value, array_value, bases_value, offset_value, count_value = arguments
        floats, factor = optional(count, count_value), splat(builder, scalar_value)
        addresses = Memory(context, builder, array, array_value).tile(tile, bases_value, offset_value)
        result = [
            multiply_add(builder, factor, load_vector(builder, address, floats, column), total)
            for (address, column), total in zip(addresses, unpack(builder, tile_value), strict=True)
        ]
        return pack(builder, result)

    return tile(tile, types.float32, array, bases, types.intp, count), emit


def elementwise(emit_vector):
    """The intrinsic that applies `emit_vector(builder, *vectors)` to each vector of tiles of one shape."""

    def emit(context, builder, signature, arguments):
        vectors = zip(*(unpack(builder, argument) for argument in arguments), strict=True)
        return pack(builder, [emit_vector(builder, *operands) for operands in vectors])

    return emit


@intrinsic
def add(typing_context, a, b):
    """a + b."""
    return a(a, b), elementwise(lambda builder, a, b: builder.fadd(a, b))


@intrinsic
def subtract(typing_context, a, b):
    """a - b."""
    return a(a, b), elementwise(lambda builder, a, b: builder.fsub(a, b))


@intrinsic
def multiply(typing_context, a, b):
    """a * b, element by element."""
    return a(a, b), elementwise(lambda builder, a, b: builder.fmul(a, b))


@intrinsic
def fma(typing_context, a, b, c):
    """a * b + c, element by element, rounded once."""
    return a(a, b, c), elementwise(multiply_add)


@intrinsic
def negative(typing_context, a):
    """-a."""
    return a(a), elementwise(lambda builder, a: builder.fneg(a))


@intrinsic
def stack(typing_context, tiles):
    """The rows of several tiles in one tile."""
    result = Tile(sum(tile.rows for tile in tiles), tiles[0].columns)

    def emit(context, builder, signature, arguments):
        parts = cgutils.unpack_tuple(builder, arguments[0], len(tiles))
        return pack(builder, [vector for part in parts for vector in unpack(builder, part)])

    return result(tiles), emit


@intrinsic
def any_nan(typing_context, tile):
    """Whether any lane of a tile is NaN."""

    def emit(context, builder, signature, arguments):
        found = [builder.fcmp_unordered("uno", vector, vector) for vector in unpack(builder, arguments[0])]
        bits = [builder.bitcast(mask, ir.IntType(WIDTH)) for mask in found]
        return functools.reduce(builder.or_, [builder.icmp_unsigned("!=", b, b.type(0)) for b in bits])

    return types.boolean(tile), emit


@intrinsic
def where_equal(typing_context, a, b, then, otherwise):
    """`then` in the lanes where a == b, else `otherwise`."""

    def emit_vector(builder, a, b, then, otherwise):
        return builder.select(builder.fcmp_ordered("==", a, b), then, otherwise)

    return then(a, b, then, otherwise), elementwise(emit_vector)


@intrinsic
def where_greater(typing_context, a, b, then, otherwise):
    """`then` in the lanes where a > b, else `otherwise`."""

    def emit_vector(builder, a, b, then, otherwise):
        return builder.select(builder.fcmp_ordered(">", a, b), then, otherwise)

    return then(a, b, then, otherwise), elementwise(emit_vector)


@intrinsic
def where_positive(typing_context, a, then, otherwise):
    """`then` in the lanes where a > 0 or a is NaN, else `otherwise`."""

    def emit_vector(builder, a, then, otherwise):
        return builder.select(builder.fcmp_unordered(">", a, ir.Constant(VECTOR, None)), then, otherwise)

    return then(a, then, otherwise), elementwise(emit_vector)


@intrinsic
def row_of(typing_context, tile, index):
    """Row `index` (a literal) of a tile, as a tile of one row."""
    if not isinstance(index, types.IntegerLiteral):
        return None
    row, first = Tile(1, tile.columns), index.literal_value * tile.columns

    def emit(context, builder, signature, arguments):
        return pack(builder, unpack(builder, arguments[0])[first : first + tile.columns])

    return row(tile, index), emit


@intrinsic
def update_max(typing_context, best, winner, tile, first):
    """(best, winner) of the rows so far and the rows of `tile`, which are numbered from `first`.

    A row wins where it is greater than the best so far, or is the first NaN: ties stay with the earlier row.
    """
    result = types.Tuple((best, winner))

    def emit(context, builder, signature, arguments):
        best_value, winner_value, tile_value, number = arguments
        tops, indices, rows = unpack(builder, best_value), unpack(builder, winner_value), unpack(builder, tile_value)
        for r in range(tile.rows):
            index = splat(builder, builder.sitofp(builder.add(number, number.type(r)), FLOAT))
            for column in range(tile.columns):
                value, top = rows[r * tile.columns + column], tops[column]
                wins = builder.and_(builder.fcmp_unordered(">", value, top), builder.fcmp_ordered("ord", top, top))
                tops[column] = builder.select(wins, value, top)
                indices[column] = builder.select(wins, index, indices[column])
        return context.make_tuple(builder, result, [pack(builder, tops), pack(builder, indices)])

    return result(best, winner, tile, types.intp), emit


@intrinsic
def largest(typing_context, best, tile):
    """The largest of `best`, one row, and the rows of `tile`; NaN where one of them is NaN."""

    def emit(context, builder, signature, arguments):
        tops, rows = unpack(builder, arguments[0]), unpack(builder, arguments[1])
        for column in range(tile.columns):
            values = rows[column :: tile.columns]
            for value in values:  # one instruction: a NaN in the result stays, one in `value` gets lost
                wins = builder.fcmp_ordered(">", value, tops[column])
                tops[column] = builder.select(wins, value, tops[column])
            pairs = zip(values[::2], [*values[1::2], values[-1]], strict=False)
            found = functools.reduce(builder.or_, [builder.fcmp_unordered("uno", a, b) for a, b in pairs])
            tops[column] = builder.select(found, ir.Constant(VECTOR, [float("nan")] * WIDTH), tops[column])
        return pack(builder, tops)

    return best(best, tile), emit


@intrinsic
def gather(typing_context, shape, table, index, start):
    """(start + table[index], start + table[index + 1], ...), one for each row of the tile: bases read from a table."""
    result = types.UniTuple(types.intp, len(shape))

    def emit(context, builder, signature, arguments):
        _, table_value, index_value, start_value = arguments
        memory = Memory(context, builder, table, table_value)
        entries = [builder.load(memory.at(index_value, index_value.type(r))) for r in range(len(shape))]
        return context.make_tuple(builder, result, [builder.add(start_value, entry) for entry in entries])

    return result(shape, table, types.intp, types.intp), emit


@intrinsic
def spaced(typing_context, shape, start, step):
    """(start, start + step, start + 2 step, ...): the bases of a tile whose rows are evenly spaced."""
    result = types.UniTuple(types.intp, len(shape))

    def emit(context, builder, signature, arguments):
        _, start_value, step_value = arguments
        bases = [builder.add(start_value, builder.mul(step_value, step_value.type(r))) for r in range(len(shape))]
        return context.make_tuple(builder, result, bases)

    return result(shape, types.intp, types.intp), emit


@intrinsic
def read(typing_context, array, index):
    """array[index] of a flat array, without Numba's check for negative indices."""

    def emit(context, builder, signature, arguments):
        return builder.load(Memory(context, builder, array, arguments[0]).at(arguments[1]))

    return array.dtype(array, types.intp), emit


@intrinsic
def write(typing_context, array, index, value):
    """array[index] = value in a flat array, without Numba's check for negative indices."""

    def emit(context, builder, signature, arguments):
        builder.store(arguments[2], Memory(context, builder, array, arguments[0]).at(arguments[1]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), emit


def prefetch_with(write):
    """The intrinsic that begins to load the cache line of array[index], to be read or written; it changes nothing.

    The index may lie outside of the array.
    """

    @intrinsic
    def prefetch(typing_context, array, index):
        def emit(context, builder, signature, arguments):
            data = context.make_array(array)(context, builder, arguments[0]).data
            address = builder.bitcast(builder.gep(data, [arguments[1]]), BYTE.as_pointer())
            near, data_cache = INT(3), INT(1)
            call(builder, "llvm.prefetch.p0", ir.VoidType(), address, INT(write), near, data_cache)
            return context.get_dummy_value()

        return types.void(array, types.intp), emit

    return prefetch


prefetch, prefetch_to_write = prefetch_with(0), prefetch_with(1)
