"""Weights in few bits that engines will take as floats, and that multiply the same input: as one weight.

TensorRT joins products of one input itself if their weights are constants, and not if they are inputs of the engine.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import torch
from torch.fx import Node

from ...compiler.ir.annotations import annotate_node, annotations_of
from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.graph import insert_call
from ...compiler.ir.operators import DEQUANTIZE
from ...compiler.ir.program import Program
from ...compiler.tensorrt.product_times import LARGE, slower, usual_sizes
from .joined_products import LEAST_WIDTH, columns_of, cut
from .known_values import KnownValues
from .quantised_operands import operands_of
from .values import value_of

aten = torch.ops.aten


def join_float_weights(program: Program, known: KnownValues, halves: bool) -> None:
    """Make one product of linear layers of the same input whose weights are stored alike, in place.

    Args:
        program: whose products are final.
        known: the values of its constants.
        halves: whether products in float32 will be computed in halves.
    """
    groups: dict[Hashable, list[Node]] = {}
    for node in program.op_nodes:
        if node.target is not aten.linear.default or node.kwargs:
            continue
        left, right = operands_of(node)
        if left.target is DEQUANTIZE or right.target is not DEQUANTIZE or len(right.users) != 1:
            continue
        if not (value_of(node).dtype in HALVES or halves):
            continue
        data, steps = known.of(right.args[0]), known.of(right.args[1])
        if data is None or steps is None or data.dim() != 2 or right.args[2] is not None:
            continue
        alike = data.dtype, right.args[3], annotations_of(right).get("stored"), tuple(steps.shape[1:])
        groups.setdefault((left, *alike), []).append(node)
    for group in groups.values():
        if len(group) > 1 and math.gcd(*map(columns_of, group)) >= LEAST_WIDTH and _will_be_floats(group):
            _join(program, known, group)


def _will_be_floats(group: Sequence[Node]) -> bool:
    """Whether their weights together are large, and their products faster with floats."""
    left, right = operands_of(group[0])
    weights = sum(value_of(operands_of(node)[1]).numel() for node in group)
    sizes = usual_sizes(value_of(left), weights)
    if sizes is None or weights < LARGE:
        return False
    if value_of(right.args[0]).dtype != torch.int8:
        return True
    form = "int4 weights" if annotations_of(right).get("stored") == "int4" else "int8 weights"
    return slower(form, *sizes) is not None


def _join(program: Program, known: KnownValues, group: Sequence[Node]) -> None:
    first, graph = group[0], group[0].graph
    left, right = operands_of(first)
    rights = [operands_of(node)[1] for node in group]
    biases = [node.args[2] if len(node.args) > 2 else None for node in group]
    values = [known.of(bias) for bias in biases if bias is not None]
    if any(value is None for value in values):
        return
    data = torch.cat([_value(known, item.args[0]).view(torch.uint8) for item in rights])
    steps = [_value(known, item.args[1]) for item in rights]
    columns = [
        step.reshape(1, 1).expand(columns_of(node), 1) if step.numel() == 1 else step
        for step, node in zip(steps, group, strict=True)
    ]
    stored = known.store(program, f"{first.name}_data", data.view(_value(known, right.args[0]).dtype))
    scale = known.store(program, f"{first.name}_scale", torch.cat(columns).contiguous())
    bias = None
    if values:
        dtype = value_of(first).dtype
        filled = [
            torch.zeros(columns_of(node), dtype=dtype) if item is None else _value(known, item).cpu()
            for node, item in zip(group, biases, strict=True)
        ]
        bias = known.store(program, f"{first.name}_bias", torch.cat(filled).to(data.device))
    with graph.inserting_before(first):
        weight = insert_call(graph, DEQUANTIZE, (stored, scale, None, right.args[3]), like=right)
        annotate_node(weight, stored=annotations_of(right).get("stored"))
        args = (left, weight) if bias is None else (left, weight, bias)
        product = insert_call(graph, aten.linear.default, args, like=first)
        annotate_node(product, joined=len(group), floats=annotations_of(first).get("floats"))
        parts = cut(product, group)
    for node, part in zip(group, parts, strict=True):
        node.replace_all_uses_with(part)
        graph.erase_node(node)


def _value(known: KnownValues, node: object) -> torch.Tensor:
    value = known.of(node)
    assert value is not None, f"{node} is constant"
    return value
