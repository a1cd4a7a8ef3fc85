"""Places in sorted sequences, by counting: the place of a value is the number of elements before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import MAX_RANK, Tensor
from .conditions import limited_work

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("searching")


def _values(call: Call) -> int | torch.SymInt:
    value = call.value("self")
    return value.numel() if isinstance(value, torch.Tensor) else 1


def _rank(call: Call) -> str | None:
    rank = call.out.dim()
    if rank < MAX_RANK:
        return None
    return f"{call.op}: the values have rank {rank}, but comparing them needs one dimension of TensorRT's {MAX_RANK}"


_RANK = Condition("TP202", "the values have rank 0 to 7", _rank)


@FAMILY.converter(
    aten.bucketize.Tensor,
    aten.bucketize.Scalar,
    conditions=[_RANK, limited_work("the comparison", lambda call: [_values(call), call.value("boundaries").numel()])],
)
def bucketize(ctx: ConverterContext, call: Call) -> Tensor:
    """The number of the interval that each value falls into."""
    x, boundaries = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("boundaries"))
    boundaries = shapes.with_rank(ctx, boundaries, x.rank + 1)
    return _counted(ctx, call, boundaries, x, bool(call.value("right")))


@FAMILY.converter(
    aten.searchsorted.Tensor,
    aten.searchsorted.Scalar,
    conditions=[
        _RANK,
        limited_work("the comparison", lambda call: [_values(call), call.value("sorted_sequence").shape[-1]]),
    ],
)
def searchsorted(ctx: ConverterContext, call: Call) -> Tensor:
    """Where each value would have to be inserted into its row of sorted values."""
    sequence, x = ctx.tensor(call.arg("sorted_sequence")), ctx.tensor(call.arg("self"))
    if call.arg("sorter") is not None:
        layer = ctx.network.add_gather_v2(sequence.trt, ctx.tensor(call.arg("sorter")).trt, ctx.trt.GatherMode.ELEMENT)
        layer.axis = sequence.rank - 1
        sequence = ctx.emit(layer, sequence.shape, "sorted")
    rows = sequence if sequence.rank == 1 else shapes.unsqueeze(ctx, sequence, -2, "rows")
    right = bool(call.value("right")) or call.value("side") == "right"
    return _counted(ctx, call, shapes.with_rank(ctx, rows, x.rank + 1), x, right)


def _counted(ctx: ConverterContext, call: Call, sequence: Tensor, x: Tensor, right: bool) -> Tensor:
    """How many elements along the last dimension of `sequence` come before each value of `x`.

    Those that are less than it, with `right` also those equal to it; a NaN comes behind everything.
    """
    value = shapes.unsqueeze(ctx, x, -1, "value")
    if right:
        behind = ar.compare(ctx, "GREATER", sequence, value, "behind")
    else:
        behind = ar.compare_or_equal(ctx, "GREATER", sequence, value, "behind")
    before = ar.cast(ctx, ar.invert(ctx, behind, "before"), call.out.dtype)
    return ar.reduce(ctx, "SUM", before, [-1], False)
