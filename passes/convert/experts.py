"""Products of rows with the matrix of the group that each belongs to: mixtures of experts.

Rows come sorted by expert, with the end of each expert's rows. How many rows an expert has is known only at run time,
so an engine cannot multiply just those. It does one of two things instead, whichever is estimated to be cheaper for the
usual number of rows:

- *every expert*: each matrix times all rows, and of that each row's own expert is read. Matrices are read in place;
  there are as many times more products as there are experts.
- *blocks*: rows are laid out in blocks of equal length, each of one expert, and each block is multiplied with a copy of
  its expert's matrix. A block is as long as an expert has rows on average, so there are at most twice as many blocks as
  experts, and never more than rows: decoding a token reads only the matrices of its own experts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sympy
import torch
from torch.utils._sympy.functions import FloorDiv

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, dim_range, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor, is_float
from .conditions import FLOATS, dtype_of, limited_work, value_is
from .indexing import gathered
from .linear import product

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("experts")

PRODUCTS_PER_ELEMENT = 230
"""Multiplications that an H200 does in halves (990 TFLOP/s) while it reads one element of a matrix (4.3 TB/s)."""

MAX_PRODUCTS = 2**28
"""The most elements of the products of all rows with every expert: 512 MiB of halves."""


def multiplies_every_expert(rows: int, most: int, experts: int, columns: int) -> bool:
    """Whether all rows times every matrix is cheaper than blocks, by an estimate from bandwidth and arithmetic.

    Args:
        rows, most: the usual and the largest number of rows (of tokens, times the experts of each).
        experts: how many matrices there are.
        columns: of each.
    """
    length = max(1, rows // experts)
    blocks = (rows + experts * (length - 1)) // length
    # A copy is read, written, and read again.
    in_blocks = blocks * (3 * PRODUCTS_PER_ELEMENT + length)
    return experts * (PRODUCTS_PER_ELEMENT + rows) <= in_blocks and experts * most * columns <= MAX_PRODUCTS


# --- the product -----------------------------------------------------------------------------------------------------
def grouped_product(ctx: ConverterContext, x: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Row s of `x` [S, K] times weight[e] [K, N], for the first expert e with s < ends[e]; zeros where there is none.

    `ends` are integers [E] that never decrease: where the rows of each expert end.
    """
    rows, experts, columns = x.shape[0], weight.shape[0], weight.shape[2]
    assert isinstance(experts, int)
    if 0 in x.shape or 0 in weight.shape:
        return shapes.full(ctx, (rows, columns), ctx.scalar(0, x.dtype, 2))
    ends = ar.cast(ctx, ends, torch.int64, "ends")
    own = shapes.ramp(ctx, rows, role="row")
    expert = _passed(ctx, ends, own, "expert")
    known = ar.clamp(ctx, expert, None, experts - 1, "known")
    _, usual, most = dim_range(rows, ctx.sizes.ranges)
    if multiplies_every_expert(usual, most, experts, dim_range(columns, ctx.sizes.ranges)[2]):
        result = _with_every_expert(ctx, x, weight, own, known)
    else:
        result = _in_blocks(ctx, x, weight, ends, own, known)
    missing = ar.compare(ctx, "EQUAL", expert, experts, "missing")
    return ar.where(ctx, shapes.unsqueeze(ctx, missing, 1, "missing"), 0.0, result)


def _with_every_expert(ctx: ConverterContext, x: Tensor, weight: Tensor, own: Tensor, expert: Tensor) -> Tensor:
    wide = product(ctx, shapes.unsqueeze(ctx, x, 0, "rows"), weight, role="every")
    flat = shapes.flatten(ctx, wide, 0, 1, role="every")
    offset = ar.binary(ctx, "PROD", expert, _number(ctx, x.shape[0]), "offset")
    return gathered(ctx, flat, ar.elementwise(ctx, "SUM", offset, own, "place"), 0, "result")


def _in_blocks(ctx: ConverterContext, x: Tensor, weight: Tensor, ends: Tensor, own: Tensor, expert: Tensor) -> Tensor:
    rows, experts, columns = x.shape[0], weight.shape[0], weight.shape[2]
    length = simplified(sympy.Max(1, FloorDiv(rows, experts)))
    if length == 1:
        # Every row is a block.
        single = product(ctx, shapes.unsqueeze(ctx, x, 1, "rows"), gathered(ctx, weight, expert, 0, "matrices"))
        return shapes.reshape(ctx, single, (rows, columns), "result")
    count = simplified(FloorDiv(rows + experts * (length - 1), length))
    size = _number(ctx, length)
    starts = shapes.pad(ctx, ends, [1], [-1], role="starts")
    # Of each expert: its rows in whole blocks, rounded up, and the blocks before its own.
    number = ar.binary(ctx, "SUM", ar.elementwise(ctx, "SUB", ends, starts, "number"), size, "number")
    blocks = ar.floor_divide(ctx, *ar.pair(ctx, ar.binary(ctx, "SUB", number, 1, "number"), size), "blocks")
    axis = ctx.scalar(0, torch.int32)
    sums = ctx.network.add_cumulative(blocks.trt, axis.trt, ctx.trt.CumulativeOperation.SUM, False, False)
    passed = ctx.emit(sums, blocks.shape, "passed")
    first = ar.elementwise(ctx, "SUB", passed, blocks, "first")
    # How far the rows of an expert move, from where they are to its blocks.
    shift = ar.elementwise(ctx, "SUB", ar.binary(ctx, "PROD", first, size, "laid_out"), starts, "shift")
    block = shapes.ramp(ctx, count, role="block")
    of_block = ar.clamp(ctx, _passed(ctx, passed, block, "expert"), None, experts - 1, "expert")
    places = shapes.ramp(ctx, simplified(count * length), role="laid_out")
    owner = shapes.expand(ctx, shapes.unsqueeze(ctx, of_block, 1, "owner"), (count, length), "owner")
    owner = shapes.reshape(ctx, owner, (simplified(count * length),), "owner")
    source = ar.elementwise(ctx, "SUB", places, gathered(ctx, shift, owner, 0, "back"), "source")
    # Blocks are filled up with rows of others, whose products nothing reads.
    last = ar.binary(ctx, "SUB", _number(ctx, rows), 1, "last")
    source = ar.clamp(ctx, ar.binary(ctx, "MIN", source, last, "source"), 0, None, "source")
    laid = shapes.reshape(ctx, gathered(ctx, x, source, 0, "laid_out"), (count, length, x.shape[1]), "blocks")
    result = product(ctx, laid, gathered(ctx, weight, of_block, 0, "matrices"), role="product")
    flat = shapes.reshape(ctx, result, (simplified(count * length), columns), "rows")
    place = ar.elementwise(ctx, "SUM", own, gathered(ctx, shift, expert, 0, "shift"), "place")
    # A row without an expert reads any.
    place = ar.binary(ctx, "MIN", place, ar.binary(ctx, "SUB", _number(ctx, simplified(count * length)), 1, "last"))
    return gathered(ctx, flat, place, 0, "result")


def _passed(ctx: ConverterContext, ends: Tensor, places: Tensor, role: str) -> Tensor:
    """How many of the ends each place lies at or behind."""
    pairs = shapes.unsqueeze(ctx, places, 1, role), shapes.unsqueeze(ctx, ends, 0, role)
    behind = ar.compare_or_equal(ctx, "GREATER", *pairs, role)
    return ar.reduce(ctx, "SUM", ar.cast(ctx, behind, torch.int64, role), [1], False, role)


def _number(ctx: ConverterContext, size: Dim) -> Tensor:
    """A size as int64 of shape [1]."""
    return ctx.scalar(size, torch.int64, 1) if isinstance(size, int) else ctx.sizes.tensor(size)


# --- operators -------------------------------------------------------------------------------------------------------
def _experts_vary(name: str) -> Callable[[Call], str | None]:
    def check(call: Call) -> str | None:
        experts = call.value(name).shape[0]
        if isinstance(experts, int):
            return None
        return f"{call.op}: the number of experts {experts} is dynamic, but it must be static"

    return check


_GROUPS = "the number of experts must be static"


@FAMILY.converter(
    "transformers.grouped_mm_fallback.default",
    conditions=[
        dtype_of("input", FLOATS),
        Condition("TP203", _GROUPS, _experts_vary("weight")),
        limited_work("rows x experts", lambda call: [call.value("input").shape[0], call.value("weight").shape[0]]),
    ],
)
def grouped_mm_of_transformers(ctx: ConverterContext, call: Call) -> Tensor:
    """Rows sorted by expert, each times its expert's matrix; the library has its own operator for this."""
    x, weight, ends = (ctx.tensor(call.arg(name)) for name in ("input", "weight", "offs"))
    return grouped_product(ctx, x, weight, ends)


def _other_grouping(call: Call) -> str | None:
    left, right = call.value("self").dim(), call.value("mat2").dim()
    if (left, right) == ((3, 3) if call.value("offs") is None else (2, 3)):
        return None
    return f"{call.op}: the operands have ranks {left} and {right}, but TensorRT takes groups of the first one's rows"


@FAMILY.converter(
    aten._grouped_mm.default,
    conditions=[
        dtype_of("self", FLOATS),
        Condition("TP202", "the groups are rows of `self` (ranks 2 and 3), or batches (3 and 3)", _other_grouping),
        Condition("TP203", _GROUPS, _experts_vary("mat2")),
        value_is("bias", lambda bias: bias is None, "None"),
        limited_work("rows x experts", lambda call: [call.value("self").shape[0], call.value("mat2").shape[0]]),
    ],
)
def grouped_mm(ctx: ConverterContext, call: Call) -> Tensor:
    """Rows sorted by expert, each times its expert's matrix; of two batches of matrices the products."""
    x, weight = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("mat2"))
    ends = ctx.optional(call.arg("offs"))
    result = product(ctx, x, weight) if ends is None else grouped_product(ctx, x, weight, ends)
    return ar.cast(ctx, result, call.out.dtype)


# --- histograms ------------------------------------------------------------------------------------------------------
def _bins(call: Call) -> list[Any]:
    return [call.value("self").numel(), call.value("bins")]


@FAMILY.converter(
    aten.histc.default,
    conditions=[dtype_of("self", (*FLOATS, torch.int32, torch.int64)), limited_work("elements x bins", _bins)],
)
def histc(ctx: ConverterContext, call: Call) -> Tensor:
    """How many elements fall into each of some bins of equal width; those outside count nowhere."""
    x = shapes.flatten(ctx, ctx.tensor(call.arg("self")), role="flat")
    bins, low, high = (call.value(name) for name in ("bins", "min", "max"))
    if 0 in x.shape:
        return shapes.full(ctx, (bins,), ctx.scalar(0, x.dtype, 1))
    dtype = torch.float32 if is_float(x.dtype) else torch.int64
    wide = ar.cast(ctx, x, dtype, "wide")
    first, last = _limits(ctx, wide, low, high)
    above = ar.compare_or_equal(ctx, "GREATER", wide, first, "above")
    below = ar.compare_or_equal(ctx, "LESS", wide, last, "below")
    # In PyTorch's order of operations, on which the rounding depends.
    offset = ar.elementwise(ctx, "SUB", wide, first, "offset")
    offset = ar.elementwise(ctx, "PROD", offset, ctx.scalar(bins, dtype, 1), "offset")
    width = ar.elementwise(ctx, "SUB", last, first, "width")
    if is_float(dtype):
        place = ar.unary(ctx, "FLOOR", ar.elementwise(ctx, "DIV", offset, width, "place"), "place")
    else:
        place = ar.floor_divide(ctx, offset, width, "place")
    place = ar.elementwise(ctx, "MIN", place, ctx.scalar(bins - 1, dtype, 1), "place")
    inside = ar.elementwise(ctx, "AND", above, below, "inside")
    place = ar.where(ctx, inside, place, ctx.scalar(-1, dtype, 1), "bin")
    numbers = ctx.constant(torch.arange(bins, dtype=dtype).reshape(1, -1), "bins")
    hits = ar.elementwise(ctx, "EQUAL", shapes.unsqueeze(ctx, place, 1, "bin"), numbers, "hits")
    counts = ar.reduce(ctx, "SUM", ar.cast(ctx, hits, torch.int32, "hits"), [0], False, "counts")
    return ar.cast(ctx, counts, call.out.dtype)


def _limits(ctx: ConverterContext, x: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """Where the bins begin and end: equal limits stand for those of the elements, and those, if equal, for one more."""
    if low != high:
        return ctx.scalar(low, x.dtype, 1), ctx.scalar(high, x.dtype, 1)
    first, last = (ar.reduce(ctx, kind, x, [0], True, kind.lower()) for kind in ("MIN", "MAX"))
    alike = ar.elementwise(ctx, "EQUAL", first, last, "alike")
    one = ctx.scalar(1, x.dtype, 1)
    first = ar.where(ctx, alike, ar.elementwise(ctx, "SUB", first, one, "first"), first, "first")
    return first, ar.where(ctx, alike, ar.elementwise(ctx, "SUM", last, one, "last"), last, "last")
