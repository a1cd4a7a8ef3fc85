"""Expanding single nodes by their operator's decomposition, and leaving the rest of the graph as it is.

`ExportedProgram.run_decompositions` traces the whole model anew. Here each distinct call (operator, arguments, types)
is traced once, however often a model repeats it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import sympy
import torch
from torch._subclasses.functional_tensor import dispatch_functionalize
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from ...compiler.ir.expanded_call import ExpandedCall, NotExpandable, sizes_stay_open
from ...compiler.ir.graph import KEPT_META, layouts, refresh_values
from ...compiler.ir.program import fake_mode_of

Table = Mapping[Any, Callable[..., Any]]

_NORMS_WITH_STATISTICS = frozenset({torch.ops.aten.batch_norm.default, torch.ops.aten.instance_norm.default})


def expandable(graph: Graph) -> bool:
    """Whether nodes can be expanded one by one.

    Nothing writes to a tensor, there are no subgraphs, and no calls of `torch.func` (`torch.vmap` is some), which say
    what the nodes between them do.
    """
    return not any(
        node.op == "get_attr" or (node.op == "call_function" and (_writes(node) or _transforms(node)))
        for node in graph.nodes
    )


def _transforms(node: Node) -> bool:
    return str(getattr(node.target, "__module__", "")).startswith("torch._functorch.")


def _writes(node: Node) -> bool:
    if node.target in _NORMS_WITH_STATISTICS:
        # In training mode these update running statistics, although their schema does not say so.
        return node.args[3] is not None and node.args[5] is True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


@dataclass
class Expansion:
    """Expands nodes of a graph, in place: those for which `chosen(target)` is true, by the decompositions of `table`.

    Composite operators without an entry of their own expand into what PyTorch's dispatcher makes of them.
    """

    table: Table
    chosen: Callable[[Any], bool]
    _traced: dict[Any, GraphModule] = field(default_factory=dict)

    def failures(self, graph: Graph) -> dict[Node, str]:
        """The chosen nodes that cannot be expanded, each with the reason; nothing is changed."""
        failed = {}
        for node in self._chosen(graph):
            try:
                self._trace(node)
            except Exception as error:
                # A rule is PyTorch's or a user's code: whatever it raises concerns this one node.
                failed[node] = str(error) if isinstance(error, NotExpandable) else summary_of(error)
        return failed

    def run(self, graph: Graph, left: Collection[Node] = ()) -> None:
        """Expand every chosen node but those of `left`; the others stay as they are.

        Raises:
            NotExpandable: a decomposition makes constants or sizes of its own; nothing was changed.
        """
        nodes = [node for node in self._chosen(graph) if node not in left]
        bodies = [self._trace(node) for node in nodes]
        relaid = [result for node, body in zip(nodes, bodies, strict=True) for result in inline(node, body)]
        graph.eliminate_dead_code()
        refresh_values(graph, relaid)

    def _chosen(self, graph: Graph) -> list[Node]:
        return [node for node in graph.nodes if node.op == "call_function" and self.chosen(node.target)]

    def _trace(self, node: Node) -> GraphModule:
        if _sizes(node) - {symbol for source in node.all_input_nodes for symbol in _sizes(source)}:
            raise NotExpandable(f"the size of the result of {node.name} depends on values")
        target: Any = node.target
        call = ExpandedCall.of(node, self.table.get(target, target))
        if call.key not in self._traced:
            mode = fake_mode_of(node.graph) or nullcontext()
            with torch.no_grad(), mode, sizes_stay_open(node.graph):
                body = make_fx(call.run, decomposition_table=dict(self.table))(*call.values)
                if not expandable(body.graph):
                    # PyTorch's own rules write to tensors that they made themselves.
                    body = make_fx(dispatch_functionalize(body), decomposition_table=dict(self.table))(*call.values)
            if body.graph.find_nodes(op="get_attr"):
                raise NotExpandable(f"the decomposition of {node.target} has a constant")
            self._traced[call.key] = body
        return self._traced[call.key]


def inline(node: Node, body: GraphModule) -> list[Node]:
    """Put a body in the place of a node; returns the results that lie in memory otherwise than the node's did."""
    graph = node.graph
    mapping: dict[Node, Node] = dict(zip(body.graph.find_nodes(op="placeholder"), node.all_input_nodes, strict=True))
    meta = {key: node.meta[key] for key in KEPT_META if key in node.meta}
    with graph.inserting_before(node):
        for inner in (item for item in body.graph.nodes if item.op == "call_function"):
            mapping[inner] = graph.node_copy(inner, lambda argument: mapping[argument])
            mapping[inner].meta = {**meta, "val": inner.meta.get("val")}
    results: Any = map_arg(body.graph.output_node().args[0], lambda argument: mapping[argument])
    pairs = zip(_leaves(node.meta.get("val")), _leaves(results), strict=False)
    relaid = [new for old, new in pairs if isinstance(new, Node) and layouts(new.meta.get("val")) != layouts(old)]
    _replace(node, results)
    return relaid


def _leaves(value: Any) -> list[Any]:
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list | tuple) else [value]


def _replace(node: Node, results: Any) -> None:
    """Let the users of a node read a result, or the results (also in lists) that they pick, and erase the node."""
    if isinstance(results, list | tuple):
        for user in list(node.users):
            assert user.target is operator.getitem, f"{user} reads all results of {node} at once"
            _replace(user, results[int(str(user.args[1]))])
    else:
        node.replace_all_uses_with(results)
    node.graph.erase_node(node)


def summary_of(error: BaseException) -> str:
    """An error as its type and the first line of its message, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:300]


def _sizes(node: Node) -> set[sympy.Symbol]:
    """The sizes in a node's value that depend on the values of tensors."""
    leaves = pytree.tree_leaves(node.meta.get("val"))
    tracked = [
        leaf for leaf in leaves if isinstance(leaf, torch.Tensor | torch.SymInt | torch.SymFloat | torch.SymBool)
    ]
    return {symbol for leaf in tracked for symbol in free_unbacked_symbols(leaf)}
