"""Casts in the graph: one `_to_copy` per value and type, and values whose type follows."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Graph, Node

from ...compiler.ir.annotations import mark_cast
from ...compiler.ir.dtypes import short_name
from ...compiler.ir.graph import insert_call
from ...compiler.ir.operators import DEQUANTIZERS
from ...compiler.ir.program import fake_mode_of
from .values import tensor_of

aten = torch.ops.aten


@dataclass
class Casts:
    """Inserts casts into a graph, each value to each type once, right behind the value."""

    graph: Graph
    count: int = 0
    _made: dict[tuple[Node, torch.dtype, bool], Node] = field(default_factory=dict)

    def cast(self, value: Node, dtype: torch.dtype, reader: Node, *, clamp: bool = False) -> Node:
        """The node that holds `value` as `dtype`; `reader` lends its source line if an input has none.

        With `clamp`, finite magnitudes beyond half of the type's largest number are cut to that, so that they stay
        finite even after something has been added to them.
        """
        key = (value, dtype, clamp)
        if key not in self._made:
            with self.graph.inserting_before(self._behind(value)):
                like = reader if value.op == "placeholder" else value
                source = self._clamped(value, dtype, like) if clamp else value
                if source.target in DEQUANTIZERS:
                    # TensorRT dequantises to any type, and keeps a weight in few bits where nothing comes between.
                    node = insert_call(self.graph, source.target, (*source.args[:-1], dtype), like=like)
                else:
                    node = insert_call(self.graph, aten._to_copy.default, (source,), {"dtype": dtype}, like=like)
                self._made[key] = _marked(node, f"{value.name}_{short_name(dtype)}")
            self.count += 1
        return self._made[key]

    def _clamped(self, value: Node, dtype: torch.dtype, like: Node) -> Node:
        limit = torch.finfo(dtype).max / 2
        node = insert_call(self.graph, aten.clamp.default, (value, -limit, limit), like=like)
        return _marked(node, f"{value.name}_clamped")

    def _behind(self, value: Node) -> Node:
        node = value.next
        while node.op == "placeholder":
            node = node.next
        return node

    def cast_arguments(
        self, node: Node, old: torch.dtype, new: torch.dtype, among: Container[Node] | None = None
    ) -> None:
        """Let `node` read as `new` its arguments of type `old`; only those in `among`, if that is given."""
        for source in list(node.all_input_nodes):
            value = tensor_of(source)
            if value is not None and value.dtype is old and (among is None or source in among):
                node.replace_input_with(source, self.cast(source, new, node))


def _marked(node: Node, name: str) -> Node:
    named(node, name)
    mark_cast(node)
    return node


def named(node: Node, name: str) -> Node:
    """The node under another name, or one close to it if that is taken."""
    node.name = node.graph._graph_namespace.create_name(name, None)
    return node


def retype(node: Node, old: torch.dtype, new: torch.dtype) -> None:
    """Set the type of a node's value, or of its several values, from `old` to `new`; shapes and strides stay."""
    mode = fake_mode_of(node.graph)

    def convert(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(convert(item) for item in value)
        if not isinstance(value, torch.Tensor) or value.dtype is not old:
            return value
        with mode:
            return torch.empty_strided(value.shape, value.stride(), dtype=new, device=value.device)

    if "val" in node.meta:
        node.meta["val"] = convert(node.meta["val"])


def has_dtype(node: Node, dtype: torch.dtype) -> bool:
    """Whether the node yields a tensor, or several that include one, of that type."""
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(item, torch.Tensor) and item.dtype is dtype for item in values)
