"""Layers that compute each element from the elements at the same place: activation, unary, elementwise, scale, …"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dtypes import from_trt
from .call import Call, Handler, widen

_ACTIVATIONS: Mapping[str, Callable[[Tensor, float, float], Tensor]] = {
    "RELU": lambda x, a, b: torch.relu(x),
    "SIGMOID": lambda x, a, b: torch.sigmoid(x),
    "TANH": lambda x, a, b: torch.tanh(x),
    "LEAKY_RELU": lambda x, a, b: torch.where(x >= 0, x, a * x),
    "ELU": lambda x, a, b: torch.where(x >= 0, x, a * torch.expm1(x)),
    "SELU": lambda x, a, b: b * torch.where(x > 0, x, a * torch.expm1(x)),
    "SOFTSIGN": lambda x, a, b: x / (1 + x.abs()),
    "SOFTPLUS": lambda x, a, b: a * torch.logaddexp(b * x, torch.zeros_like(x)),
    # max(alpha, min(beta, x)): unlike in torch.clamp, alpha wins where alpha > beta, and against a NaN (measured).
    "CLIP": lambda x, a, b: torch.where(x > a, x.clamp(max=b), a).clamp(min=a),
    "HARD_SIGMOID": lambda x, a, b: (a * x + b).clamp(0, 1),
    "SCALED_TANH": lambda x, a, b: a * torch.tanh(b * x),
    "THRESHOLDED_RELU": lambda x, a, b: torch.where(x > a, x, torch.zeros_like(x)),
    "GELU_ERF": lambda x, a, b: F.gelu(x),
    "GELU_TANH": lambda x, a, b: F.gelu(x, approximate="tanh"),
}

_UNARY: Mapping[str, Callable[[Tensor], Tensor]] = {
    "EXP": torch.exp,
    "LOG": torch.log,
    "SQRT": torch.sqrt,
    "RECIP": torch.reciprocal,
    "ABS": torch.abs,
    "NEG": torch.neg,
    "SIN": torch.sin,
    "COS": torch.cos,
    "TAN": torch.tan,
    "SINH": torch.sinh,
    "COSH": torch.cosh,
    "ASIN": torch.asin,
    "ACOS": torch.acos,
    "ATAN": torch.atan,
    "ASINH": torch.asinh,
    "ACOSH": torch.acosh,
    "ATANH": torch.atanh,
    "CEIL": torch.ceil,
    "FLOOR": torch.floor,
    "ERF": torch.erf,
    "NOT": torch.logical_not,
    # torch.sign makes 0 of a NaN; TensorRT keeps it (measured).
    "SIGN": lambda x: torch.where(x.isnan(), x, x.sign()),
    "ROUND": torch.round,
    "ISINF": torch.isinf,
    "ISNAN": torch.isnan,
}

# MAX and MIN: which operand wins against a NaN is not documented, and TensorRT-RTX 1.6 was measured to take the first
# in f32 and the second in f16 and bf16. The NaN, which torch returns, at least shows.
_BINARY: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "SUM": torch.add,
    "PROD": torch.mul,
    "MAX": torch.maximum,
    "MIN": torch.minimum,
    "SUB": torch.sub,
    "FLOOR_DIV": torch.floor_divide,
    "POW": torch.pow,
    "AND": torch.logical_and,
    "OR": torch.logical_or,
    "XOR": torch.logical_xor,
    "EQUAL": torch.eq,
    "GREATER": torch.gt,
    "LESS": torch.lt,
}


def activation(call: Call) -> tuple[Tensor, ...]:
    # IActivationLayer.type is the activation; ILayer.type is hidden behind it.
    kind = call.handle.type.name
    if kind not in _ACTIVATIONS:
        raise call.error(f"the activation {kind} is not supported by the reference executor")
    return (_ACTIVATIONS[kind](call.wide(0), call.handle.alpha, call.handle.beta),)


def unary(call: Call) -> tuple[Tensor, ...]:
    operation = call.handle.op.name
    if operation not in _UNARY:
        raise call.error(f"the operation {operation} is not supported by the reference executor")
    return (_UNARY[operation](call.wide(0)),)


def elementwise(call: Call) -> tuple[Tensor, ...]:
    operation = call.handle.op.name
    left, right = call.wide(0), call.wide(1)
    if left.ndim != right.ndim:
        raise call.error(f"both inputs need the same rank, they have {left.ndim} and {right.ndim}")
    integer = not left.is_floating_point() and left.dtype != torch.bool
    if integer and operation in ("DIV", "FLOOR_DIV") and bool((right == 0).any()):
        raise call.error("integer division by zero")
    if integer and operation == "POW" and bool((right < 0).any()):
        raise call.error("an integer to a negative power has no defined result")
    if operation == "DIV":
        # The ONNX parser maps integer Div, which truncates toward zero, to this operation as it is.
        return (torch.div(left, right, rounding_mode="trunc" if integer else None),)
    if operation not in _BINARY:
        raise call.error(f"the operation {operation} is not supported by the reference executor")
    return (_BINARY[operation](left, right),)


def scale(call: Call) -> tuple[Tensor, ...]:
    """(x * scale + shift) ** power, with empty weights left out."""
    handle, x = call.handle, call.wide(0)
    factor = _scale_weights(call, handle.scale, "scale", x)
    shift = _scale_weights(call, handle.shift, "shift", x)
    power = _scale_weights(call, handle.power, "power", x)
    x = x if factor is None else x * factor
    x = x if shift is None else x + shift
    return (x if power is None else x**power,)


def _scale_weights(call: Call, weights: object, name: str, x: Tensor) -> Tensor | None:
    values = call.stored_weights(weights, f"{call.layer.name}.{name}")
    if values is None:
        return None
    values = widen(values)
    mode = call.handle.mode.name
    if mode == "UNIFORM":
        return values.reshape(())
    axis = call.handle.channel_axis
    if mode == "CHANNEL":
        return values.reshape([-1 if dim == axis else 1 for dim in range(x.ndim)])
    shape = x.shape[axis:]
    if values.numel() != math.prod(shape):
        raise call.error(f"{name} has {values.numel()} values for the dimensions {list(shape)}")
    return values.reshape(shape)


def parametric_relu(call: Call) -> tuple[Tensor, ...]:
    x, slopes = call.wide(0), call.wide(1)
    return (torch.where(x < 0, x * slopes, x),)


def select(call: Call) -> tuple[Tensor, ...]:
    condition, then, otherwise = call.required(0), call.required(1), call.required(2)
    return (torch.where(condition, then, otherwise),)


def cast(call: Call) -> tuple[Tensor, ...]:
    x, dtype = call.required(0), from_trt(call.handle.to_type)
    return (_float_to_integer(x.float(), dtype) if _needs_saturation(x, dtype) else x.to(dtype),)


def _needs_saturation(x: Tensor, dtype: torch.dtype) -> bool:
    return x.is_floating_point() and not dtype.is_floating_point and dtype != torch.bool


def _float_to_integer(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Toward zero, as CUDA converts where torch leaves values out of range undefined (measured on TensorRT-RTX 1.6).

    int32 and int64 saturate; int8 keeps the low bits of the int32, uint8 those of the saturated 32 unsigned bits.
    """
    if dtype == torch.int64:
        return _saturated(x, torch.int64, nan=torch.iinfo(torch.int64).min)
    if dtype == torch.uint8:
        unsigned = _saturated(x.clamp(min=0), torch.int64, nan=0).clamp(max=2**32 - 1)
        return (unsigned & 255).to(torch.uint8)
    return _saturated(x, torch.int32, nan=0).to(dtype)


def _saturated(x: Tensor, dtype: torch.dtype, nan: int) -> Tensor:
    limits = torch.iinfo(dtype)
    # The greatest integer has no float; its successor, a power of two, has.
    too_great = x >= -float(limits.min)
    ordinary = torch.where(x.isnan() | too_great, 0.0, x.clamp(min=float(limits.min))).to(dtype)
    return ordinary.masked_fill(too_great, limits.max).masked_fill(x.isnan(), nan)


def identity(call: Call) -> tuple[Tensor, ...]:
    # In weakly typed days this layer could convert; a strongly typed network gives it its input's type.
    return (call.required(0).to(call.output_dtypes[0]),)


HANDLERS: Mapping[str, Handler] = {
    "ACTIVATION": activation,
    "UNARY": unary,
    "ELEMENTWISE": elementwise,
    "SCALE": scale,
    "PARAMETRIC_RELU": parametric_relu,
    "SELECT": select,
    "CAST": cast,
    "IDENTITY": identity,
}
