"""Quantize and dequantize, int8 and fp8: one scale per tensor, per slice of an axis, or per block.

Dynamic quantize, which finds the scales of its blocks: MXFP8 and NVFP4.
"""

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


def dynamic_quantize(call: Call) -> tuple[Tensor, ...]:
    """Numbers in blocks of an axis, and the scales of the blocks, by the largest magnitude of each."""
    to, kind = from_trt(call.handle.to_type), from_trt(call.handle.scale_type)
    x, axis, length = call.wide(0), call.handle.axis, call.handle.block_size
    axis %= x.ndim
    if x.shape[axis] % length:
        raise call.error(f"blocks of {length} do not divide an axis of {x.shape[axis]}")
    blocks = x.reshape(*x.shape[:axis], x.shape[axis] // length, length, *x.shape[axis + 1 :])
    largest = blocks.abs().amax(axis + 1, keepdim=True)
    if (to, kind) == (torch.float8_e4m3fn, torch.float8_e8m0fnu):
        limit = torch.finfo(to).max
        steps = scales = _power_of_two(largest / limit)
        data = (blocks / steps).clamp(-limit, limit)
    elif (to, kind) == (torch.float4_e2m1fn_x2, torch.float8_e4m3fn):
        second = call.wide(1).reshape(())
        limit = torch.finfo(kind).max
        scales = (largest / _LARGEST_OF_FOUR_BITS / second).clamp(max=limit).to(kind).float()
        steps = scales * second
        data = _four_bits(torch.where(steps > 0, blocks / steps, torch.zeros_like(blocks)))
    else:
        raise call.error(f"quantizing to {to} with scales of {kind} is not supported by the reference executor")
    return data.flatten(axis, axis + 1).to(call.output_dtypes[0]), scales.squeeze(axis + 1).to(kind)


_LARGEST_OF_FOUR_BITS = 6.0


def _power_of_two(x: Tensor) -> Tensor:
    """The least power of two that is not smaller, of those that e8m0 holds."""
    mantissa, exponent = torch.frexp(x)
    exponent = torch.where(mantissa == 0.5, exponent - 1, exponent)
    exponent = torch.where(x > 0, exponent, 0).clamp(-127, 127)
    return torch.ldexp(torch.ones_like(x), exponent)


def _four_bits(x: Tensor) -> Tensor:
    """The nearest numbers of e2m1, ties to those with an even mantissa, saturating."""
    size = x.abs().clamp(max=_LARGEST_OF_FOUR_BITS)
    # They are 0.5 apart up to 2, then 1, then 2.
    unit = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return (size / unit).round() * unit * x.sign()


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


HANDLERS: Mapping[str, Handler] = {
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
    "DYNAMIC_QUANTIZE": dynamic_quantize,
}
