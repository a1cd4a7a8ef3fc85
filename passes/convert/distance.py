"""Distances between rows, bags of embeddings, and sums of overlapping blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, dims_of, simplified
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import Tensor
from .combining import Destinations, most_values
from .conditions import (
    FLOATS,
    MAX_WORK,
    dtype_of,
    largest,
    limited_work,
    only_results,
    rank_of,
    static_dims,
    static_value,
    value_is,
)
from .indexing import gathered
from .linear import product as matrix_product

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("distance")


# --- distances -------------------------------------------------------------------------------------------------------
def _pairs(call: Call) -> Sequence[Any]:
    return [*call.out.shape, call.value("x1").shape[-1]] if call.value("p") != 2 else []


def _many_pairs(call: Call) -> bool:
    return math.prod(map(largest, (*call.out.shape, call.value("x1").shape[-1]))) > MAX_WORK


@FAMILY.converter(
    aten._cdist_forward.default,
    conditions=[
        dtype_of("x1", FLOATS),
        rank_of("x1", 2, 7),
        rank_of("x2", 2, 7),
        limited_work("unless p is 2, the result times the size of a row", _pairs),
    ],
    wide=True,
)
def cdist(ctx: ConverterContext, call: Call) -> Tensor:
    """The p-norm of the difference of every row of x1 and every row of x2, [..., P, R]."""
    left, right = ar.pair(ctx, ctx.tensor(call.arg("x1")), ctx.tensor(call.arg("x2")), call.out.dtype)
    if call.value("p") == 2 and _many_pairs(call):
        return _euclidean(ctx, left, right)
    left, right = shapes.unsqueeze(ctx, left, -2, "rows"), shapes.unsqueeze(ctx, right, -3, "rows")
    return _distance(ctx, left, right, float(call.value("p")))


def _euclidean(ctx: ConverterContext, left: Tensor, right: Tensor) -> Tensor:
    """The distances by a matrix product, sqrt(|a|² + |b|² - 2ab), as PyTorch itself computes those of many rows."""
    rows, columns = (ar.reduce(ctx, "SUM", ar.square(ctx, part), [-1], True, "norm") for part in (left, right))
    both = ar.elementwise(ctx, "SUM", rows, shapes.swap(ctx, columns, -1, -2, "norm"), "norms")
    products = ar.multiply(ctx, matrix_product(ctx, left, right, transposed=(False, True), role="product"), 2.0)
    squares = ar.clamp(ctx, ar.elementwise(ctx, "SUB", both, products, "squares"), 0.0, None, "squares")
    return ar.unary(ctx, "SQRT", squares)


@FAMILY.converter(
    aten._pdist_forward.default,
    conditions=[
        dtype_of("self", FLOATS),
        static_dims("self", lambda call: [0], "the number of rows"),
        limited_work("the result times the size of a row", lambda call: [*call.out.shape, call.value("self").shape[1]]),
    ],
    wide=True,
)
def pdist(ctx: ConverterContext, call: Call) -> Tensor:
    """The p-norm of the difference of every two rows, [N * (N - 1) / 2]."""
    x = ctx.tensor(call.arg("self"))
    pairs = torch.triu_indices(call.value("self").shape[0], call.value("self").shape[0], 1)
    left, right = (gathered(ctx, x, ctx.constant(place.contiguous(), "place"), 0, "rows") for place in pairs)
    return _distance(ctx, left, right, float(call.value("p")))


@FAMILY.converter(aten.dist.default, conditions=[dtype_of("self", FLOATS)], wide=True)
def dist(ctx: ConverterContext, call: Call) -> Tensor:
    """The p-norm of a difference, over all elements."""
    left, right = ar.promoted(ctx, call, "self", "other")
    return ar.norm(ctx, ar.elementwise(ctx, "SUB", left, right, "difference"), float(call.value("p")), None)


def _distance(ctx: ConverterContext, left: Tensor, right: Tensor, order: float) -> Tensor:
    """The norm over the last dimension of a difference."""
    gap = ar.elementwise(ctx, "SUB", left, right, "difference")
    if gap.shape[-1] == 0:
        return ar.reduce(ctx, "SUM", gap, [-1])
    return ar.norm(ctx, gap, order, [-1])


# --- bags ------------------------------------------------------------------------------------------------------------
@FAMILY.converter(
    aten._embedding_bag.default,
    aten._embedding_bag_forward_only.default,
    conditions=[
        dtype_of("weight", FLOATS),
        only_results(0, "what the backward pass needs"),
        limited_work("`indices` times the bags", lambda call: [*call.value("indices").shape, call.out[0].shape[0]]),
        limited_work("`indices` times a row", lambda call: [*call.value("indices").shape, call.out[0].shape[1]]),
    ],
)
def embedding_bag(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """The sum, mean or maximum of the rows of a table in each bag, [B, D]; 0 for an empty bag."""
    weight, indices, offsets = (ctx.tensor(call.arg(name)) for name in ("weight", "indices", "offsets"))
    bags: Dim = simplified(offsets.shape[0] - int(call.value("include_last_offset")))
    rows = ar.cast(ctx, gathered(ctx, weight, indices, 0, "rows"), torch.float32, "wide")
    factors = ctx.optional(call.arg("per_sample_weights"))
    if factors is not None:
        column = shapes.unsqueeze(ctx, ar.cast(ctx, factors, torch.float32, "wide"), 1, "factors")
        rows = ar.elementwise(ctx, "PROD", rows, column, "weighted")
    bag = shapes.unsqueeze(ctx, _bag_of(ctx, call, indices, offsets), 1, "bag")
    work = [*call.value("indices").shape, *call.out[0].shape]
    where = Destinations.of(ctx, bag, 0, bags, most_values(work, call.value("indices").shape[0]))
    mode = call.value("mode")
    result = where.total("MAX" if mode == 2 else "SUM", rows)
    if mode:
        count = where.count(torch.float32)
        if mode == 1:
            result = ar.elementwise(ctx, "DIV", result, ar.clamp(ctx, count, 1.0, None, "count"), "mean")
        result = ar.where(ctx, ar.compare(ctx, "GREATER", count, 0, "filled"), result, 0.0, "bags")
    return ar.cast(ctx, result, weight.dtype), None, None, None


def _bag_of(ctx: ConverterContext, call: Call, indices: Tensor, offsets: Tensor) -> Tensor:
    """The bag of each index, [K]: how many bags begin at or before it, less one; -1 for padding."""
    place = shapes.unsqueeze(ctx, shapes.ramp(ctx, indices.shape[0]), 1, "place")
    later = ar.compare(ctx, "GREATER", shapes.unsqueeze(ctx, offsets, 0, "begin"), place, "later")
    begun = ar.cast(ctx, ar.invert(ctx, later, "begun"), torch.int64, "begun")
    bag = ar.binary(ctx, "SUB", ar.reduce(ctx, "SUM", begun, [1], role="begun"), 1, "bag")
    padding = call.value("padding_idx")
    if padding < 0:
        return bag
    return ar.where(ctx, ar.compare(ctx, "EQUAL", indices, padding, "padding"), -1, bag, "bag")


# --- overlapping blocks ----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Window:
    """How the blocks lie along one dimension of the image."""

    size: int
    kernel: int
    dilation: int
    padding: int
    stride: int

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @property
    def tiles(self) -> bool:
        """Whether the blocks cover the image without overlap, in order."""
        whole = self.blocks * self.stride == self.size
        return whole and self.kernel == self.stride and self.dilation == 1 and self.padding == 0

    def folded(self, ctx: ConverterContext, x: Tensor, block_axis: int) -> Tensor:
        """Add up blocks: kernel places are dimension 2 of `x` and disappear, `block_axis` becomes the image's."""
        if self.tiles:
            order = [axis for axis in range(x.rank) if axis != 2]
            order.insert(block_axis, 2)
            moved = shapes.permute(ctx, x, order, "tiles")
            return shapes.flatten(ctx, moved, block_axis - 1, block_axis, "tiles")
        spread = self._spread(ctx, x, block_axis)
        result: Tensor | None = None
        for place in range(self.kernel):
            before, after = [0] * (x.rank - 1), [0] * (x.rank - 1)
            before[block_axis - 1] = place * self.dilation - self.padding
            after[block_axis - 1] = self.size - before[block_axis - 1] - self.blocks * self.stride
            part = shapes.pad(ctx, shapes.select_index(ctx, spread, 2, place, "part"), before, after, role="placed")
            result = part if result is None else ar.elementwise(ctx, "SUM", result, part, "sum")
        assert result is not None
        return result

    def _spread(self, ctx: ConverterContext, x: Tensor, axis: int) -> Tensor:
        """`stride` - 1 zeros behind every block."""
        if self.stride == 1:
            return x
        column = shapes.unsqueeze(ctx, x, axis + 1, "column")
        after = [self.stride - 1 if dim == axis + 1 else 0 for dim in range(column.rank)]
        padded = shapes.pad(ctx, column, [0] * column.rank, after, role="spread")
        return shapes.flatten(ctx, padded, axis, axis + 1, "spread")


@FAMILY.converter(
    aten.col2im.default,
    conditions=[
        dtype_of("self", FLOATS),
        static_value("output_size"),
        static_dims("self", lambda call: [-2, -1], "the blocks"),
        value_is("kernel_size", lambda sizes: sum(sizes) <= 128, "at most 128 in sum: each place takes a few layers"),
    ],
    composite=True,
)
def col2im(ctx: ConverterContext, call: Call) -> Tensor:
    """Blocks [..., C * kh * kw, L] summed where they overlap, [..., C, H, W]: along the height, then the width."""
    names = ("output_size", "kernel_size", "dilation", "padding", "stride")
    rows, columns = (_Window(*values) for values in zip(*(call.value(name) for name in names), strict=True))
    x, dtype = ctx.tensor(call.arg("self")), call.out.dtype
    batch = x.shape[0] if x.rank == 3 else 1
    channels = int(x.shape[-2]) // (rows.kernel * columns.kernel)
    blocks = (batch, channels, rows.kernel, columns.kernel, rows.blocks, columns.blocks)
    wide = shapes.reshape(ctx, ar.cast(ctx, x, torch.float32, "wide"), blocks, "blocks")
    image = columns.folded(ctx, rows.folded(ctx, wide, 4), 4)
    return shapes.reshape(ctx, ar.cast(ctx, image, dtype), dims_of(call.out.shape), "image")
