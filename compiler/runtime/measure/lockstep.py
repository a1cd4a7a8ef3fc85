"""A graph run twice at once, as it is and without roundings, to see what every node adds to the error."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from ...ir.engine_operator import OPERATOR
from ...ir.program import is_getitem, is_symbolic
from ...ir.source import module_of, source_of
from ...ir.text import op_name
from .distance import lost_rows, wide_distance
from .exact import exact_call, widened

SegmentValues = Callable[[Sequence[torch.Tensor]], Mapping[str, Any]]
"""What computes a segment: from its inputs to the values of its nodes, by name, as far as they are known."""


@dataclass(frozen=True)
class NodeError:
    """How exact a node is.

    Attributes:
        node, op, source, module, segment: where it is; `source` is "file:line", `segment` None for PyTorch.
        error: relative L2 distance of its value from what float64 makes of the same inputs of the model.
        added: relative L2 distance of its value from what float64 makes of the values that it read: what the node
            itself adds.
        nan, inf: elements that are NaN, or infinite, and in float64 are not.
        model_nan: elements that are NaN in float64 too, though nothing that the node read is.
    """

    node: str
    op: str
    source: str | None
    module: str
    segment: str | None
    error: float
    added: float
    nan: int = 0
    inf: int = 0
    model_nan: int = 0

    @property
    def place(self) -> str:
        """The node with its operator and line."""
        return f"{self.node} ({self.op}{f', {self.source}' if self.source else ''})"


@dataclass(frozen=True)
class SegmentGraph:
    """A segment of a compiled module: its PyTorch graph, and what runs it."""

    name: str
    graph: GraphModule
    constants: Sequence[torch.Tensor]
    outputs: Sequence[str]
    values: SegmentValues


@dataclass(frozen=True)
class _Pair:
    """A value as it is, and as float64 makes it."""

    found: Any
    exact: Any


class Lockstep(Interpreter):
    """Runs a graph and compares the values of its nodes with those of a run in float64.

    Args:
        module: the graph.
        segments: the segments that it calls, by the name of the node that does.
        places: line and module of nodes that do not know them.
    """

    def __init__(
        self,
        module: GraphModule,
        segments: Mapping[str, SegmentGraph] | None = None,
        places: Mapping[str, tuple[str | None, str]] | None = None,
    ) -> None:
        super().__init__(module)
        self.rows: list[NodeError] = []
        self._segments, self._places, self._inside = segments or {}, places or {}, ""
        self._written = {
            str(node.args[0].target)
            for node in module.graph.nodes
            if _writes(node.target) and isinstance(node.args[0], Node) and node.args[0].op == "get_attr"
        }
        self._kept: dict[str, _Pair] = {}

    @torch.no_grad()
    def compare(self, args: Sequence[Any]) -> tuple[Any, Any]:
        """Run on the values of all placeholders: what the graph returns, and what float64 makes of it."""
        pairs = [_Pair(value, _apart(value)) for value in args]
        result = super().run(*pairs, enable_io_processing=False)
        return _side(result, "found"), _side(result, "exact")

    def run_node(self, n: Node) -> Any:
        if n.op in ("placeholder", "output"):
            return super().run_node(n)
        if n.op == "get_attr":
            value = self.fetch_attr(str(n.target))
            return value if isinstance(value, GraphModule) else self._attribute(str(n.target), value)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.target is OPERATOR and n.name in self._segments:
            return self._segment(self._segments[n.name], args[0])
        return self._compared(n, _Pair(*_both(args)), _Pair(*_both(kwargs)))

    def _attribute(self, name: str, value: Any) -> _Pair:
        """A weight or buffer; one that the graph writes to is the same wherever it is read."""
        if name not in self._written:
            return _Pair(value, widened(value))
        if name not in self._kept:
            self._kept[name] = _Pair(value.clone(), _apart(value))
        return self._kept[name]

    def _value(self, node: Node, args: Any, kwargs: Any) -> Any:
        """The value of a node, from those that it reads."""
        target: Any = node.target
        return target(*args, **kwargs)

    def _compared(self, node: Node, args: _Pair, kwargs: _Pair) -> _Pair:
        target: Any = node.target
        found = self._value(node, args.found, kwargs.found)
        exact = exact_call(target, args.exact, kwargs.exact, found)
        if not (is_getitem(node) or is_symbolic(node)):
            # What writes to an argument did so, and cannot be done once more.
            once = _writes(target)
            alone = widened(found) if once else exact_call(target, widened(args.found), widened(kwargs.found), found)
            self._note(node, found, exact, alone, (args.found, kwargs.found))
        return _Pair(found, exact)

    def _note(self, node: Node, found: Any, exact: Any, alone: Any, inputs: Any) -> None:
        source, module = self._places.get(node.name, (None, ""))
        error = added = 0.0
        nan = inf = model_nan = 0
        clean = not any(bool(leaf.isnan().any()) for leaf in pytree.tree_leaves(inputs) if _is_float(leaf))
        for value, right, own in zip(*map(pytree.tree_leaves, (found, exact, alone)), strict=True):
            if not isinstance(value, torch.Tensor) or value.shape != right.shape:
                continue
            if _is_float(value):
                known = right.isfinite()
                nan += int((value.isnan() & ~right.isnan()).sum())
                inf += int((value.isinf() & known).sum())
                model_nan += int(right.isnan().sum()) if clean else 0
            error = max(error, wide_distance(right, value))
            added = max(added, wide_distance(own, value) if own.shape == value.shape else 0.0)
        self.rows.append(
            NodeError(
                node.name,
                op_name(node.target),
                source_of(node) or source,
                module_of(node) or module,
                self._inside or None,
                error,
                added,
                nan,
                inf,
                model_nan,
            )
        )

    def _segment(self, segment: SegmentGraph, inputs: Sequence[_Pair]) -> _Pair:
        """Compare the nodes of a segment, whose values are what runs it makes of them."""
        found_inputs = [pair.found for pair in inputs]
        inner = _InSegment(segment, segment.values(found_inputs), self._places)
        found, exact = inner.compare([*found_inputs, *segment.constants], [pair.exact for pair in inputs])
        self.rows += inner.rows
        return _Pair(found, exact)


class _InSegment(Lockstep):
    """The graph of a segment, most of whose values were computed by something else."""

    def __init__(
        self, segment: SegmentGraph, values: Mapping[str, Any], places: Mapping[str, tuple[str | None, str]]
    ) -> None:
        super().__init__(segment.graph, places=places)
        self._inside, self._values, self._outputs = segment.name, values, segment.outputs

    @torch.no_grad()
    def compare(self, args: Sequence[Any], exact: Sequence[Any] = ()) -> tuple[Any, Any]:
        right = [*exact, *map(widened, args[len(exact) :])]
        pairs = [_Pair(value, wide) for value, wide in zip(args, right, strict=True)]
        result = Interpreter.run(self, *pairs, enable_io_processing=False)
        return list(_side(result, "found")), list(_side(result, "exact"))

    def _value(self, node: Node, args: Any, kwargs: Any) -> Any:
        return self._values[node.name] if node.name in self._values else super()._value(node, args, kwargs)


class Losses(Interpreter):
    """Runs a float32 graph, and notes where a narrower type could not hold values of nodes, or where they are large.

    `found` has a sentence for each such node, by name. Those of `constants` are known without running. What a node
    computes is large where it is more than `limit`.
    """

    def __init__(
        self, module: GraphModule, narrow: torch.dtype, constants: Container[str] = (), limit: float | None = None
    ) -> None:
        super().__init__(module)
        self.found: dict[str, str] = {}
        self._narrow, self._constants, self._limit = narrow, constants, limit

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        judged = n.op == "call_function" or (n.op == "placeholder" and n.name not in self._constants)
        for leaf in pytree.tree_leaves(value) if judged else ():
            if isinstance(leaf, torch.Tensor) and leaf.dtype is torch.float32:
                count, rows, largest = lost_rows(leaf, self._narrow)
                if count * 1000 >= rows and count:
                    kind = "too large" if largest > torch.finfo(self._narrow).max else "too small"
                    size = f"{largest:.1e} at most"
                    self.found[n.name] = f"{kind}, {size}" + (f", in {count} of {rows} rows" if rows > 1 else "")
                elif self._limit is not None and n.op == "call_function" and leaf.numel():
                    peak = float(leaf.abs().max())
                    if peak > self._limit:
                        self.found[n.name] = f"{peak:.3g} at most, and max_half_output is {self._limit:g}"
        return value


def _side(value: Any, name: str) -> Any:
    return pytree.tree_map(
        lambda leaf: getattr(leaf, name) if isinstance(leaf, _Pair) else leaf,
        value,
        is_leaf=lambda leaf: isinstance(leaf, _Pair),
    )


def _both(value: Any) -> tuple[Any, Any]:
    return _side(value, "found"), _side(value, "exact")


def _apart(value: Any) -> Any:
    """A value in float64 that shares no memory with it: the graph may write to either."""
    return pytree.tree_map(lambda leaf: leaf.clone() if isinstance(leaf, torch.Tensor) else leaf, widened(value))


def _writes(target: Any) -> bool:
    schema = getattr(target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
