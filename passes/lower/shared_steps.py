"""Equal scales as one constant: what quantises one tensor several times in the same way does it once."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch.fx import Node

from ...compiler.ir.memory import fingerprint
from ...compiler.ir.operators import DEQUANTIZE, QUANTIZE
from ...compiler.ir.program import Program
from .known_values import KnownValues

_LARGEST = 4096
"""Numbers up to which scales are compared."""


def share_steps(program: Program, known: KnownValues) -> None:
    """Let calls read one constant for scales of the same numbers, and merge those that are the same then, in place."""
    first: dict[Hashable, Node] = {}
    calls: dict[Hashable, Node] = {}
    for node in program.op_nodes:
        if node.target not in (QUANTIZE, DEQUANTIZE):
            continue
        values = known.of(node.args[1])
        if values is not None and values.numel() <= _LARGEST:
            shared = first.get(_key(values))
            if shared is None:
                shared = first[_key(values)] = _stored(node, values, program, known)
            node.args = (node.args[0], shared, *node.args[2:])
        same = calls.setdefault((node.target, node.args), node)
        if same is not node:
            node.replace_all_uses_with(same)
            program.graph.erase_node(node)


def _stored(node: Node, values: torch.Tensor, program: Program, known: KnownValues) -> Node:
    """A scale as a constant: one that is computed from weights may depend on what stays in few bits."""
    scale = node.args[1]
    if isinstance(scale, Node) and known.is_stored(scale):
        return scale
    return known.store(program, f"{node.name}_scale", values)


def _key(values: torch.Tensor) -> Hashable:
    return values.dtype, tuple(values.shape), fingerprint(values)
