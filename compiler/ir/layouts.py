"""Inputs of which it matters how they lie in memory: operators give a view of some and a copy of others.

`x.flatten().add_(1)` writes to `x` if it is contiguous, and to a copy if not. An exported graph has what holds for the
strides that it was exported with.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import torch
from torch.fx import Graph, Node

from .aliasing import is_view, memory_of, written_by
from .annotations import annotations_of

aten = torch.ops.aten

_VIEW_OR_COPY = frozenset(
    {
        aten.contiguous.default,
        aten.flatten.using_ints,
        aten.ravel.default,
        aten.reshape.default,
        aten.reshape_as.default,
        aten._reshape_alias.default,
        # These raise where they cannot be views, which the model may catch.
        aten.view.default,
        aten.view_as.default,
        aten._unsafe_view.default,
    }
)
"""Operators whose result shares memory with their argument only where its strides allow it."""

_BY_STRIDES = frozenset({aten.as_strided.default, aten.as_strided_copy.default, aten.as_strided_.default})
"""Operators that read memory whatever the tensor's own strides are."""

_BY_OFFSET = frozenset({*_BY_STRIDES, aten.as_strided_scatter.default})
"""Operators that can count from where memory begins, which may be before the tensor."""

LAYOUT = "layout"
"""Annotation of an input of which it matters how it lies in memory: `because`, the operator with the user's line, and
`must`, a list of `Must`."""

ASKED = "asked"
"""The same, from what the model asked a tensor when it was exported, which the graph does not show."""


class Must(StrEnum):
    """What a tensor must have in common with the example for what is in the graph, or be."""

    STRIDES = "strides"
    EXACT_STRIDES = "exact strides"
    OFFSET = "offset"
    WHOLE_MEMORY = "whole memory"
    NO_VIEW = "no view"
    NO_GRADIENT = "no gradient"
    NO_MARK = "no mark"
    NO_INFERENCE = "no inference"
    NOT_PINNED = "not pinned"
    NOT_SHARED = "not shared"


MADE_CONTIGUOUS = "contiguous"
"""Annotates a node whose tensor, or a view of it, the model makes contiguous, where that left it as it was."""


def counts_from_the_start(node: Node) -> bool:
    """Whether an operator reads memory at a place that is given from where that begins."""
    place = len(node.target._schema.arguments) - 1 if node.target in _BY_OFFSET else -1
    return place > 0 and (len(node.args) > place or "storage_offset" in node.kwargs)


def inputs_by_layout(graph: Graph) -> dict[Node, list[Node]]:
    """Placeholders whose strides decide what a graph with operators in place does, and the operators that tell so.

    A view or copy decides nothing unless one of both is written to, and the other is read after that.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    deciding = [node for node in graph.nodes if node.target in _BY_STRIDES]
    written = [(node, target) for node in graph.nodes for target in written_by(node)]
    if written:
        aliases: dict[Node, list[Node]] = {}
        for node in graph.nodes:
            aliases.setdefault(memory_of(node), []).append(node)
        for node in graph.nodes:
            if node.target in _VIEW_OR_COPY and any(
                order[node] < order[writer] and _is_seen(node, writer, target, aliases[memory_of(node)], order)
                for writer, target in written
                if memory_of(target) is memory_of(node)
            ):
                deciding.append(node)
        roots = {memory_of(target) for _, target in written}
        deciding += [node for root in roots for node in aliases[root] if MADE_CONTIGUOUS in annotations_of(node)]
    found: dict[Node, list[Node]] = {}
    for node in deciding:
        for placeholder in _tensors_above(node):
            found.setdefault(placeholder, []).append(node)
    return found


def _is_seen(node: Node, writer: Node, target: Node, aliases: list[Node], order: dict[Node, int]) -> bool:
    """Whether what `writer` writes is seen, or would not be, at the other side of a view or copy."""
    through = node in _chain(target)
    other_side = [alias for alias in aliases if (node in _chain(alias)) is not through]
    return any(
        alias.op == "placeholder" or any(order[user] > order[writer] for user in alias.users) for alias in other_side
    )


def _chain(node: Node) -> Iterator[Node]:
    """A node, what it is a view of, and so on."""
    yield node
    while is_view(node):
        node = node.all_input_nodes[0]
        yield node


def _tensors_above(node: Node) -> list[Node]:
    """The placeholders of tensors that a node depends on, but for their sizes."""
    seen, waiting = {node}, [node]  # of a node that is one itself, too
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in seen and isinstance(source.meta.get("val", torch.Tensor()), torch.Tensor | tuple | list):
                seen.add(source)
                waiting.append(source)
    return [found for found in seen if found.op == "placeholder"]
