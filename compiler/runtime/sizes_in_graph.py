"""Compute symbolic sizes inside an fx graph from the tensors that it has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy
import torch
from torch.fx import Graph, Node, Proxy
from torch.fx.proxy import GraphAppendingTracer
from torch.utils._sympy.interp import sympy_interp
from torch.utils._sympy.reference import PythonReferenceAnalysis

from ..ir.graph import fake_value
from ..ir.symbols import dims_of, expression, symbol_sources


class _Analysis(PythonReferenceAnalysis):
    """Python's operators on sizes, with the one that PyTorch's class makes a formula of."""

    @staticmethod
    def trunc_to_int(x: Any, dtype: torch.dtype) -> Any:
        return x.tracer.create_proxy("call_function", math.trunc, (x,), {}) if isinstance(x, Proxy) else math.trunc(x)


@dataclass
class SizesInGraph:
    """The sizes that can be computed in a graph under construction, each computed once.

    `graph` is the graph. Tell it of every tensor, and every size, that exists there with `add`.
    """

    graph: Graph
    _nodes: dict[Any, Node] = field(default_factory=dict)
    _dims: dict[Any, tuple[Node, int]] = field(default_factory=dict)
    _shapes: dict[str, tuple[Node, tuple[Any, ...]]] = field(default_factory=dict)
    _tracer: GraphAppendingTracer = field(init=False)

    def __post_init__(self) -> None:
        self._tracer = GraphAppendingTracer(self.graph)

    def add(self, node: Node) -> None:
        """Make the shape of a tensor (or the value of a size) known; `node.meta["val"]` says what it is."""
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            shape = dims_of(value.shape)
            self._shapes[node.name] = node, shape
            for dim, size in enumerate(shape):
                if not isinstance(size, int):
                    self._dims.setdefault(size, (node, dim))
        elif isinstance(value, torch.SymInt):
            self._nodes.setdefault(expression(value), node)

    def size(self, value: Any) -> Any:
        """The node with the value of a SymInt, SymFloat or SymBool; a number where it is constant.

        Raises:
            ValueError: no tensor at hand tells the size.
        """
        wanted = expression(value)
        if not isinstance(wanted, sympy.Basic):
            return wanted
        return self._node(wanted, value)

    def _node(self, wanted: sympy.Basic, value: Any) -> Node:
        if wanted in self._nodes:
            return self._nodes[wanted]
        if wanted in self._dims:
            node = self._read(*self._dims[wanted])
        elif isinstance(wanted, sympy.Symbol):
            node = self._solved(wanted)
        else:
            symbols = sorted(wanted.free_symbols, key=str)
            known = {symbol: self._node(symbol, None) for symbol in symbols}
            node = self._evaluated(wanted, known)
        if value is not None:
            node.meta["val"] = value
        self._nodes[wanted] = node
        return node

    def _read(self, tensor: Node, dim: int) -> Node:
        node = self.graph.call_function(torch.ops.aten.sym_size.int, (tensor, dim))
        node.meta["val"] = fake_value(node)
        return node

    def _solved(self, symbol: sympy.Symbol) -> Node:
        """A symbol that only occurs inside other sizes, such as s0 where tensors have `2*s0`."""
        source = symbol_sources({name: shape for name, (_, shape) in self._shapes.items()}).get(symbol)
        if source is None:
            raise ValueError(f"the size {symbol} cannot be computed from the shapes of {', '.join(self._shapes)}")
        read = self._read(self._shapes[source.tensor][0], source.dim)
        others = source.formula.free_symbols - {source.size}
        return self._evaluated(source.formula, {source.size: read, **{item: self._node(item, None) for item in others}})

    def _evaluated(self, formula: Any, known: Mapping[Any, Node]) -> Node:
        last = next(iter(reversed(self.graph.nodes)), None)
        proxies = {symbol: Proxy(node, self._tracer) for symbol, node in known.items()}
        result: Node = sympy_interp(_Analysis, proxies, formula).node
        for node in _after(self.graph, last):
            node.meta["val"] = fake_value(node)
        return result


def _after(graph: Graph, last: Node | None) -> list[Node]:
    nodes = []
    for node in reversed(graph.nodes):
        if node is last:
            break
        nodes.append(node)
    return nodes[::-1]
