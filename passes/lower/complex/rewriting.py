"""Putting what the rules make of nodes into the graph, and turning numbers into pairs and back where it ends."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from ....compiler.ir.annotations import annotate_node, clear
from ....compiler.ir.expanded_call import NotExpandable
from ....compiler.ir.graph import KEPT_META, insert_call
from ....compiler.ir.program import Program
from ....compiler.ir.symbols import same_size
from ..casts import named
from ..values import tensor_of
from .constants import Constants
from .fourier import TRANSFORMS
from .moves import READ_MEMORY
from .pair import Pair
from .traced import Rule, Traced, Tracer, leaves_of, map_leaves

aten = torch.ops.aten


@dataclass
class Rewriting:
    """Rewrites nodes of one program in place.

    `values` are the parts of the complex values that are known in parts: a `Pair` of nodes, or a list of such. What is
    rewritten reads these; what is not goes on reading the complex node, until `finish` puts one together for it.
    """

    program: Program
    rules: Mapping[Any, Rule]
    constants: Constants
    table: Mapping[Any, Any]
    values: dict[Node, Any] = field(default_factory=dict)
    _tracer: Tracer = field(init=False)
    _rewritten: list[Node] = field(default_factory=list)
    _interleaved: dict[Node, Pair] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tracer = Tracer(self.program.graph, self.table)

    def rewrite(self, node: Node) -> None:
        """Put real operators beside a node, for those who read it.

        Raises:
            NotExpandable: there is no rule for these arguments; nothing was changed.
        """
        if node.target is operator.getitem:
            self._pick(node)
            return
        if self._reads_one_part(node):
            return
        if node.target in READ_MEMORY and not _lies_in_order(node.all_input_nodes[0]):
            raise NotExpandable(f"{node.name} reads memory that is in another order than the numbers")
        sources = [source for source in node.all_input_nodes if is_complex(source) and source not in self.values]
        for source in sources:
            self.values[source] = self._apart(source, node)
        self.constants.device = device_of(node)
        traced = self._tracer.trace(node, self.rules[node.target], self.values)
        if node.target in TRANSFORMS:
            annotate_node(node, exact=True)
        self._put(node, traced)

    def finish(self) -> None:
        """Put complex numbers together where something still reads them, and erase what nothing reads."""
        for node in reversed(self._rewritten):
            value = self.values.get(node)
            if node.users and isinstance(value, Pair):
                node.replace_all_uses_with(self._together(node, value))
            if not node.users:
                self.program.graph.erase_node(node)

    # --- one node --------------------------------------------------------------------------------------------------
    def _pick(self, node: Node) -> None:
        producer, index = node.args
        assert isinstance(producer, Node)
        picked = self.values[producer][index]
        self._rewritten.append(node)
        if isinstance(picked, Node):
            node.replace_all_uses_with(picked)
        else:
            self.values[node] = picked

    def _reads_one_part(self, node: Node) -> bool:
        """Whether the node reads one part of a complex tensor, which then is that part itself."""
        source = node.args[0] if node.args else None
        pair = self._interleaved.get(source) if isinstance(source, Node) else None
        if pair is None or node.target is not aten.select.int:
            return False
        dims = len(node.meta["val"].shape)
        _, dim, index = node.args
        if dim not in (-1, dims) or index not in (0, 1):
            return False
        node.replace_all_uses_with(leaves_of(pair)[1 if index else 0])
        self._rewritten.append(node)
        return True

    def _put(self, node: Node, traced: Traced) -> None:
        results = self._inline(node, traced)
        value = map_leaves(traced.structure, lambda number: results[number])
        self._rewritten.append(node)
        if isinstance(value, Pair):
            self.values[node] = self._named(node, value)
        elif isinstance(value, list):
            self.values[node] = value
        else:
            if node.target is aten.view_as_real.default:
                self._interleaved[value] = self.values[node.all_input_nodes[0]]
            node.replace_all_uses_with(value)

    def _inline(self, node: Node, traced: Traced) -> list[Node]:
        graph, body = node.graph, traced.body
        given = [leaf for source in node.all_input_nodes for leaf in leaves_of(self.values.get(source, source))]
        mapping: dict[Node, Node] = dict(zip(body.graph.find_nodes(op="placeholder"), given, strict=True))
        meta = {key: node.meta[key] for key in KEPT_META if key in node.meta}
        with graph.inserting_before(node):
            for inner in body.graph.nodes:
                if inner.op == "get_attr":
                    mapping[inner] = self.constants.node_of(getattr(body, str(inner.target)))
                elif inner.op == "call_function":
                    mapping[inner] = graph.node_copy(inner, lambda argument: mapping[argument])
                    mapping[inner].meta = {**meta, "val": inner.meta.get("val")}
        results: Any = body.graph.output_node().args[0]
        return [mapping[result] for result in results]

    @staticmethod
    def _named(node: Node, pair: Pair) -> Pair:
        """The parts, named after the node where they were made for it."""
        for part, suffix in zip(leaves_of(pair), ("real", "imag"), strict=True):
            if part.op == "call_function" and not part.users:
                named(part, f"{node.name}_{suffix}")
        return pair

    # --- borders ---------------------------------------------------------------------------------------------------
    def _apart(self, source: Node, reader: Node) -> Pair:
        """The parts of a complex tensor that PyTorch computes, or is given."""
        like = reader if source.op in ("placeholder", "get_attr") else source
        place = source.next
        while place.op == "placeholder":
            place = place.next
        graph = self.program.graph
        with graph.inserting_before(place):
            both = named(insert_call(graph, aten.view_as_real.default, (source,), like=like), f"{source.name}_parts")
            dim = len(source.meta["val"].shape)
            parts: list[Any] = [insert_call(graph, aten.select.int, (both, dim, index), like=like) for index in (0, 1)]
        for made in (both, *parts):
            clear(made, "complex", "exact")
        return self._named(source, Pair(*parts))

    def _together(self, node: Node, pair: Pair) -> Node:
        """A complex tensor of its parts, for PyTorch or the caller."""
        graph, dim = self.program.graph, len(node.meta["val"].shape)
        with graph.inserting_before(node):
            last = [
                insert_call(graph, aten.unsqueeze.default, (part, dim), like=node) for part in (pair.real, pair.imag)
            ]
            both = insert_call(graph, aten.cat.default, (last, dim), like=node)
            named(both, f"{node.name}_parts")
            whole = insert_call(graph, aten.view_as_complex.default, (both,), like=node)
        return named(whole, f"{node.name}_complex")


def device_of(node: Node) -> torch.device:
    """Where the node's results are."""
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return next((leaf.device for leaf in leaves if isinstance(leaf, torch.Tensor)), torch.device("cpu"))


def _lies_in_order(node: Node) -> bool:
    """Whether the elements of a tensor, in order, are all that is read of its memory; so are its parts' then."""
    value = tensor_of(node)
    return value is not None and value.is_contiguous() and same_size(value.storage_offset(), 0)


def is_complex(node: Node) -> bool:
    """Whether a node yields a complex tensor."""
    value = tensor_of(node)
    return value is not None and value.is_complex()


__all__ = ["NotExpandable", "Rewriting", "is_complex"]
