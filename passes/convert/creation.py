"""Tensors made from numbers and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.symbols import dims_of, expression, is_static
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import Tensor

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("creation")


@FAMILY.converter(aten.full.default, aten.full_like.default, aten.new_full.default, aten.fill.Scalar, aten.fill.Tensor)
def full(ctx: ConverterContext, call: Call) -> Tensor:
    """A tensor of one value."""
    argument = call.args.get("fill_value", call.args.get("value"))
    value = ctx.tensor(argument) if isinstance(argument, torch.fx.Node) else argument
    shape = dims_of(call.out.shape)
    filler = ar.operands(ctx, [value], call.out.dtype)[0]
    return shapes.full(ctx, shape, shapes.with_rank(ctx, filler, len(shape)))


@FAMILY.converter(
    aten.empty.memory_format,
    aten.empty_like.default,
    aten.empty_permuted.default,
    aten.empty_strided.default,
    aten.new_empty_strided.default,
    aten.new_empty.default,
    aten.zeros.default,
    aten.zeros_like.default,
    aten.new_zeros.default,
)
def zeros(ctx: ConverterContext, call: Call) -> Tensor:
    """Zeros, also where any values would do."""
    shape = dims_of(call.out.shape)
    return shapes.full(ctx, shape, ctx.scalar(0, call.out.dtype, len(shape)))


@FAMILY.converter(aten.ones.default, aten.ones_like.default, aten.new_ones.default)
def ones(ctx: ConverterContext, call: Call) -> Tensor:
    """Ones."""
    shape = dims_of(call.out.shape)
    return shapes.full(ctx, shape, ctx.scalar(1, call.out.dtype, len(shape)))


@FAMILY.converter(aten.scalar_tensor.default)
def scalar_tensor(ctx: ConverterContext, call: Call) -> Tensor:
    """A 0-d tensor of a number or a size."""
    argument = call.arg("s")
    value = ctx.tensor(argument) if isinstance(argument, torch.fx.Node) else argument
    return ar.operands(ctx, [value], call.out.dtype)[0]


@FAMILY.converter(aten.arange.start_step, aten.arange.default, aten.arange.start)
def arange(ctx: ConverterContext, call: Call) -> Tensor:
    """start, start + step, … below end."""
    start, step = (expression(call.value(name)) if name in call.args else default for name, default in _RAMP)
    dtype, size = call.out.dtype, dims_of(call.out.shape)[0]
    if is_static((size,)) and isinstance(start, int | float) and isinstance(step, int | float):
        # Computed by PyTorch itself, which rounds floats in its own way.
        return ctx.constant(torch.arange(start, expression(call.value("end")), step, dtype=dtype), "")
    if not (dtype.is_floating_point or isinstance(start, float) or isinstance(step, float)):
        return ar.cast(ctx, shapes.ramp(ctx, size, start, step), dtype)
    places = ar.cast(ctx, shapes.ramp(ctx, size, role="places"), torch.float32)
    scaled = ar.multiply(ctx, places, ar.operand(ctx, step), "scaled")
    return ar.cast(ctx, ar.add(ctx, scaled, ar.operand(ctx, start), "ramp"), dtype)


_RAMP = (("start", 0), ("step", 1))
