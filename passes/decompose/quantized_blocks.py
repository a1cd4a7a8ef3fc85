"""Blocks that are quantised at run time, as NVIDIA's modelopt computes them: NVFP4 and MXFP8, in floats."""

from __future__ import annotations

import torch

from ...compiler.ir.operators import DEQUANTIZE, QUANTIZE

_LARGEST_4, _LARGEST_8 = 6.0, 448.0
"""The largest numbers of four (e2m1) and eight bits (e4m3)."""

_ALMOST = 1e-6
"""What is taken off a logarithm before it is rounded up: that of a power of two may come out larger."""


def fake_nvfp4(input: torch.Tensor, block: int, amax: torch.Tensor) -> torch.Tensor:
    """Numbers of e2m1, in blocks of the last dimension with a scale of e4m3 each, which has one for the tensor.

    Args:
        input: floats [..., width], the width a multiple of `block`.
        block: how many numbers have one scale.
        amax: the largest magnitude of the tensor.
    """
    blocks = input.float().reshape(*input.shape[:-1], input.shape[-1] // block, block)
    scales = _LARGEST_8 * _LARGEST_4 / amax.float().amax()
    steps = _rounded_to_float8(blocks.abs().amax(-1, keepdim=True) / _LARGEST_4 * scales) / scales
    steps = torch.where(steps > 0, steps, torch.ones_like(steps))
    sizes = (blocks.abs() / steps).clamp(max=_LARGEST_4)
    # Numbers of e2m1 are 0.5 apart up to 2, then 1, then 2: rounding to even in units is to their even ones.
    unit = torch.where(sizes < 2, 0.5, torch.where(sizes < 4, 1.0, 2.0))
    found = (sizes / unit).round() * unit * steps * blocks.sign()
    return found.reshape(input.shape).to(input.dtype)


def fake_mxfp8(input: torch.Tensor, block: int) -> torch.Tensor:
    """Numbers of e4m3, in blocks of the last dimension with a power of two as scale: the least that makes all fit."""
    blocks = input.float().reshape(*input.shape[:-1], input.shape[-1] // block, block)
    largest = blocks.abs().amax(-1, keepdim=True)
    exponents = (torch.log2(torch.where(largest > 0, largest / _LARGEST_8, 1.0)) - _ALMOST).ceil().clamp(-127, 127)
    steps = torch.exp2(exponents)
    return (_rounded_to_float8(blocks / steps) * steps).reshape(input.shape).to(input.dtype)


def _rounded_to_float8(x: torch.Tensor) -> torch.Tensor:
    one = torch.ones((), dtype=torch.float32, device=x.device)
    data = QUANTIZE(x, one, None, -448, 448, torch.float8_e4m3fn)
    result: torch.Tensor = DEQUANTIZE(data, one, None, torch.float32)
    return result
