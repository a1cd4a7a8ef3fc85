"""Products of rows whose scales are computed at run time, and that take longer in eight bits: in halves, exactly.

What is multiplied are whole numbers, or float8, as floats of at most 1; the row's scale is multiplied after the product
as before. Halves hold these exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch.fx import Node

from ...compiler.ir.annotations import annotate_node
from ...compiler.ir.graph import insert_call
from ...compiler.ir.operators import DEQUANTIZE, QUANTIZE
from ...compiler.ir.program import Program
from .known_values import KnownValues
from .quantised_operands import Operand, operands_of, quantised, rounded_to
from .settled_steps import quantised_in_floats
from .stored_weights import full_of
from .unscaled_products import keep_in_float32
from .values import node_of, remove_dead, value_of

aten = torch.ops.aten

_PRODUCTS = frozenset({aten.linear.default, aten.mm.default, aten.matmul.default})
_SMALL = {torch.int8: 2.0**-7, torch.float8_e4m3fn: 2.0**-9}
"""What makes the numbers of a type at most 1."""
_FLOATS_AND_WHOLE = frozenset({torch.float32, torch.int32})

Why = Callable[[Operand, Node, int], str]
"""Why a product is slow, of its left operand, its weight, and the numbers of all weights that multiply the former."""


def leave_slow_rows(program: Program, known: KnownValues, halves: frozenset[torch.dtype], why_slow: Why) -> None:
    """Multiply in halves where that takes less time, in place.

    Args:
        program: whose products with such rows are in float32.
        known: the values of its constants.
        halves: the half types that products in float32 are computed in.
        why_slow: "" where eight bits are faster.
    """
    found = []
    columns: Counter[Node] = Counter()
    for node in program.op_nodes:
        if node.target not in _PRODUCTS or len(node.args) != 2 or value_of(node).dtype != torch.float32:
            continue
        left, right = operands_of(node)
        first, second = quantised(left), quantised(right)
        if first is None or first.quantize is None or second is None or second.quantize is not None:
            continue
        if first.dtype != second.dtype or value_of(right).dim() != 2 or known.number(left.args[1]) != 1:
            continue
        if known.of(first.quantize.args[1]) is not None:
            continue
        columns[left] += value_of(right).numel()
        dtype = rounded_to(node, steps=8, kept=_FLOATS_AND_WHOLE) or next(iter(sorted(halves, key=str)), None)
        if dtype is not None and value_of(_as_traced(node)).dtype == torch.float32:
            found.append((node, dtype))
    made: dict[tuple[Node, torch.dtype], Node] = {}
    for node, dtype in found:
        left, right = operands_of(node)
        first = quantised(left)
        assert first is not None
        reason = why_slow(first, right, columns[left])
        if reason:
            if (left, dtype) not in made:
                made[left, dtype] = _as_floats(first, dtype)
            product = _multiply(node, made[left, dtype], first, dtype, known)
            annotate_node(product, floats=reason)
    remove_dead(program.graph)


def _as_floats(operand: Operand, dtype: torch.dtype) -> Node:
    """The numbers of a left operand as halves of at most 1, without TensorRT seeing that they have eight bits."""
    old, quantize = operand.dequantize, node_of(operand.quantize)
    graph, small = old.graph, _SMALL[operand.dtype]
    with graph.inserting_before(old):
        data = insert_call(graph, QUANTIZE, quantize.args, like=quantize)
        whole = insert_call(graph, DEQUANTIZE, (data, full_of(graph, 1.0, old), None, torch.float32), like=old)
        scaled = insert_call(graph, aten.mul.Tensor, (whole, small), like=old)
        result = insert_call(graph, aten._to_copy.default, (scaled,), {"dtype": dtype}, like=old)
    if operand.dtype == torch.int8:
        quantised_in_floats(data)
    return result


def _multiply(node: Node, left: Node, operand: Operand, dtype: torch.dtype, known: KnownValues) -> Node:
    """Compute a product in halves, and what it was in float32 of that; the new product."""
    graph, (_, right) = node.graph, operands_of(node)
    small, scale = _SMALL[operand.dtype], node_of(right.args[1])
    # A weight whose scale comes later, too, is made smaller as its input is.
    part = small if known.number(scale) == 1 else 1.0
    with graph.inserting_before(node):
        steps = scale if part == 1.0 else full_of(graph, part, right)
        weight = insert_call(graph, DEQUANTIZE, (right.args[0], steps, None, dtype), like=right)
        product = insert_call(graph, node.target, (left, weight), like=node)
        wide = insert_call(graph, aten._to_copy.default, (product,), {"dtype": torch.float32}, like=node)
        result = insert_call(graph, aten.mul.Tensor, (wide, 1 / (small * part)), like=node)
    _as_traced(node).replace_all_uses_with(result)
    keep_in_float32(wide)
    return product


def _as_traced(node: Node) -> Node:
    """A product as float32 after it was made whole numbers in between: halves of them need not be whole."""
    while len(node.users) == 1 and (cast := next(iter(node.users))).target is aten._to_copy.default:
        if value_of(cast).dtype not in _FLOATS_AND_WHOLE:
            break
        node = cast
    return node
