"""Activation functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ...compiler.ir.aliasing import memory_of
from ...compiler.ir.call import Call
from ...compiler.ir.symbols import Dim, example_size
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.registry import Family
from ...compiler.tensorrt.tensor import MAX_RANK, Tensor
from .conditions import FLOATS, dtype_of
from .pointwise import floating

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

aten = torch.ops.aten
FAMILY = Family("activation")
_FLOAT_SELF = dtype_of("self", FLOATS)
_PRODUCTS = frozenset({aten.linear.default, aten.addmm.default, aten.mm.default, aten.bmm.default, aten.matmul.default})

MANY = 1 << 20
"""Elements from which on GELU is a kernel of its own.

TensorRT-RTX computes it in the kernel of a product before it, which on an H200 then took 57 us in place of 26 for 9
million halves, and 37 in place of 17 for 5 million; GELU alone took 16 and 9. With 0.4 million it was 8 in place of 6,
and 2 alone, besides the time between two kernels.
"""


@FAMILY.converter(aten.relu.default)
def relu(ctx: ConverterContext, call: Call) -> Tensor:
    """max(self, 0)."""
    return ar.relu(ctx, ctx.tensor(call.arg("self")))


@FAMILY.converter(aten.sigmoid.default)
def sigmoid(ctx: ConverterContext, call: Call) -> Tensor:
    """1 / (1 + exp(-self))."""
    return ar.activation(ctx, "SIGMOID", floating(ctx, call))


@FAMILY.converter(aten.tanh.default)
def tanh(ctx: ConverterContext, call: Call) -> Tensor:
    """The hyperbolic tangent."""
    return ar.activation(ctx, "TANH", floating(ctx, call))


@FAMILY.converter(aten.gelu.default, conditions=[_FLOAT_SELF])
def gelu(ctx: ConverterContext, call: Call) -> Tensor:
    """The Gaussian error linear unit, exact or by tanh.

    TensorRT-RTX's own layers for it lose a bias (see `relu`), and divide and round between steps in halves.
    """
    x = ctx.tensor(call.arg("self"))
    inner = _by_tanh if call.value("approximate") == "tanh" else _by_erf
    apart = x if x.dtype == torch.float32 else _apart(ctx, call, x)
    return shapes.reshape(ctx, _gelu(ctx, apart, inner), x.shape)


def _apart(ctx: ConverterContext, call: Call, x: Tensor) -> Tensor:
    """The input of a function that had better be no part of the product before it, in a shape that keeps it out."""
    producer, columns = memory_of(call.arg("self")), x.shape[-1] if x.rank else 1
    many = math.prod(example_size(size) or 1 for size in call.value("self").shape) >= MANY
    parts = isinstance(columns, int) and columns % 2 == 0 and x.rank < MAX_RANK
    if producer.target not in _PRODUCTS or not many or not parts:
        return x
    return shapes.reshape(ctx, x, (*x.shape[:-1], 2, columns // 2), "apart")


def _gelu(ctx: ConverterContext, x: Tensor, inner: Callable[[ConverterContext, Tensor], Tensor]) -> Tensor:
    """x/2 * inner(x) + x/2 in float32, as PyTorch computes it."""
    wide = ar.cast(ctx, x, torch.float32, "wide")
    half = ar.multiply(ctx, wide, 0.5, "half")
    odd = ar.elementwise(ctx, "PROD", half, inner(ctx, wide), "odd")
    return ar.cast(ctx, ar.elementwise(ctx, "SUM", odd, half, "sum"), x.dtype, "gelu")


def _by_erf(ctx: ConverterContext, x: Tensor) -> Tensor:
    return ar.unary(ctx, "ERF", ar.multiply(ctx, x, math.sqrt(0.5), "scaled"), "erf")


def _by_tanh(ctx: ConverterContext, x: Tensor) -> Tensor:
    """tanh(sqrt(2 / pi) * (x + 0.044715 x^3))."""
    scale = math.sqrt(2 / math.pi)
    square = ar.elementwise(ctx, "PROD", x, x, "square")
    factor = ar.add(ctx, ar.multiply(ctx, square, 0.044715 * scale, "cubic"), scale, "factor")
    return ar.activation(ctx, "TANH", ar.elementwise(ctx, "PROD", x, factor, "argument"), role="tanh")


@FAMILY.converter(aten.silu.default, conditions=[_FLOAT_SELF], composite=True, wide=True)
def silu(ctx: ConverterContext, call: Call) -> Tensor:
    """x * sigmoid(x)."""
    x = ctx.tensor(call.arg("self"))
    return ar.elementwise(ctx, "PROD", x, ar.activation(ctx, "SIGMOID", x, role="sigmoid"))


@FAMILY.converter(aten.mish.default, conditions=[_FLOAT_SELF], composite=True, wide=True)
def mish(ctx: ConverterContext, call: Call) -> Tensor:
    """x * tanh(softplus(x))."""
    x = ctx.tensor(call.arg("self"))
    soft = ar.activation(ctx, "SOFTPLUS", x, 1.0, 1.0, "softplus")
    return ar.elementwise(ctx, "PROD", x, ar.activation(ctx, "TANH", soft, role="tanh"))


@FAMILY.converter(aten.leaky_relu.default, conditions=[_FLOAT_SELF])
def leaky_relu(ctx: ConverterContext, call: Call) -> Tensor:
    """x where it is positive, else a multiple of it."""
    return ar.activation(ctx, "LEAKY_RELU", ctx.tensor(call.arg("self")), float(call.value("negative_slope")))


@FAMILY.converter(aten.elu.default, conditions=[_FLOAT_SELF], wide=True)
def elu(ctx: ConverterContext, call: Call) -> Tensor:
    """scale * x where it is positive, else scale * alpha * (exp(input_scale * x) - 1)."""
    x = ctx.tensor(call.arg("self"))
    alpha, scale, input_scale = (float(call.value(name)) for name in ("alpha", "scale", "input_scale"))
    if scale == 1.0 and input_scale == 1.0:
        return ar.activation(ctx, "ELU", x, alpha)
    if input_scale == 1.0:
        return ar.activation(ctx, "SELU", x, alpha, scale)
    negative = ar.activation(ctx, "ELU", ar.multiply(ctx, x, input_scale, "scaled"), alpha, role="negative")
    positive = ar.compare(ctx, "GREATER", x, 0, "positive")
    return ar.multiply(ctx, ar.where(ctx, positive, x, negative, "elu"), scale)


@FAMILY.converter(aten.selu.default, conditions=[_FLOAT_SELF], composite=True)
def selu(ctx: ConverterContext, call: Call) -> Tensor:
    """The self-normalizing exponential unit, with the constants of its definition."""
    return ar.activation(ctx, "SELU", ctx.tensor(call.arg("self")), 1.6732632423543772, 1.0507009873554805)


@FAMILY.converter(aten.celu.default, conditions=[_FLOAT_SELF], composite=True, wide=True)
def celu(ctx: ConverterContext, call: Call) -> Tensor:
    """x where it is positive, else alpha * (exp(x / alpha) - 1)."""
    x, alpha = ctx.tensor(call.arg("self")), float(call.value("alpha"))
    if alpha == 1.0:
        return ar.activation(ctx, "ELU", x, 1.0)
    negative = ar.activation(ctx, "ELU", ar.multiply(ctx, x, 1 / alpha, "scaled"), alpha, role="negative")
    return ar.where(ctx, ar.compare(ctx, "GREATER", x, 0, "positive"), x, negative)


@FAMILY.converter(aten.softplus.default, conditions=[_FLOAT_SELF], composite=True, wide=True)
def softplus(ctx: ConverterContext, call: Call) -> Tensor:
    """log(1 + exp(beta * x)) / beta; x itself above the threshold."""
    x = ctx.tensor(call.arg("self"))
    beta, threshold = float(call.value("beta")), float(call.value("threshold"))
    soft = ar.activation(ctx, "SOFTPLUS", x, 1 / beta, beta, "softplus")
    above = ar.compare(ctx, "GREATER", ar.multiply(ctx, x, beta, "scaled"), threshold, "above")
    return ar.where(ctx, above, x, soft)


@FAMILY.converter(aten.hardtanh.default)
def hardtanh(ctx: ConverterContext, call: Call) -> Tensor:
    """x limited to a range."""
    x = ctx.tensor(call.arg("self"))
    return ar.clamp(ctx, x, call.value("min_val"), call.value("max_val"))


@FAMILY.converter(aten.relu6.default, composite=True)
def relu6(ctx: ConverterContext, call: Call) -> Tensor:
    """x limited to 0 to 6."""
    return ar.clamp(ctx, ctx.tensor(call.arg("self")), 0, 6)


@FAMILY.converter(aten.hardsigmoid.default, conditions=[_FLOAT_SELF], composite=True, wide=True)
def hardsigmoid(ctx: ConverterContext, call: Call) -> Tensor:
    """x / 6 + 1/2, limited to 0 to 1."""
    return ar.activation(ctx, "HARD_SIGMOID", ctx.tensor(call.arg("self")), 1 / 6, 0.5)


@FAMILY.converter(aten.hardswish.default, conditions=[_FLOAT_SELF], composite=True, wide=True)
def hardswish(ctx: ConverterContext, call: Call) -> Tensor:
    """x * hardsigmoid(x)."""
    x = ctx.tensor(call.arg("self"))
    gate = ar.activation(ctx, "HARD_SIGMOID", x, 1 / 6, 0.5, "hardsigmoid")
    return ar.elementwise(ctx, "PROD", x, gate)


@FAMILY.converter(aten.prelu.default, aten._prelu_kernel.default, conditions=[_FLOAT_SELF], composite=True)
def prelu(ctx: ConverterContext, call: Call) -> Tensor:
    """x where it is positive, else x times a slope per channel."""
    x, slope = ctx.tensor(call.arg("self")), ctx.tensor(call.arg("weight"))
    if call.target is aten.prelu.default and x.rank > 1:
        shape: list[Dim] = [1] * x.rank
        shape[1] = slope.shape[0] if slope.rank else 1
        slope = shapes.reshape(ctx, slope, shape, "slope")
    elif not x.rank:
        slope = shapes.reshape(ctx, slope, (), "slope")
    negative = ar.binary(ctx, "PROD", x, slope, "negative")
    return ar.where(ctx, ar.compare(ctx, "GREATER", x, 0, "positive"), x, negative)


@FAMILY.converter(aten.logit.default, conditions=[_FLOAT_SELF], composite=True, wide=True)
def logit(ctx: ConverterContext, call: Call) -> Tensor:
    """log(x / (1 - x)), of x limited to eps to 1 - eps."""
    x, eps = ctx.tensor(call.arg("self")), call.value("eps")
    if eps is not None:
        x = ar.clamp(ctx, x, eps, 1 - eps, "clamp")
    odds = ar.elementwise(ctx, "DIV", x, ar.binary(ctx, "SUB", 1.0, x, "complement"), "odds")
    return ar.unary(ctx, "LOG", odds)


@FAMILY.converter(aten.log_sigmoid_forward.default, conditions=[_FLOAT_SELF], composite=True, wide=True)
def log_sigmoid(ctx: ConverterContext, call: Call) -> tuple[Tensor | None, ...]:
    """log(sigmoid(x)) = -softplus(-x); the buffer for the gradient is not computed."""
    x = ctx.tensor(call.arg("self"))
    soft = ar.activation(ctx, "SOFTPLUS", ar.unary(ctx, "NEG", x, "negative"), 1.0, 1.0, "softplus")
    return ar.unary(ctx, "NEG", soft), None


@FAMILY.converter(aten._softmax.default, aten._log_softmax.default, wide=True)
def softmax(ctx: ConverterContext, call: Call) -> Tensor:
    """exp(x) over its sum along a dimension, or the logarithm of that."""
    x = ctx.tensor(call.arg("self"))
    # half_to_float: the sum and the result are f32.
    return _softmax(ctx, call, ar.cast(ctx, x, call.out.dtype), log=call.target is aten._log_softmax.default)


@FAMILY.converter(aten.softmax.int, aten.log_softmax.int, composite=True, wide=True)
def softmax_int(ctx: ConverterContext, call: Call) -> Tensor:
    """Softmax or its logarithm, in the dtype asked for."""
    x = ar.cast(ctx, ctx.tensor(call.arg("self")), call.out.dtype)
    return _softmax(ctx, call, x, log=call.target is aten.log_softmax.int)


def _softmax(ctx: ConverterContext, call: Call, x: Tensor, log: bool) -> Tensor:
    if not x.rank:
        return ar.full_like(ctx, x, 0.0 if log else 1.0)
    if log:
        return _log_softmax(ctx, x, x.axis(call.value("dim")))
    return normalized_exponential(ctx, x, x.axis(call.value("dim")))


def normalized_exponential(ctx: ConverterContext, x: Tensor, axis: int, role: str = "") -> Tensor:
    """A softmax layer over one axis of a tensor of at least one dimension.

    Over one element it is 1, or not a number, and no such layer: on an H200 the kernel of one and of a product after it
    was wrong for all of attention to one key with heads of 2 to 8, and right with this.
    """
    if x.shape[axis] == 1:
        return ar.unary(ctx, "EXP", ar.elementwise(ctx, "SUB", x, x, "difference"), role)
    flat = x.rank == 1
    if flat:
        # TensorRT's softmax keeps the first dimension as a batch.
        x, axis = shapes.unsqueeze(ctx, x, 0, "rank"), 1
    layer = ctx.network.add_softmax(x.trt)
    layer.axes = 1 << axis
    result = ctx.emit(layer, x.shape, role)
    return shapes.reshape(ctx, result, x.shape[1:], "rank") if flat else result


def _log_softmax(ctx: ConverterContext, x: Tensor, axis: int) -> Tensor:
    # x - max - log(sum(exp(x - max))): the logarithm of a softmax would turn small probabilities into -inf.
    shifted = ar.elementwise(ctx, "SUB", x, ar.reduce(ctx, "MAX", x, [axis], True, "max"), "shifted")
    total = ar.reduce(ctx, "SUM", ar.unary(ctx, "EXP", shifted, "exp"), [axis], True, "sum")
    return ar.elementwise(ctx, "SUB", shifted, ar.unary(ctx, "LOG", total, "log"))
