"""Products of whole numbers, or float8, whose scales are multiplied afterwards: halves do not hold their sums."""

from __future__ import annotations

import torch
from torch.fx import Node

from ...compiler.ir.annotations import annotate_node
from ...compiler.ir.program import Program
from .known_values import KnownValues
from .quantised_operands import MATRIX_PRODUCTS, operands_of, quantised
from .values import value_of

aten = torch.ops.aten

_SCALINGS = frozenset(
    {aten.mul.Tensor, aten.div.Tensor, aten.view.default, aten.reshape.default, aten._unsafe_view.default}
)
_WIDE = frozenset({torch.float32, torch.int32})
_REASON = "a sum of quantised numbers before their scales are multiplied"


def keep_unscaled_in_float32(program: Program, known: KnownValues) -> None:
    """Let such products, and what scales them, compute in float32 whatever precisions are enabled, in place."""
    for node in program.op_nodes:
        if node.target not in MATRIX_PRODUCTS or value_of(node).dtype != torch.float32:
            continue
        if any(quantised(each) is not None and known.number(each.args[1]) == 1 for each in operands_of(node)):
            keep_in_float32(node)


def keep_in_float32(node: Node) -> None:
    """Let a node in float32, and what only scales its result, compute in float32."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        annotate_node(current, float32=_REASON)
        for user in current.users:
            if user.target in _SCALINGS or user.target is aten._to_copy.default:
                value = value_of(user)
                waiting += [user] if value.dtype in _WIDE else []
