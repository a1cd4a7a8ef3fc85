"""Numbers of four bits, two in a byte: as models, saved files and engines hold them."""

from __future__ import annotations

import torch

from .quantized_operators import dequantize

_BITS = 4


def pack_four_bits(data: torch.Tensor) -> torch.Tensor:
    """Whole numbers of -8 to 7, int8 [..., n], as uint8 [..., n / 2]: the first of two in a byte's lower half.

    TensorRT has them in the same order, so that engines need not have a copy of what a module holds.
    """
    bits = data.view(torch.uint8)
    return bits[..., ::2] & 15 | bits[..., 1::2] << _BITS


def unpack_four_bits(packed: torch.Tensor) -> torch.Tensor:
    """What `pack_four_bits` packed: int8 [..., n]."""
    both = packed.view(torch.int8)
    return torch.stack([both << _BITS >> _BITS, both >> _BITS], -1).flatten(-2)


def pack_float4(data: torch.Tensor) -> torch.Tensor:
    """Numbers of e2m1, floats [..., n], packed alike: uint8 [..., n / 2]."""
    codes = torch.bucketize(data.abs(), _FLOAT4.to(data.device)).to(torch.int8)
    return pack_four_bits(torch.where(data < 0, codes - 8, codes))


def unpack_float4(packed: torch.Tensor) -> torch.Tensor:
    """What `pack_float4` packed: f32[..., n]."""
    table = torch.cat([_FLOAT4, -_FLOAT4]).to(packed.device)
    codes = unpack_four_bits(packed) & 15
    return table.index_select(0, codes.flatten().int()).reshape(codes.shape)


def dequantize_packed(
    packed: torch.Tensor, scale: torch.Tensor, kind: str, factor: float, dtype: torch.dtype
) -> torch.Tensor:
    """Packed numbers times their scale and a factor.

    Args:
        packed: uint8 [..., n / 2].
        scale: floats of any type, for numbers of shape [..., n], as `quantized_operators` says.
        kind: "int4", or "fp4" for e2m1.
        factor: of all scales.
        dtype: of the result: a floating-point type.
    """
    numbers = unpack_float4(packed) if kind == "fp4" else unpack_four_bits(packed)
    return dequantize(numbers, scale.float() * factor, None, dtype)


_FLOAT4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
"""The numbers of e2m1 in the order of their bits."""
