"""The greater and the lesser of two, and clamps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import Tensor, is_float

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("bounds")


@FAMILY.converter(aten.maximum.default)
def maximum(ctx: ConverterContext, call: Call) -> Tensor:
    """The greater of two elements."""
    return ar.extreme(ctx, "MAX", *ar.promoted(ctx, call, "self", "other"))


@FAMILY.converter(aten.minimum.default)
def minimum(ctx: ConverterContext, call: Call) -> Tensor:
    """The lesser of two elements."""
    return ar.extreme(ctx, "MIN", *ar.promoted(ctx, call, "self", "other"))


@FAMILY.converter(aten.fmax.default, aten.fmin.default)
def number(ctx: ConverterContext, call: Call) -> Tensor:
    """The greater or the lesser of two elements; if one is NaN, the other."""
    left, right = ar.promoted(ctx, call, "self", "other")
    result = ar.extreme(ctx, "MAX" if call.target is aten.fmax.default else "MIN", left, right, "extreme")
    if not is_float(left.dtype):
        return result
    result = ar.where(ctx, ar.unary(ctx, "ISNAN", right, "isnan"), left, result, "number")
    return ar.where(ctx, ar.unary(ctx, "ISNAN", left, "isnan"), right, result)


# --- clamps ----------------------------------------------------------------------------------------------------------
@FAMILY.converter(aten.clamp.default, aten.clamp.Tensor)
def clamp(ctx: ConverterContext, call: Call) -> Tensor:
    """min(max(self, min), max)."""
    return _clamped(ctx, call, call.arg("min"), call.arg("max"))


@FAMILY.converter(aten.clamp_min.default, aten.clamp_min.Tensor, composite=True)
def clamp_min(ctx: ConverterContext, call: Call) -> Tensor:
    """max(self, min)."""
    return _clamped(ctx, call, call.arg("min"), None)


@FAMILY.converter(aten.clamp_max.default, aten.clamp_max.Tensor, composite=True)
def clamp_max(ctx: ConverterContext, call: Call) -> Tensor:
    """min(self, max)."""
    return _clamped(ctx, call, None, call.arg("max"))


def _clamped(ctx: ConverterContext, call: Call, low: object, high: object) -> Tensor:
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    least, most = (None if bound is None else ar.operand(ctx, bound) for bound in (low, high))
    return ar.clamp(ctx, x, least, most)
