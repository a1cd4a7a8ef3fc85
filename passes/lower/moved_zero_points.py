"""Inputs of products that are quantised to 0 to 255: moved to -128 to 127 around 0, which the product then corrects.

`round(x / s) + z` is quantised around 0 if `x + (z - 128) * s` is: it then is the same number less 128. A product with
a constant matrix differs by `(z - 128) * s` times the sums of its columns, which is a bias. So TensorRT multiplies what
other quantisers made for unsigned numbers in int8, exactly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from ...compiler.ir.graph import fake_value, insert_call
from ...compiler.ir.operators import DEQUANTIZE
from ...compiler.ir.program import Program
from .known_values import KnownValues
from .quantised_operands import operands_of
from .values import node_of, value_of

aten = torch.ops.aten

_PRODUCTS = frozenset({aten.linear.default, aten.mm.default, aten.addmm.default})


def is_moved(node: Node, known: KnownValues) -> bool:
    """Whether a quantising call is for products with constant int8 matrices only, and to all of 0 to 255."""
    _x, scale, zero_point, low, high, dtype = _arguments(node)
    steps = known.of(scale)
    if (low, high, dtype) != (0, 255, torch.uint8) or steps is None or steps.numel() != 1 or not bool(steps > 0):
        return False
    shift = _shift(zero_point, known)
    readers = [user for user in node.users if user.target is DEQUANTIZE]
    if shift is None or len(readers) != len(node.users):
        return False
    for reader in readers:
        if known.of(reader.args[1]) is None or value_of(reader.args[1]).numel() != 1:
            return False
        if _shift(reader.args[2], known) != shift or not all(_takes(user, reader, known) for user in reader.users):
            return False
    return True


def move_to_zero(node: Node, known: KnownValues, program: Program) -> None:
    """Quantise around 0, and correct the products, in place."""
    x, scale, zero_point, *_ = _arguments(node)
    shift, graph = _shift(zero_point, known), node.graph
    assert shift is not None
    with graph.inserting_before(node):
        moved = insert_call(graph, aten.mul.Tensor, (scale, shift - 128.0), like=node)
        wide = node_of(x)
        if value_of(wide).dtype != torch.float32:
            wide = insert_call(graph, aten._to_copy.default, (wide,), {"dtype": torch.float32}, like=node)
        moved = insert_call(graph, aten.add.Tensor, (wide, moved), like=node)
    node.args = (moved, scale, None, -128, 127, torch.int8)
    node.meta["val"] = fake_value(node)
    for reader in list(node.users):
        steps = known.of(reader.args[1])
        assert steps is not None
        reader.args = (node, reader.args[1], None, reader.args[3])
        for product in list(reader.users):
            _correct(product, (shift - 128.0) * float(steps), known, program)


def _correct(product: Node, offset: float, known: KnownValues, program: Program) -> None:
    """Add to a product what it lacks: its left operand was made larger by `offset`."""
    _, weight = operands_of(product)
    values, result, graph = known.of(weight), value_of(product), product.graph
    assert values is not None
    sums = values.float().sum(1 if product.target is aten.linear.default else 0) * -offset
    lacking = known.store(program, f"{product.name}_correction", sums.to(result.dtype))
    readers = list(product.users)
    with graph.inserting_after(product):
        corrected = insert_call(graph, aten.add.Tensor, (product, lacking), like=product)
    for reader in readers:
        reader.replace_input_with(product, corrected)


def _takes(product: Node, reader: Node, known: KnownValues) -> bool:
    if product.target not in _PRODUCTS or (product.target is aten.addmm.default and len(product.args) > 3):
        return False
    left, right = operands_of(product)
    if left is not reader or right is reader or right.target is not DEQUANTIZE or product.kwargs:
        return False
    values, dtype = known.of(right.args[0]), value_of(product).dtype
    # Halves do not hold a product that is corrected by far more than it is.
    return values is not None and values.dtype == torch.int8 and values.dim() == 2 and dtype == torch.float32


def _shift(zero_point: Any, known: KnownValues) -> float | None:
    return 0.0 if zero_point is None else known.number(zero_point)


def _arguments(node: Node) -> Any:
    return node.args
