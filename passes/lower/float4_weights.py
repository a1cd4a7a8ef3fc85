"""Weights that are quantised to four-bit floats (e2m1) in blocks: NVFP4 and MXFP4, found by the numbers that they are.

Libraries compute them from floats when a model is called. So they are computed here, once, and stored in four bits with
the scales of the blocks in one byte or two. TensorRT-RTX multiplies such weights on GPUs of compute capability 12.0 and
newer, by inputs that are quantised alike; elsewhere they are floats again when the model is loaded.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from ...compiler.ir.annotations import annotate_node
from ...compiler.ir.graph import insert_call
from ...compiler.ir.operators import DEQUANTIZE_PACKED
from ...compiler.ir.packed_numbers import pack_float4
from ...compiler.ir.program import Program
from .known_values import KnownValues
from .values import value_of

_BLOCKS = (16, 32)
_LARGEST_8 = 448.0
_REASON = "TensorRT multiplies its float4 weight by float4 only, on GPUs of compute capability 12.0 and newer"


def store_float4(program: Program, known: KnownValues, weight: Node) -> bool:
    """Put what stores a weight in four bits in the place of what computes it; whether its numbers are such.

    Args:
        program: whose node it is, changed in place.
        known: the values of its constants.
        weight: the node of a value that is known, and computed from what is quantised.
    """
    values = known.of(weight)
    assert values is not None
    found = on_float4_grid(values) if values.dim() == 2 else None
    name = weight.name
    if found is None:
        return False
    numbers, scale, factor = found
    data = known.store(program, name, pack_float4(numbers))
    steps = known.store(program, f"{name}_scale", scale)
    with weight.graph.inserting_before(weight):
        args = (data, steps, "fp4", factor, value_of(weight).dtype)
        new = insert_call(weight.graph, DEQUANTIZE_PACKED, args, like=weight)
    annotate_node(new, floats=_REASON)
    weight.replace_all_uses_with(new)
    return True


def on_float4_grid(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    """The numbers of e2m1 f32[n,k], scales [n,k/block] and their factor, whose products a matrix is; None if not.

    Scales are float8 as in NVFP4, or bfloat16 for the powers of two of MXFP4.
    """
    rows, columns = values.shape
    wide, epsilon = values.float(), 4 * torch.finfo(values.dtype).eps
    if columns % 2 or not bool(wide.isfinite().all()):
        return None
    for block in _BLOCKS:
        if columns % block:
            continue
        parts = wide.reshape(rows, columns // block, block)
        largest = parts.abs().amax(2, keepdim=True)
        # What the largest number of a block stands for.
        for top in (6.0, 4.0, 3.0):
            step = torch.where(largest > 0, largest / top, 1.0)
            numbers = _nearest(parts / step)
            fits = ((numbers * step - parts).abs() <= epsilon * largest).all(2, keepdim=True)
            if top == 6.0:
                kept, steps, fitting = numbers, step, fits
            else:
                better = fits & ~fitting
                kept, steps = torch.where(better, numbers, kept), torch.where(better, step, steps)
                fitting = fitting | fits
        if bool(fitting.all()):
            scales = _scales(steps.squeeze(2), epsilon)
            if scales is not None:
                return kept.reshape(rows, columns), *scales
    return None


def _nearest(x: torch.Tensor) -> torch.Tensor:
    sizes = x.abs()
    unit = torch.where(sizes < 2, 0.5, torch.where(sizes < 4, 1.0, 2.0))
    return (sizes / unit).round() * unit * x.sign()


def _scales(steps: torch.Tensor, epsilon: float) -> tuple[torch.Tensor, float] | None:
    """Scales in few bytes, and what all of them are multiplied by; None if they are no such."""
    if torch.equal(steps.bfloat16().float(), steps):
        return steps.bfloat16(), 1.0
    narrow = (steps * _LARGEST_8 / steps.max()).to(torch.float8_e4m3fn)
    # All blocks together say more of it than the largest, which may be rounded.
    factor = float((steps / narrow.float()).median())
    if bool(((narrow.float() * factor - steps).abs() <= epsilon * steps).all()):
        return narrow, factor
    return None
