"""Values of nodes that depend on constants only, computed when somebody asks for them."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node
from torch.fx.node import map_arg

from ...compiler.ir.program import Program, is_symbolic
from .values import is_pure, same_sizes, static_bytes, tensor_of

aten = torch.ops.aten

_FILLED = frozenset({aten.full.default, aten.full_like.default, aten.zeros_like.default, aten.zeros.default})


class KnownValues:
    """Finds the values of nodes of one program; what is asked for twice is computed once."""

    def __init__(self, program: Program) -> None:
        nodes = program.nodes_by_name
        self._known: dict[Node, torch.Tensor | None] = {nodes[n]: tensor for n, tensor in program.constants.items()}
        self._constants = frozenset(self._known)

    def is_stored(self, node: Any) -> bool:
        """Whether a node is a parameter, buffer or constant of the program."""
        return isinstance(node, Node) and node in self._constants

    def of(self, node: Any) -> torch.Tensor | None:
        """The tensor that a node always yields; None if it depends on an input, or is none."""
        if not isinstance(node, Node):
            return None
        waiting = [node]
        while waiting:
            current = waiting[-1]
            missing = [source for source in current.all_input_nodes if source not in self._known]
            if current not in self._known and missing and _is_computable(current):
                waiting += missing
                continue
            waiting.pop()
            if current not in self._known:
                self._known[current] = self._computed(current)
        return self._known[node]

    def number(self, node: Any) -> float | None:
        """The number that all elements of a node's tensor are; None if they differ or are not known."""
        if isinstance(node, Node) and node.target in _FILLED:
            filled = {aten.full.default: 1, aten.full_like.default: 1}.get(node.target)
            value = 0 if filled is None else node.args[filled]
            return float(value) if isinstance(value, int | float) else None
        if isinstance(node, Node) and node.target in _SAME:
            return self.number(node.args[0])
        values = self.of(node)
        if values is None or not values.numel():
            return None
        first = values.reshape(-1)[0]
        return float(first) if bool((values == first).all()) else None

    def store(self, program: Program, name: str, values: torch.Tensor) -> Node:
        """The node of a new constant of the program, whose values are known; see `Program.add_constant`."""
        node = program.add_constant(name, values)
        self._known[node] = values
        self._constants |= {node}
        return node

    def _computed(self, node: Node) -> torch.Tensor | None:
        expected = tensor_of(node)
        if not _is_computable(node) or expected is None or static_bytes(expected) is None:
            return None
        sources = {source: self._known[source] for source in node.all_input_nodes}
        if any(value is None for value in sources.values()):
            return None
        args, kwargs = map_arg((node.args, node.kwargs), lambda source: sources[source])
        target: Any = node.target
        try:
            with torch.no_grad():
                value = target(*args, **kwargs)
        except Exception:
            # What has no kernel here, or not enough memory, is left to the model's calls.
            return None
        agrees = isinstance(value, torch.Tensor) and same_sizes(value.shape, expected.shape)
        return value if agrees and value.dtype == expected.dtype else None


_SAME = frozenset(
    {aten._to_copy.default, aten.view.default, aten.reshape.default, aten.expand.default, aten.clone.default}
)
"""Operators whose results are all one number if what they read is."""


def _is_computable(node: Node) -> bool:
    if node.op != "call_function" or is_symbolic(node):
        return False
    return is_pure(node)
