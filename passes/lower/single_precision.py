"""Scales that PyTorch's operators choose in float32 and hand over in float64, which TensorRT does not have."""

from __future__ import annotations

import torch
from torch.fx import Node

from ...compiler.ir.graph import fake_value
from ...compiler.ir.program import Program
from .quantised_operands import MOVES
from .values import tensor_of

aten = torch.ops.aten


def single_precision(program: Program) -> None:
    """Leave out casts of float32 to float64 of which nothing is read but float32, in place."""
    for node in program.op_nodes:
        if node.target is not aten._to_copy.default or _dtype(node) is not torch.float64:
            continue
        source, path = node.all_input_nodes[0], _moved(node)
        if _dtype(source) is not torch.float32 or path is None:
            continue
        node.replace_all_uses_with(source)
        for reader in path:
            if reader.target is aten._to_copy.default:
                reader.replace_all_uses_with(reader.all_input_nodes[0])
                program.graph.erase_node(reader)
            else:
                reader.meta["val"] = fake_value(reader)
        program.graph.erase_node(node)


def _moved(node: Node) -> list[Node] | None:
    """What reads a value in graph order: moves of it, up to casts to float32; None if something else does."""
    found: dict[Node, None] = {}
    waiting = list(node.users)
    while waiting:
        user = waiting.pop()
        if user.target is aten._assert_tensor_metadata.default:
            return None
        if user.target in MOVES:
            waiting += user.users
        elif user.target is not aten._to_copy.default or _dtype(user) is not torch.float32:
            return None
        found[user] = None
    return [item for item in node.graph.nodes if item in found]


def _dtype(node: Node) -> torch.dtype | None:
    value = tensor_of(node)
    return None if value is None else value.dtype
