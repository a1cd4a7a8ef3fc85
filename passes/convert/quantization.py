"""Quantising and dequantising: weights stay stored as whole numbers or float8, products read 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...compiler.ir.call import Call
from ...compiler.ir.dtypes import HALVES, INT4
from ...compiler.ir.operators import DEQUANTIZE, DEQUANTIZE_PACKED, QUANTIZE
from ...compiler.ir.quantized_operators import RANGES
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.context import ConversionError
from ...compiler.tensorrt.quantized_weights import QuantizedWeight, dequantized, quantized
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import DeferredTensor, Tensor
from .conditions import FLOATS, dtype_of

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

FAMILY = Family("quantization")

_STORED = (torch.int8, torch.float8_e4m3fn)


def _without_zero_point(call: Call) -> str | None:
    if call.arg("zero_point") is None:
        return None
    return f"{call.op}: it has a zero point, and TensorRT quantises around 0 only"


def _full_range(call: Call) -> str | None:
    dtype, low, high = call.arg("dtype"), call.arg("low"), call.arg("high")
    if dtype.is_floating_point or RANGES.get(dtype) == (low, high):
        return None
    return f"{call.op}: results are clamped to {low} to {high}, but TensorRT clamps to the range of the type only"


def _to_stored(call: Call) -> str | None:
    dtype = call.arg("dtype")
    return (
        None if dtype in _STORED else f"{call.op}: dtype is {dtype}, but TensorRT quantises to int8 and float8_e4m3fn"
    )


def _of_weights(call: Call) -> str | None:
    if all(source.op == "placeholder" for source in call.node.all_input_nodes):
        return None
    return f"{call.op}: its numbers are computed, and TensorRT unpacks those of weights only"


_ZERO_POINT = Condition(
    "TP205", "zero points are 0 (`lower.quantisation` writes the others as arithmetic)", _without_zero_point
)


@FAMILY.converter(
    QUANTIZE,
    conditions=[
        dtype_of("input", FLOATS),
        Condition("TP201", "`dtype` is int8 or float8_e4m3fn", _to_stored),
        _ZERO_POINT,
        Condition("TP205", "`low` and `high` are those of the type", _full_range),
    ],
)
def quantize(ctx: ConverterContext, call: Call) -> Tensor:
    """input / scale, rounded to even and saturating."""
    x, dtype = ctx.tensor(call.arg("input")), call.arg("dtype")
    scale = ctx.constant_value(call.arg("scale"))
    if scale is not None:
        return quantized(ctx, x, scale.float(), dtype)
    computed = ar.cast(ctx, ctx.tensor(call.arg("scale")), torch.float32, "scale")
    if _is_one(computed):
        layer = ctx.network.add_quantize(x.trt, shapes.reshape(ctx, computed, (), "scale").trt, ctx.data_type(dtype))
        return ctx.emit(layer, x.shape)
    # TensorRT takes no scales that are computed per row when the number of rows varies, so that x is scaled first.
    wide, one = ar.cast(ctx, x, torch.float32, "float32"), ctx.scalar(1.0, torch.float32, computed.rank)
    inverse = ar.elementwise(ctx, "DIV", one, computed, "inverse")
    scaled = ar.elementwise(ctx, "PROD", wide, inverse, "scaled")
    return quantized(ctx, scaled, torch.ones(()), dtype)


@FAMILY.converter(DEQUANTIZE, conditions=[dtype_of("input", _STORED), _ZERO_POINT])
def dequantize(ctx: ConverterContext, call: Call) -> Tensor | DeferredTensor:
    """input * scale; a constant is stored as it is, and dequantised where it is used."""
    dtype, source = call.arg("dtype"), call.arg("input")
    scale, values = ctx.constant_value(call.arg("scale")), ctx.constant_value(source)
    if values is not None and scale is not None:
        return QuantizedWeight(call.name, source.name, values, scale.float(), values.dtype, dtype).deferred(ctx)
    x = ctx.tensor(source)
    if scale is not None:
        return dequantized(ctx, x, scale.float(), dtype)
    computed = ar.cast(ctx, ctx.tensor(call.arg("scale")), torch.float32, "scale")
    if _is_one(computed):
        layer = ctx.network.add_dequantize(x.trt, shapes.reshape(ctx, computed, (), "scale").trt, ctx.data_type(dtype))
        return ctx.emit(layer, x.shape)
    plain = dequantized(ctx, x, torch.ones(()), torch.float32, "unscaled")
    return ar.cast(ctx, ar.elementwise(ctx, "PROD", plain, computed, "scaled"), dtype, "")


@FAMILY.converter(
    DEQUANTIZE_PACKED, conditions=[Condition("TP205", "`packed` and `scale` are weights of the model", _of_weights)]
)
def dequantize_packed(ctx: ConverterContext, call: Call) -> Tensor | DeferredTensor:
    """A weight in four bits, stored so; for products of float32 in eight, and float4 as floats."""
    source, dtype = call.arg("packed"), call.arg("dtype")
    values, scale = ctx.constant_value(source), ctx.constant_value(call.arg("scale"))
    if values is None or scale is None:
        raise ConversionError(call.name, "its numbers are an input of the model, and TensorRT unpacks weights only")
    if call.arg("kind") == "fp4":
        return ctx.constant(DEQUANTIZE_PACKED(values, scale, "fp4", call.arg("factor"), dtype), "float4")
    # An H200 has no kernel that multiplies float32 with four bits, which TensorRT-RTX 1.6 finds out there only.
    kind = INT4 if dtype in HALVES else torch.int8
    return QuantizedWeight(call.name, source.name, values, scale.float(), kind, dtype).deferred(ctx)


def _is_one(scale: Tensor) -> bool:
    return all(size == 1 for size in scale.shape)
