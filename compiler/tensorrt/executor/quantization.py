"""Quantize and dequantize, int8 and fp8: one scale per tensor, per slice of an axis, or per block."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..dtypes import from_trt
from .call import Call, Handler


def quantize(call: Call) -> tuple[Tensor, ...]:
    """round(x / scale), ties to even, clamped to the range of the type."""
    _require_zero_point_of_zero(call)
    dtype = from_trt(call.handle.to_type)
    scaled = call.wide(0) / _scales(call)
    if dtype == torch.int8:
        return (scaled.round().clamp(-128, 127).to(dtype),)
    if dtype == torch.float8_e4m3fn:
        limit = torch.finfo(dtype).max
        return (scaled.clamp(-limit, limit).to(dtype),)
    raise call.error(f"quantizing to {dtype} is not supported by the reference executor")


def dequantize(call: Call) -> tuple[Tensor, ...]:
    _require_zero_point_of_zero(call)
    return ((call.required(0).float() * _scales(call)).to(call.output_dtypes[0]),)


def _require_zero_point_of_zero(call: Call) -> None:
    zero_point = call.optional(2)
    if zero_point is not None and bool((zero_point.float() != 0).any()):
        raise call.error("only symmetric quantization is supported, its zero point is not zero")


def _scales(call: Call) -> Tensor:
    """The scale input in a shape that broadcasts against the data."""
    data, scale = call.required(0), call.wide(1)
    if scale.numel() == 1:
        return scale.reshape(())
    if scale.ndim == 1:
        axis = call.handle.axis % data.ndim
        if scale.numel() != data.shape[axis]:
            raise call.error(f"it has {scale.numel()} scales for an axis of {data.shape[axis]}")
        return scale.reshape([-1 if dim == axis else 1 for dim in range(data.ndim)])
    if scale.ndim != data.ndim:
        raise call.error(f"scales of rank {scale.ndim} do not fit data of rank {data.ndim}")
    for axis, (blocks, length) in enumerate(zip(scale.shape, data.shape, strict=True)):
        if length % blocks:
            raise call.error(f"{blocks} blocks do not divide an axis of {length}")
        scale = scale.repeat_interleave(length // blocks, dim=axis)
    return scale


HANDLERS: Mapping[str, Handler] = {"QUANTIZE": quantize, "DEQUANTIZE": dequantize}
