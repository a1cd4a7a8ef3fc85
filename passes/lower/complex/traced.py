"""A rule's work for one node: the graph of real operators that it makes of the node's arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._subclasses.functional_tensor import dispatch_functionalize
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from ....compiler.ir.aliasing import mutates
from ....compiler.ir.expanded_call import NotExpandable, plain, signature_of, sizes_stay_open
from ....compiler.ir.program import fake_mode_of
from .pair import Pair, parts_dtype

Rule = Callable[..., Any]


@dataclass(frozen=True)
class Traced:
    """A graph that takes the parts of a node's inputs one after the other, and gives those of its results.

    `structure` is what the node yields: 0, 1, … stand for the results of the graph, in pairs where it is complex.
    """

    body: GraphModule
    structure: Any


@dataclass
class Tracer:
    """Traces the rules of one graph's nodes, down to core ATen by a table of decompositions.

    Equal calls are traced once.
    """

    graph: Graph
    table: Mapping[Any, Callable[..., Any]]
    _known: dict[Any, Traced] = field(default_factory=dict)

    def trace(self, node: Node, rule: Rule, values: Mapping[Node, Any]) -> Traced:
        """What a rule makes of a node.

        Args:
            node: the call.
            rule: takes the real type to compute in and the call's arguments, with a `Pair` for every complex tensor.
            values: for every input that is complex, its parts: a `Pair` of nodes, or a list of such.

        Raises:
            NotExpandable: the rule does not hold for these arguments.
        """
        leaves: list[Node] = []
        numbered = {}
        for source in node.all_input_nodes:
            numbered[source] = map_leaves(values.get(source, source), lambda leaf: _add(leaves, leaf))
        fakes = [leaf.meta["val"] for leaf in leaves]
        # The type of map_arg knows arguments of nodes only.
        shown: Any = lambda source: _Text(numbered[source])  # noqa: E731
        text = str(map_arg((node.args, dict(node.kwargs)), shown))
        key = (node.target, text, _result_types(node), tuple(map(signature_of, fakes)))
        if key not in self._known:
            self._known[key] = self._traced(node, rule, numbered, fakes)
        return self._known[key]

    def _traced(self, node: Node, rule: Rule, numbered: Mapping[Node, Any], fakes: list[Any]) -> Traced:
        structure: Any = None

        def run(*given: Any) -> list[Any]:
            nonlocal structure
            # fx maps lists to lists of its own, in which it does not look for pairs.
            args, kwargs = map_arg(
                (node.args, node.kwargs), lambda source: map_leaves(numbered[source], lambda number: given[number])
            )
            result = rule(computed_in(node), *plain(args), **plain(kwargs))
            if result is NotImplemented:
                raise NotExpandable("lower.complex has no rule for these arguments")
            results: list[Any] = []
            structure = map_leaves(result, lambda leaf: _add(results, leaf))
            return results

        mode = fake_mode_of(self.graph) or nullcontext()
        with torch.no_grad(), mode, sizes_stay_open(self.graph):
            body = make_fx(run, decomposition_table=dict(self.table))(*_distinct(fakes))
            if mutates(body.graph):
                # PyTorch's own rules write to tensors that they made themselves.
                body = make_fx(dispatch_functionalize(body), decomposition_table=dict(self.table))(*_distinct(fakes))
        return Traced(body, structure)


@dataclass(frozen=True)
class _Text:
    """Stands for an input in the text of a call's arguments."""

    numbers: Any

    def __repr__(self) -> str:
        return f"%{self.numbers}"


def _add(group: list[Any], item: Any) -> int:
    """Put an item at the end of a list; returns its place."""
    group.append(item)
    return len(group) - 1


def _distinct(fakes: list[Any]) -> list[Any]:
    """Values of which no two are one tensor, which a trace would take for one input: equal calls share theirs."""
    seen: set[int] = set()
    found = []
    for fake in fakes:
        again = isinstance(fake, torch.Tensor) and id(fake) in seen
        seen.add(id(fake))
        found.append(
            torch.empty_strided(fake.shape, fake.stride(), dtype=fake.dtype, device=fake.device) if again else fake
        )
    return found


def leaves_of(value: Any) -> list[Any]:
    """The nodes of a value, in order: of a pair its parts."""
    if isinstance(value, Pair):
        return [value.real, value.imag]
    return [leaf for item in value for leaf in leaves_of(item)] if isinstance(value, list | tuple) else [value]


def map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """A value with something else in the place of each leaf."""
    if isinstance(value, Pair):
        return Pair(change(value.real), change(value.imag))
    return [map_leaves(item, change) for item in value] if isinstance(value, list | tuple) else change(value)


def computed_in(node: Node) -> torch.dtype:
    """The real type that a complex operator computes in: that of its results' parts, else that of its operands'."""
    for values in ([node.meta.get("val")], [source.meta.get("val") for source in node.all_input_nodes]):
        found = [item.dtype for item in pytree.tree_leaves(values) if isinstance(item, torch.Tensor)]
        wide = [parts_dtype(dtype) for dtype in found if dtype.is_complex]
        if wide:
            return max(wide, key=lambda dtype: dtype.itemsize)
    raise ValueError(f"{node.name} has nothing to do with complex numbers")


def _result_types(node: Node) -> tuple[torch.dtype, ...]:
    return tuple(item.dtype for item in pytree.tree_leaves(node.meta.get("val")) if isinstance(item, torch.Tensor))
