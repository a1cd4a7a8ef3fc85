"""Blocks that are quantised at run time, as NVIDIA's modelopt computes them: NVFP4 and MX formats, in floats."""

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
    unit = _unit(sizes, 4, 2)
    found = (sizes / unit).round() * unit * steps * blocks.sign()
    return found.reshape(input.shape).to(input.dtype)


def fake_mx(input: torch.Tensor, block: int, bits: int, exponent_bits: int) -> torch.Tensor:
    """Numbers in blocks of the last dimension with a power of two as scale: the least that makes all fit.

    Args:
        input: floats [..., width], the width a multiple of `block`.
        block: how many numbers have one scale.
        bits, exponent_bits: of a number: 8 and 4 for e4m3, 6 and 3 for e3m2, 6 and 2 for e2m3, 4 and 2 for e2m1, and 8
            and 0 for int8.
    """
    largest = _largest(bits, exponent_bits)
    blocks = input.float().reshape(*input.shape[:-1], input.shape[-1] // block, block)
    tops = blocks.abs().amax(-1, keepdim=True)
    exponents = (torch.log2(torch.where(tops > 0, tops / largest, 1.0)) - _ALMOST).ceil().clamp(-127, 127)
    steps = torch.exp2(exponents)
    scaled = blocks / steps
    if (bits, exponent_bits) == (8, 4):
        rounded = _rounded_to_float8(scaled)
    else:
        sizes = scaled.abs().clamp(max=largest)
        unit = _unit(sizes, bits, exponent_bits)
        rounded = (sizes / unit).round() * unit * blocks.sign()
    return (rounded * steps).reshape(input.shape).to(input.dtype)


def _largest(bits: int, exponent_bits: int) -> float:
    """The largest number of a format."""
    if not exponent_bits:
        return float(2 ** (bits - 1) - 1)
    if (bits, exponent_bits) == (8, 4):
        return _LARGEST_8
    mantissa = bits - 1 - exponent_bits
    return float(2.0 ** (2 ** (exponent_bits - 1)) * (2 - 2.0**-mantissa))


def _unit(sizes: torch.Tensor, bits: int, exponent_bits: int) -> float | torch.Tensor:
    """How far apart numbers of a format are around some: rounding to even multiples of it is to even mantissas."""
    if not exponent_bits:
        return 1.0
    mantissa, last = bits - 1 - exponent_bits, 2 ** (exponent_bits - 1)
    unit: float | torch.Tensor = 2.0 ** (last - mantissa)
    for exponent in range(last, 2 - last, -1):
        unit = torch.where(sizes < 2.0**exponent, 2.0 ** (exponent - 1 - mantissa), unit)
    return unit


def _rounded_to_float8(x: torch.Tensor) -> torch.Tensor:
    one = torch.ones((), dtype=torch.float32, device=x.device)
    data = QUANTIZE(x, one, None, -448, 448, torch.float8_e4m3fn)
    result: torch.Tensor = DEQUANTIZE(data, one, None, torch.float32)
    return result
