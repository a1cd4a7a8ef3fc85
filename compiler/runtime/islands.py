"""What PyTorch runs between engines, compiled by Inductor: runs of operators become one call each."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from ..ir.program import bodies_of, is_getitem, is_symbolic
from ..ir.randomness import draws
from .island_packages import Shelf

ISLANDS = "_trt_passes_islands"
"""Attribute of a compiled module whose attributes are its islands, if Inductor compiles them."""


class Island:
    """Runs a part of a graph, compiled when it is called first, for every kind of inputs; as it is where that fails.

    Args:
        graph: takes tensors and sizes, and returns a tuple of tensors.
        shelf: code that came with the module's file, which is used for inputs of the sizes and devices that it is for.
    """

    def __init__(self, graph: GraphModule, shelf: Shelf | None = None) -> None:
        self.graph = graph
        self.reason: str | None = None
        self._compiled: Callable[..., Any] | None = None
        self._shelf = shelf
        self.ahead = False  # whether it runs code that came with the file

    def __call__(self, *inputs: Any) -> tuple[torch.Tensor, ...]:
        """Run it."""
        if self.reason is None:
            try:
                if self._compiled is None:
                    ahead = None if self._shelf is None else self._shelf.call_for(self.graph, inputs)
                    self._compiled = ahead or torch.compile(self.graph, backend="inductor")
                    self.ahead = ahead is not None
                found: tuple[torch.Tensor, ...] = self._compiled(*inputs)
                return found
            except Exception as error:
                results: tuple[torch.Tensor, ...] = self.graph(*inputs)  # raises what is the caller's mistake
                lines = str(error).strip().splitlines() or [type(error).__name__]
                self.reason = lines[0]
                text = f"a part of the model that stays in PyTorch runs uncompiled, since Inductor fails: {lines[0]}"
                warnings.warn(text, RuntimeWarning, stacklevel=2)
                return results
        eager: tuple[torch.Tensor, ...] = self.graph(*inputs)
        return eager


def take_islands(graph: Graph, shelf: Shelf | None = None) -> dict[str, Island]:
    """Replace runs of operators in a graph, in place, by calls of attributes of `ISLANDS`; the islands by name.

    What draws random numbers, writes to its arguments or takes graphs stays as it is, and so do sizes.
    """
    found: dict[str, Island] = {}
    for run in _runs(graph):
        name = f"island_{len(found):02d}"
        found[name] = Island(_taken(graph, run, name), shelf)
    return found


def _runs(graph: Graph) -> list[list[Node]]:
    """Operators that follow each other, with nothing between that could depend on some and be needed by others."""
    runs: list[list[Node]] = [[]]
    for node in graph.nodes:
        if _can_be_compiled(node):
            runs[-1].append(node)
        elif node.op not in ("placeholder", "get_attr") and runs[-1]:
            runs.append([])
    return [run for run in runs if any(map(_computes, run))]


def _can_be_compiled(node: Node) -> bool:
    if node.op != "call_function" or is_symbolic(node) or bodies_of(node):
        return False
    if is_getitem(node):
        producer = node.args[0]
        return isinstance(producer, Node) and _can_be_compiled(producer)
    schema = getattr(node.target, "_schema", None)
    return schema is not None and not schema.is_mutable and not draws(node) and "assert" not in str(node.target)


def _computes(node: Node) -> bool:
    """Whether a node does more than to make a view."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and all(result.alias_info is None for result in schema.returns)


def _taken(graph: Graph, run: list[Node], name: str) -> GraphModule:
    inside = set(run)
    inputs = list(dict.fromkeys(source for node in run for source in node.all_input_nodes if source not in inside))
    outputs = [node for node in run if any(user not in inside for user in node.users)]
    part = Graph()
    copies: dict[Node, Node] = {source: part.placeholder(f"input_{index}") for index, source in enumerate(inputs)}
    for source, twin in copies.items():
        twin.meta["val"] = source.meta.get("val")
    for node in run:
        copies[node] = part.node_copy(node, copies.__getitem__)
    part.output(tuple(copies[node] for node in outputs))
    with graph.inserting_after(run[-1]):
        call = graph.create_node("call_module", f"{ISLANDS}.{name}", tuple(inputs))
    with graph.inserting_after(call):
        for index, node in reversed(list(enumerate(outputs))):
            node.replace_all_uses_with(
                graph.call_function(operator.getitem, (call, index)), delete_user_cb=lambda user: user not in inside
            )
    for node in reversed(run):
        graph.erase_node(node)
    return GraphModule(torch.nn.Module(), part)
