"""Arithmetic as PyTorch defines it: promotion, casts, broadcasting, integer division, comparisons, reductions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from ..ir.call import Call
from ..ir.dtypes import HALVES
from ..ir.symbols import Dim, product, same
from . import shapes
from .tensor import Tensor, is_float, is_integer

if TYPE_CHECKING:
    from .context import ConverterContext

Operand = Tensor | int | float | bool


# --- types -----------------------------------------------------------------------------------------------------------
def cast(ctx: ConverterContext, x: Tensor, dtype: torch.dtype, role: str = "cast") -> Tensor:
    """The tensor in another dtype, as `Tensor.to` converts: floats to ints toward zero, non-zero to True."""
    if x.dtype == dtype:
        return x
    if dtype == torch.bool:
        if x.constant is not None and tuple(x.constant.shape) == x.shape:
            return ctx.constant(x.constant.to(dtype), role)
        return invert(ctx, compare(ctx, "EQUAL", x, 0), role)
    return ctx.emit(ctx.network.add_cast(x.trt, ctx.data_type(dtype)), x.shape, role)


def result_dtype(*values: Any) -> torch.dtype:
    """The dtype that PyTorch computes in, for fake tensors, numbers and sizes: `torch.result_type` of them all."""
    stands_for = [_stand_in(value) for value in values]
    result = stands_for[0]
    if len(stands_for) == 1:
        return result.dtype if isinstance(result, torch.Tensor) else torch.tensor(result).dtype
    dtype = torch.result_type(stands_for[0], stands_for[1])
    for value in stands_for[2:]:
        dtype = torch.promote_types(dtype, torch.result_type(torch.empty(1, dtype=dtype, device="meta"), value))
    return dtype


def _stand_in(value: Any) -> Any:
    if isinstance(value, Tensor):
        if value.weak:
            return False if value.dtype == torch.bool else 1.0 if is_float(value.dtype) else 1
        return torch.empty((1,) * value.rank, dtype=value.dtype, device="meta")
    if isinstance(value, torch.Tensor):
        return torch.empty((1,) * value.dim(), dtype=value.dtype, device="meta")
    if isinstance(value, torch.SymInt):
        return 1
    return 1.0 if isinstance(value, torch.SymFloat) else value


def promoted(ctx: ConverterContext, call: Call, left: str, right: str) -> tuple[Tensor, Tensor]:
    """Two arguments of a call in the dtype that PyTorch promotes them to, with equal ranks."""
    dtype = result_dtype(call.value(left), call.value(right))
    return pair(ctx, operand(ctx, call.arg(left)), operand(ctx, call.arg(right)), dtype)


def pair(
    ctx: ConverterContext, left: Operand, right: Operand, dtype: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Two operands as tensors of one dtype (by default the promoted one) and of equal ranks."""
    first, second = operands(ctx, (left, right), dtype)
    return first, second


def operand(ctx: ConverterContext, argument: Any) -> Operand:
    """An argument of a call as a number where it is one, else as a tensor."""
    return argument if isinstance(argument, int | float) else ctx.tensor(argument)


def operands(ctx: ConverterContext, values: Sequence[Operand], dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """Tensors and numbers as tensors of one dtype (by default the promoted one) and of equal ranks."""
    dtype = dtype or result_dtype(*values)
    rank = max((value.rank for value in values if isinstance(value, Tensor)), default=0)
    aligned = []
    for value in values:
        if isinstance(value, Tensor):
            aligned.append(shapes.with_rank(ctx, cast(ctx, value, dtype), rank))
        else:
            aligned.append(ctx.scalar(value, dtype, rank))
    return tuple(aligned)


# --- elementwise -----------------------------------------------------------------------------------------------------
def elementwise(ctx: ConverterContext, operation: str, left: Tensor, right: Tensor, role: str = "") -> Tensor:
    """One elementwise layer on tensors of equal dtypes and ranks; none where a constant decides a logical one."""
    decided = _compared(ctx, operation, left, right, role)
    if decided is None and left.dtype == torch.bool:
        decided = _decided(ctx, operation, left, right, role)
    if decided is not None:
        return decided
    kind = getattr(ctx.trt.ElementWiseOperation, operation)
    shape = shapes.broadcast(left.shape, right.shape)
    return ctx.emit(ctx.network.add_elementwise(left.trt, right.trt, kind), shape, role)


_TRUTHS = MappingProxyType(
    {
        "EQUAL": torch.eq,
        "GREATER": torch.gt,
        "LESS": torch.lt,
        "AND": torch.logical_and,
        "OR": torch.logical_or,
        "XOR": torch.logical_xor,
    }
)


def _compared(ctx: ConverterContext, operation: str, left: Tensor, right: Tensor, role: str) -> Tensor | None:
    """The constant that a comparison of two constants is; None if it is none."""
    compare = _TRUTHS.get(operation)
    if compare is None or left.constant is None or right.constant is None:
        return None
    shape, values = shapes.broadcast(left.shape, right.shape), compare(left.constant, right.constant)
    if not values.numel():
        return None
    first = bool(values.flatten()[0])
    if bool((values == first).all()):
        return _all(ctx, shape, first)
    ones = (1,) * (len(shape) - values.dim())
    return shapes.expand(ctx, ctx.constant(values.reshape(*ones, *values.shape), role), shape, role)


def _decided(ctx: ConverterContext, operation: str, left: Tensor, right: Tensor, role: str) -> Tensor | None:
    """The result of a logical operation with a constant, or of a tensor with itself; None if it takes a layer.

    TensorRT-RTX 1.6 builds wrong kernels for these: `x & False` is x there, and `x | True` too.
    """
    shape = shapes.broadcast(left.shape, right.shape)
    truth, other = (left.truth, right) if left.truth is not None else (right.truth, left)
    if truth is None:
        if left.trt is not right.trt:
            return None
        return left if operation in ("AND", "OR") else _all(ctx, shape, operation == "EQUAL")
    if (operation, truth) in (("AND", False), ("OR", True)):
        return _all(ctx, shape, truth)
    if (operation, truth) in (("XOR", True), ("EQUAL", False)):
        other = invert(ctx, other, role)
    return shapes.expand(ctx, other, shape, role)


def _all(ctx: ConverterContext, shape: Sequence[Dim], value: bool) -> Tensor:
    return shapes.full(ctx, shape, ctx.scalar(value, torch.bool, len(shape)))


def binary(ctx: ConverterContext, operation: str, left: Operand, right: Operand, role: str = "") -> Tensor:
    """An elementwise layer on operands of any dtypes and ranks, promoted and aligned first."""
    first, second = pair(ctx, left, right)
    return elementwise(ctx, operation, first, second, role)


def unary(ctx: ConverterContext, operation: str, x: Tensor, role: str = "") -> Tensor:
    """A unary layer."""
    return ctx.emit(ctx.network.add_unary(x.trt, getattr(ctx.trt.UnaryOperation, operation)), x.shape, role)


def activation(
    ctx: ConverterContext, kind: str, x: Tensor, alpha: float | None = None, beta: float | None = None, role: str = ""
) -> Tensor:
    """An activation layer."""
    layer = ctx.network.add_activation(x.trt, getattr(ctx.trt.ActivationType, kind))
    if layer is not None and alpha is not None:
        layer.alpha = alpha
    if layer is not None and beta is not None:
        layer.beta = beta
    return ctx.emit(layer, x.shape, role)


def relu(ctx: ConverterContext, x: Tensor, role: str = "") -> Tensor:
    """max(x, 0), by no activation layer.

    TensorRT-RTX 1.6 loses the bias in `relu(a @ b + bias) * c`, for any c, and likewise with its layers for GELU: such
    engines compute `relu(a @ b) * c`. The maximum is fused to products and convolutions as well.
    """
    return binary(ctx, "MAX", x, 0, role)


def add(ctx: ConverterContext, left: Operand, right: Operand, role: str = "") -> Tensor:
    """The sum; of booleans their disjunction."""
    first, second = pair(ctx, left, right)
    return elementwise(ctx, "OR" if first.dtype == torch.bool else "SUM", first, second, role)


def multiply(ctx: ConverterContext, left: Operand, right: Operand, role: str = "") -> Tensor:
    """The product; of booleans their conjunction."""
    first, second = pair(ctx, left, right)
    return elementwise(ctx, "AND" if first.dtype == torch.bool else "PROD", first, second, role)


def floor_divide(ctx: ConverterContext, left: Tensor, right: Tensor, role: str = "") -> Tensor:
    """The quotient rounded toward minus infinity, of tensors of equal dtypes and ranks."""
    if is_integer(left.dtype):
        return elementwise(ctx, "FLOOR_DIV", left, right, role)
    return unary(ctx, "FLOOR", elementwise(ctx, "DIV", left, right, "quotient"), role)


def truncating_divide(ctx: ConverterContext, left: Tensor, right: Tensor, role: str = "") -> Tensor:
    """The quotient rounded toward zero, of tensors of equal dtypes and ranks."""
    quotient = elementwise(ctx, "DIV", left, right, role if is_integer(left.dtype) else "quotient")
    return quotient if is_integer(left.dtype) else truncate(ctx, quotient, role)


def truncate(ctx: ConverterContext, x: Tensor, role: str = "") -> Tensor:
    """Floats rounded toward zero."""
    magnitude = unary(ctx, "FLOOR", unary(ctx, "ABS", x, "abs"), "floor")
    return elementwise(ctx, "PROD", unary(ctx, "SIGN", x, "sign"), magnitude, role)


def remainder(ctx: ConverterContext, left: Tensor, right: Tensor, *, sign_of_divisor: bool, role: str = "") -> Tensor:
    """left - quotient * right: with the divisor's sign as `torch.remainder`, or the dividend's as `torch.fmod`."""
    if left.dtype in HALVES:
        # A half's quotient may be rounded up to the next whole number.
        wide = (cast(ctx, part, torch.float32, "wide") for part in (left, right))
        return cast(ctx, remainder(ctx, *wide, sign_of_divisor=sign_of_divisor, role="remainder"), left.dtype, role)
    divide = floor_divide if sign_of_divisor else truncating_divide
    whole = elementwise(ctx, "PROD", divide(ctx, left, right, "quotient"), right, "multiple")
    return elementwise(ctx, "SUB", left, whole, role)


# --- logic -----------------------------------------------------------------------------------------------------------
def compare(ctx: ConverterContext, operation: str, left: Operand, right: Operand, role: str = "") -> Tensor:
    """EQUAL, GREATER or LESS of promoted operands, as bool."""
    first, second = pair(ctx, left, right)
    if first.dtype == torch.bool and operation != "EQUAL":
        first, second = cast(ctx, first, torch.int32), cast(ctx, second, torch.int32)
    return elementwise(ctx, operation, first, second, role)


def compare_or_equal(ctx: ConverterContext, operation: str, left: Operand, right: Operand, role: str = "") -> Tensor:
    """GREATER or LESS, or equal. Not the negation of the opposite for floats: a NaN compares as False."""
    first, second = pair(ctx, left, right)
    if is_float(first.dtype):
        strict = elementwise(ctx, operation, first, second, "strict")
        return elementwise(ctx, "OR", strict, elementwise(ctx, "EQUAL", first, second, "equal"), role)
    opposite = {"GREATER": "LESS", "LESS": "GREATER"}[operation]
    return invert(ctx, compare(ctx, opposite, first, second, "opposite"), role)


def invert(ctx: ConverterContext, x: Tensor, role: str = "") -> Tensor:
    """The negation of a bool tensor."""
    if x.truth is not None:
        return _all(ctx, x.shape, not x.truth)
    return unary(ctx, "NOT", x, role)


def where(ctx: ConverterContext, condition: Tensor, then: Operand, otherwise: Operand, role: str = "") -> Tensor:
    """Elements of `then` where the bool `condition` is True, else of `otherwise`; all broadcast."""
    first, second = pair(ctx, then, otherwise)
    rank = max(condition.rank, first.rank)
    parts = [shapes.with_rank(ctx, part, rank) for part in (condition, first, second)]
    shape = shapes.broadcast(*(part.shape for part in parts))
    if parts[0].truth is not None:
        return shapes.expand(ctx, parts[1] if parts[0].truth else parts[2], shape, role)
    return ctx.emit(ctx.network.add_select(*(part.trt for part in parts)), shape, role)


def clamp(ctx: ConverterContext, x: Tensor, low: Operand | None, high: Operand | None, role: str = "") -> Tensor:
    """min(max(x, low), high)."""
    for operation, bound in (("MAX", low), ("MIN", high)):
        if bound is not None:
            x = extreme(ctx, operation, *pair(ctx, x, bound, x.dtype), role)
    return x


def extreme(ctx: ConverterContext, operation: str, left: Tensor, right: Tensor, role: str = "") -> Tensor:
    """MAX or MIN of tensors of equal dtypes and ranks; of booleans, of which False is the lesser, too."""
    if left.dtype == torch.bool:
        operation = "OR" if operation == "MAX" else "AND"
    return elementwise(ctx, operation, left, right, role)


# --- reductions ------------------------------------------------------------------------------------------------------
def reduce(
    ctx: ConverterContext, operation: str, x: Tensor, dims: Sequence[int] | None, keepdim: bool = False, role: str = ""
) -> Tensor:
    """Reduce over some dimensions (None: all), which may be negative; over none, and of a 0-d tensor, `x` itself."""
    axes = sorted({x.axis(dim) for dim in (range(x.rank) if dims is None else dims)}) if x.rank else []
    if not axes:
        return x
    shape = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape) if keepdim or axis not in axes)
    mask = sum(1 << axis for axis in axes)
    kind = getattr(ctx.trt.ReduceOperation, operation)
    return ctx.emit(ctx.network.add_reduce(x.trt, kind, mask, keepdim), shape, role)


def norm(
    ctx: ConverterContext, x: Tensor, order: float, dims: Sequence[int] | None, keepdim: bool = False, role: str = ""
) -> Tensor:
    """(sum of |x|**order) ** (1 / order) over some dimensions (None: all) of floats.

    Of an infinite order the greatest or least magnitude, of order 0 how many elements are not zero.
    """
    size = unary(ctx, "ABS", x, "abs")
    if math.isinf(order):
        return reduce(ctx, "MAX" if order > 0 else "MIN", size, dims, keepdim, role)
    if order != 0 and count(x, dims) == 1:
        # As in PyTorch, whose powers of one number do not overflow either.
        return reduce(ctx, "SUM", size, dims, keepdim, role)
    if order == 0:
        present = cast(ctx, cast(ctx, size, torch.bool), x.dtype, "present")
        return reduce(ctx, "SUM", present, dims, keepdim, role)
    if order == 1:
        return reduce(ctx, "SUM", size, dims, keepdim, role)
    if order == 2:
        return unary(ctx, "SQRT", reduce(ctx, "SUM", square(ctx, size), dims, keepdim, "sum"), role)
    powers = binary(ctx, "POW", size, order, "power")
    return binary(ctx, "POW", reduce(ctx, "SUM", powers, dims, keepdim, "sum"), 1 / order, role)


def count(x: Tensor, dims: Sequence[int] | None) -> Dim:
    """How many elements a reduction over some dimensions (None: all) combines."""
    if not x.rank:
        return 1
    axes = {x.axis(dim) for dim in (range(x.rank) if dims is None else dims)}
    return product(x.shape[axis] for axis in axes)


def any_of(
    ctx: ConverterContext, x: Tensor, dims: Sequence[int] | None, keepdim: bool, *, every: bool = False
) -> Tensor:
    """Whether any (or every) element along some dimensions is non-zero, as bool."""
    flags = cast(ctx, cast(ctx, x, torch.bool), torch.int32)
    found = reduce(ctx, "MIN" if every else "MAX", flags, dims, keepdim)
    # Of no elements the least and the greatest are the ends of the type: every one is true, and none.
    if same(count(x, dims), 0):
        return _all(ctx, found.shape, every)
    return compare(ctx, "GREATER", found, 0, "bool")


def square(ctx: ConverterContext, x: Tensor, role: str = "square") -> Tensor:
    """x * x."""
    return elementwise(ctx, "PROD", x, x, role)


def full_like(ctx: ConverterContext, x: Tensor, value: float | bool, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor of one value, of the shape (and by default the dtype) of `x`."""
    return shapes.expand(ctx, ctx.scalar(value, dtype or x.dtype, x.rank), x.shape)
