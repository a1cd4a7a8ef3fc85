"""`trt_passes::quantize` and `dequantize`: the one form that all quantise and dequantise operators become.

Each library has operators of its own, per tensor, channel, token and block. Here the shape of the scale says which it
is: it has as many dimensions as the data, and each of its sizes divides the data's: 1 for one scale along a dimension,
the whole size for one per element, anything between for blocks of equal length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

INT4_RANGE = (-8, 7)
"""The smallest and the largest whole number of four bits."""

RANGES = MappingProxyType({torch.int8: (-128, 127), torch.uint8: (0, 255), torch.float8_e4m3fn: (-448, 448)})
"""The smallest and the largest number of the types that a tensor can be quantised to."""


@dataclass(frozen=True)
class Step:
    """How numbers are quantised: the whole number `zero_point` stands for 0, and they lie between `low` and `high`."""

    scale: torch.Tensor
    zero_point: torch.Tensor | None
    low: int
    high: int


def quantize(
    input: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | None, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    """`input / scale + zero_point`, rounded to even and saturating; like PyTorch's kernels, by the scale's reciprocal.

    Args:
        input: floats of any shape.
        scale: float32, shaped as the module says.
        zero_point: what stands for 0, shaped like the scale; None for 0. Whole numbers only have one.
        low, high: what results are clamped to; whole numbers only.
        dtype: of the result: an integer type, or float8_e4m3fn.
    """
    scaled = input.float() * spread(scale.float(), input.shape).reciprocal()
    if dtype.is_floating_point:
        limit = torch.finfo(dtype).max
        return scaled.clamp(-limit, limit).to(dtype)
    rounded = scaled.round()
    if zero_point is not None:
        rounded = rounded + spread(zero_point.float(), input.shape)
    return rounded.clamp(low, high).to(dtype)


def dequantize(
    input: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor | None, dtype: torch.dtype
) -> torch.Tensor:
    """`(input - zero_point) * scale`, computed in float32.

    Args:
        input: whole numbers, or float8, of any shape.
        scale: floats, shaped as the module says.
        zero_point: what stands for 0, shaped like the scale; None for 0.
        dtype: of the result: a floating-point type.
    """
    values = input.float()
    if zero_point is not None:
        values = values - spread(zero_point.float(), input.shape)
    return (values * spread(scale.float(), input.shape)).to(dtype)


def spread(scale: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A scale in a shape that broadcasts with data of some shape: blocks are repeated.

    Raises:
        ValueError: the scale does not fit the data.
    """
    if scale.dim() == 0 or len(shape) == 0:
        return scale.reshape((1,) * len(shape))
    if scale.dim() != len(shape):
        raise ValueError(f"scales of rank {scale.dim()} do not fit data of rank {len(shape)}")
    for dim, size in enumerate(shape):
        blocks = scale.shape[dim]
        if _is_one(blocks) or not isinstance(size, int) or not isinstance(blocks, int) or blocks == size:
            continue
        if size % blocks:
            raise ValueError(f"{blocks} blocks do not divide {size}, the size of dimension {dim}")
        scale = scale.repeat_interleave(size // blocks, dim=dim)
    return scale


def _is_one(size: int | torch.SymInt) -> bool:
    return isinstance(size, int) and size == 1


def fake_by_largest(
    input: torch.Tensor, amax: torch.Tensor, bits: int | None, unsigned: bool, narrow: bool
) -> torch.Tensor:
    """A tensor quantised and dequantised again, by the largest magnitudes that are held, as NVIDIA's modelopt does.

    Args:
        input: floats.
        amax: the largest magnitude, or those of channels or blocks, with the rank of the input or of size 1.
        bits: of whole numbers, at most 8; None for float8_e4m3fn.
        unsigned: whether whole numbers start at 0.
        narrow: whether they are as many on both sides of 0.
    """
    high = 448 if bits is None else 2**bits - 1 if unsigned else 2 ** (bits - 1) - 1
    low = -448 if bits is None else 0 if unsigned else -high if narrow else -high - 1
    dtype = torch.float8_e4m3fn if bits is None else torch.uint8 if unsigned and high > 127 else torch.int8
    largest = amax.float().reshape(()) if amax.numel() == 1 else amax.float()
    if largest.dim() not in (0, input.dim()):
        largest = largest.reshape([*largest.shape, *[1] * (input.dim() - largest.dim())])
    scale = torch.where(largest <= _SMALLEST, torch.ones_like(largest), largest / high)
    ops = torch.ops.trt_passes
    result: torch.Tensor = ops.dequantize(ops.quantize(input, scale, None, low, high, dtype), scale, None, input.dtype)
    return result


_SMALLEST = 1.0 / (1 << 24)
"""The largest magnitude up to which everything is 0, so that the scale does not matter."""
