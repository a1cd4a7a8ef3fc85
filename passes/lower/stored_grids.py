"""Weights that the model computes from packed whole numbers, in whatever way: found by the grid that they lie on.

Libraries store weights of few bits in formats of their own (four bits in int32, in tiles, with zero points) and unpack
them by shifts and masks when they are called. What comes out is the same: in each row, or block of a row, all numbers
are whole multiples of one. So the weight is computed here, once, and those multiples are stored.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from ...compiler.ir.graph import insert_call
from ...compiler.ir.operators import DEQUANTIZE, DEQUANTIZERS
from ...compiler.ir.program import Program
from .float4_weights import store_float4
from .known_values import KnownValues
from .quantised_operands import MATRIX_PRODUCTS, operands_of
from .values import value_of

aten = torch.ops.aten

SMALLEST = 1024
"""Elements from which on a weight is worth looking at."""

_BLOCKS = (128, 64, 32, 16)
_WHOLE = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def store_grids(program: Program, known: KnownValues) -> None:
    """Let products read such weights as stored in eight bits, in place."""
    for node in program.op_nodes:
        if node.target not in MATRIX_PRODUCTS:
            continue
        _, weight = operands_of(node)
        if weight.op != "call_function" or weight.target in DEQUANTIZERS:
            continue
        rounded = _is_rounded(weight)
        values = known.of(weight) if rounded or _is_unpacked(weight, known) else None
        if values is None:
            continue
        by_row = node.target is aten.linear.default
        if _is_matrix(values) and rounded and by_row and store_float4(program, known, weight):
            continue
        found = on_grid(values if by_row else values.t()) if _is_matrix(values) else None
        if found is not None:
            numbers, scale = found if by_row else (part.t().contiguous() for part in found)
            _store(program, known, weight, numbers, scale)
        elif rounded:
            # What is dequantised is not folded otherwise, and would be quantised anew in each call.
            weight.replace_all_uses_with(known.store(program, weight.name, values))


def _is_matrix(values: torch.Tensor) -> bool:
    return values.dim() == 2 and values.numel() >= SMALLEST and values.dtype in _FLOATS


def on_grid(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The whole numbers int8[n,k], and scales f32[n,k/block], whose products a matrix is; None if there are none."""
    rows, columns = values.shape
    wide = values.float()
    if not bool(wide.isfinite().all()):
        return None
    for block in (columns, *_BLOCKS):
        if columns % block or block > columns:
            continue
        parts = wide.reshape(rows, columns // block, block)
        largest = parts.abs().amax(2)
        rough = 4 * torch.finfo(values.dtype).eps * largest
        sorted_parts = torch.cat([parts, parts.new_zeros(rows, columns // block, 1)], 2).sort(2).values
        steps = sorted_parts.diff(dim=2)
        step = torch.where(steps > rough.unsqueeze(2), steps, torch.inf).amin(2)
        step = torch.where(step.isfinite(), step, torch.ones_like(step))
        for part in (1, 2, 3):
            # Rounded ends of a small step say little about it; those of the largest number say more.
            scale = step / part
            count = (largest / scale).round()
            scale = torch.where(count > 0, largest / count.clamp(min=1), scale)
            numbers = (parts / scale.unsqueeze(2)).round()
            error = (numbers * scale.unsqueeze(2) - parts).abs().amax(2)
            if bool((numbers.abs() <= 127).all()) and bool((error <= rough).all()):
                return numbers.reshape(rows, columns).to(torch.int8), scale
    return None


def _is_rounded(weight: Node) -> bool:
    """Whether a value is computed from what is dequantised or rounded."""
    waiting, seen = [weight], set[Node]()
    while waiting:
        node = waiting.pop()
        if node.target in DEQUANTIZERS or node.target is aten.round.default:
            return True
        if node not in seen:
            seen.add(node)
            waiting += node.all_input_nodes
    return False


def _is_unpacked(weight: Node, known: KnownValues) -> bool:
    """Whether a value is computed from stored whole numbers that hold at least four bits for each of its elements."""
    waiting, seen, held = [weight], set[Node](), 0
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if known.is_stored(node):
            stored = known.of(node)
            if stored is not None and stored.dtype in _WHOLE:
                held = max(held, stored.numel() * stored.itemsize)
        waiting += node.all_input_nodes
    return held * 2 >= value_of(weight).numel()


def _store(program: Program, known: KnownValues, weight: Node, numbers: torch.Tensor, scale: torch.Tensor) -> None:
    data = known.store(program, weight.name, numbers)
    steps = known.store(program, f"{weight.name}_scale", scale)
    with weight.graph.inserting_before(weight):
        new = insert_call(weight.graph, DEQUANTIZE, (data, steps, None, value_of(weight).dtype), like=weight)
    weight.replace_all_uses_with(new)
