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


def dequantize_packed(packed: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Packed whole numbers times their scale.

    Args:
        packed: uint8 [..., n / 2].
        scale: floats, for numbers of shape [..., n], as `quantized_operators` says.
        dtype: of the result: a floating-point type.
    """
    return dequantize(unpack_four_bits(packed), scale, None, dtype)
