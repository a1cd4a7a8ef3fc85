"""Compute symbolic sizes inside an fx graph from the tensors that it has."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import sympy
import torch
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from ..ir.dependencies import SHAPE_QUERIES
from ..ir.graph import fake_value
from ..ir.program import is_symbolic
from ..ir.symbols import dims_of, expression, symbol_sources
from .savable_sizes import WRITTEN_OUT


@dataclass
class SizesInGraph:
    """The sizes that can be computed in a graph under construction, each computed once.

    `graph` is the graph. Tell it of every tensor, and every size, that exists there with `add`. `taken` are the names
    of what is copied into it, now or later, which nothing that is made anew may take.
    """

    graph: Graph
    taken: Collection[str] = ()
    _nodes: dict[Any, Node] = field(default_factory=dict)
    _dims: dict[Any, tuple[Node, int]] = field(default_factory=dict)
    _shapes: dict[str, tuple[Node, tuple[Any, ...]]] = field(default_factory=dict)
    _copies: dict[Node, Any] = field(default_factory=dict)
    _made: int = 0

    def add(self, node: Node) -> None:
        """Make the shape of a tensor (or the value of a size) known; `node.meta["val"]` says what it is."""
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            shape = dims_of(value.shape)
            self._shapes[node.name] = node, shape
            for dim, size in enumerate(shape):
                if not isinstance(size, int):
                    self._dims.setdefault(size, (node, dim))
        elif isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            self._nodes.setdefault(expression(value), node)

    def size(self, value: Any) -> Any:
        """The node with the value of a SymInt, SymFloat or SymBool; a number where it is constant.

        Raises:
            ValueError: no tensor at hand tells the size.
        """
        wanted = expression(value)
        if not isinstance(wanted, sympy.Basic):
            return wanted
        node = self._node(wanted)
        node.meta["val"] = value
        return node

    def copied(self, node: Node, known: Callable[[Node], Any]) -> Any:
        """What yields here the size that a node of another graph yields: its arithmetic is done as it is there.

        Args:
            node: reads the shape of a tensor, or computes with such sizes.
            known: gives what stands here for a node that does neither.
        """
        if not is_recomputed(node):
            return known(node)
        if node not in self._copies:
            if node.target in SHAPE_QUERIES:
                self._copies[node] = self.size(node.meta["val"])
            elif node.target in WRITTEN_OUT and node.args[1:] in ((), (None,)):
                copy = self._call(node.target, *map_arg(node.args, lambda source: self.copied(source, known)))
                copy.meta["val"] = node.meta["val"]
                self._copies[node] = copy
            else:
                copy = self.graph.node_copy(node, lambda source: self.copied(source, known))
                copy.name = node.name
                self._copies[node] = copy
                self.add(copy)
        return self._copies[node]

    def _node(self, wanted: sympy.Basic) -> Node:
        if wanted not in self._nodes:
            if wanted in self._dims:
                self._nodes[wanted] = self._call(torch.ops.aten.sym_size.int, *self._dims[wanted])
            elif isinstance(wanted, sympy.Symbol):
                self._nodes[wanted] = self._solved(wanted)
            else:
                self._nodes[wanted] = self._as_node(self._computed(wanted))
        return self._nodes[wanted]

    def _solved(self, symbol: sympy.Symbol) -> Node:
        """A symbol that only occurs inside other sizes, such as s0 where tensors have `2*s0`."""
        source = symbol_sources({name: shape for name, (_, shape) in self._shapes.items()}).get(symbol)
        if source is None:
            raise ValueError(f"the size {symbol} cannot be computed from the shapes of {', '.join(self._shapes)}")
        self._nodes[source.size] = self._call(torch.ops.aten.sym_size.int, self._shapes[source.tensor][0], source.dim)
        return self._as_node(self._computed(source.formula))

    def _as_node(self, value: Any) -> Node:
        return value if isinstance(value, Node) else self._call(torch.sym_int, value)

    def _computed(self, formula: Any) -> Any:
        """The value of a formula: a node, or a number."""
        if isinstance(formula, sympy.Integer):
            return int(formula)
        if formula in (sympy.true, sympy.false):
            return bool(formula)
        if isinstance(formula, sympy.Symbol) or formula in self._nodes or formula in self._dims:
            return self._node(formula)
        if formula.is_integer and formula.atoms(sympy.Rational) - formula.atoms(sympy.Integer):
            # Sympy writes an exact half of an even size as s0/2.
            numerator, denominator = formula.as_numer_denom()
            return self._call(operator.floordiv, self._computed(numerator), self._computed(denominator))
        if isinstance(formula, sympy.Number):
            return float(formula)
        arguments = [self._computed(argument) for argument in formula.args]
        return self._applied(type(formula).__name__, arguments, formula)

    def _applied(self, kind: str, arguments: list[Any], formula: Any) -> Any:
        if kind in _FOLDED:
            return functools.reduce(lambda left, right: self._call(_FOLDED[kind], left, right), arguments)
        if kind in _FUNCTIONS:
            return self._call(_FUNCTIONS[kind], *arguments)
        if kind == "CeilDiv":
            left, right = arguments
            return self._call(operator.neg, self._call(operator.floordiv, self._call(operator.neg, left), right))
        if kind == "ModularIndexing":
            base, divisor, modulus = arguments
            return self._call(operator.mod, self._call(operator.floordiv, base, divisor), modulus)
        raise ValueError(f"the size {formula} contains {kind}, which PyTorch code cannot compute")

    def _call(self, function: Any, *arguments: Any) -> Any:
        if function in WRITTEN_OUT:
            return WRITTEN_OUT[function](self._call, *arguments)
        node = self.graph.create_node("call_function", function, arguments, name=self._free_name())
        node.meta["val"] = fake_value(node)
        return node

    def _free_name(self) -> str | None:
        """A name for a node that is made anew; None, for fx to choose, if no names are taken."""
        if not self.taken:
            return None
        self._made += 1
        while f"size_{self._made}" in self.taken:
            self._made += 1
        return f"size_{self._made}"


def is_recomputed(node: Node) -> bool:
    """Whether a node yields a size that follows from shapes and other sizes, and is computed where it is needed."""
    if not is_symbolic(node) or node.op == "placeholder":
        return False
    reads_tensor = any(isinstance(source.meta.get("val"), torch.Tensor) for source in node.all_input_nodes)
    return node.target in SHAPE_QUERIES or not reads_tensor


_FOLDED: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "Add": operator.add,
        "Mul": operator.mul,
        "Max": torch.sym_max,
        "Min": torch.sym_min,
        "And": operator.and_,
        "Or": operator.or_,
    }
)
_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        **dict.fromkeys(("FloorDiv", "CleanDiv"), operator.floordiv),
        **dict.fromkeys(("Mod", "PythonMod"), operator.mod),
        **dict.fromkeys(("IntTrueDiv", "FloatTrueDiv"), operator.truediv),
        **dict.fromkeys(("Pow", "PowByNatural", "FloatPow"), operator.pow),
        **dict.fromkeys(("FloorToInt", "floor"), math.floor),
        **dict.fromkeys(("CeilToInt", "ceiling"), math.ceil),
        "TruncToInt": math.trunc,
        "RoundToInt": round,
        "ToFloat": torch.sym_float,
        "Abs": operator.abs,
        "Where": torch.sym_ite,
        "Not": torch.sym_not,
        "OpaqueUnaryFn_sqrt": torch._sym_sqrt,  # type: ignore[attr-defined]
        "LShift": operator.lshift,
        "RShift": operator.rshift,
        "BitwiseFn_bitwise_and": operator.and_,
        "BitwiseFn_bitwise_or": operator.or_,
        "Equality": operator.eq,
        "Unequality": operator.ne,
        "StrictGreaterThan": operator.gt,
        "StrictLessThan": operator.lt,
        "GreaterThan": operator.ge,
        "LessThan": operator.le,
    }
)
