"""Products of few bits that PyTorch's own kernels compute on a GPU; elsewhere the same in floats."""

from __future__ import annotations

import torch

_BITS = 4


def scaled_product(
    x: torch.Tensor,
    weight: torch.Tensor,
    x_scale: torch.Tensor,
    weight_scale: torch.Tensor,
    bias: torch.Tensor | None,
    dtype: torch.dtype,
) -> torch.Tensor:
    """`(x * x_scale) @ (weight * weight_scale).T + bias`.

    Args:
        x: float8_e4m3fn [..., inner].
        weight: float8_e4m3fn [columns, inner].
        x_scale, weight_scale: float32, one number each.
        bias: [columns], of `dtype`.
        dtype: of the result: float16 or bfloat16.
    """
    rows, columns = x.reshape(-1, x.shape[-1]), weight.shape[0]
    if _has_kernel(x) and x.shape[-1] % 16 == 0 and columns % 16 == 0:
        found = torch._scaled_mm(
            rows,
            weight.t(),
            scale_a=_aligned(x_scale.reshape(())),
            scale_b=_aligned(weight_scale.reshape(())),
            bias=bias,
            out_dtype=dtype,
            use_fast_accum=True,
        )
    else:
        found = (rows.float() @ weight.float().t()) * (x_scale * weight_scale)
        found = (found if bias is None else found + bias.float()).to(dtype)
    return found.reshape(*x.shape[:-1], columns)


def _aligned(scale: torch.Tensor) -> torch.Tensor:
    """The kernel takes no number in the middle of another tensor's memory."""
    return scale if scale.data_ptr() % 16 == 0 else scale.clone()


def _has_kernel(x: torch.Tensor) -> bool:
    return x.is_cuda and torch.cuda.get_device_capability(x.device) >= (8, 9)


def pack_int4(packed: torch.Tensor) -> torch.Tensor:
    """Whole numbers of -8 to 7 as the device's product takes them: int32 [columns / 8, inner / 128, 32, 4].

    Args:
        packed: uint8 [columns, inner / 2], as `pack_four_bits` made it; the sizes are multiples of 8 and 64.
    """
    # Numbers of 0 to 15 are the same bits with the highest turned over.
    moved = packed ^ 0x88
    if moved.is_cuda:
        found: torch.Tensor = torch._convert_weight_to_int4pack(moved << _BITS | moved >> _BITS, 8)
        return found
    columns, half = packed.shape
    return moved.contiguous().view(torch.int32).reshape(columns // 8, half // 64, 32, 4)


def packed_product(x: torch.Tensor, packed: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """x times the transpose of a weight that `pack_int4` packed.

    Args:
        x: bfloat16 [..., inner].
        packed: the weight.
        scales: bfloat16 [groups, columns, 2]: the scale of each group of a row, and what its middle stands for.
    """
    groups, columns = scales.shape[:2]
    inner = x.shape[-1]
    rows = x.reshape(-1, inner)
    if x.is_cuda:
        found = torch._weight_int4pack_mm(rows, packed, inner // groups, scales)
    else:
        words = packed.reshape(columns, -1, 1).long() >> torch.arange(0, 32, _BITS)
        weight = ((words & 15) - 8).reshape(columns, groups, -1).float()
        wide = weight * scales[..., 0].t().unsqueeze(2).float() + scales[..., 1].t().unsqueeze(2).float()
        found = (rows.float() @ wide.reshape(columns, inner).t()).to(x.dtype)
    return found.reshape(*x.shape[:-1], columns)
