"""`Errors`: how exact the nodes of a compiled module are, and which lines of the model bring most of the error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from ...ir.engine_operator import engine_calls
from ...ir.network import Network
from ..compiled_segment import CompiledSegment
from .distance import wide_distance
from .lockstep import Lockstep, NodeError, SegmentGraph

Places = Mapping[str, tuple[str | None, str]]


@dataclass(frozen=True)
class LineErrors:
    """What the nodes of one line of the model add to the error.

    Attributes:
        source: "file:line", or the module or node where that is not known.
        added: the sum of what its nodes add, see `NodeError`.
        error: the largest distance of their values from the exact ones.
        nodes: the rows, most added first.
    """

    source: str
    added: float
    error: float
    nodes: tuple[NodeError, ...]


@dataclass(frozen=True)
class Errors:
    """The errors of all op nodes, in the order in which they ran.

    Attributes:
        rows: one for each node that computes tensors.
        by: what the values of nodes in engines are from: "TensorRT's networks, evaluated by PyTorch", and the like.
        output: the largest relative L2 distance of a result of the model from what float64 makes of its inputs.
    """

    rows: tuple[NodeError, ...]
    by: str
    output: float

    def lines(self) -> tuple[LineErrors, ...]:
        """The errors by source line, most added first."""
        groups: dict[str, list[NodeError]] = {}
        for row in self.rows:
            place = row.source or (f"module {row.module}" if row.module else f"%{row.node}")
            groups.setdefault(place, []).append(row)
        lines = [
            LineErrors(
                source,
                sum(row.added for row in rows),
                max(row.error for row in rows),
                tuple(sorted(rows, key=lambda row: -row.added)),
            )
            for source, rows in groups.items()
        ]
        return tuple(sorted(lines, key=lambda line: -line.added))

    def worst(self, count: int = 10) -> tuple[LineErrors, ...]:
        """The lines that bring most of the error, those that bring none left out."""
        return tuple(line for line in self.lines()[:count] if line.added > 0)

    @property
    def first_nan(self) -> NodeError | None:
        """The node that first made a NaN or an infinity where float64 makes a number; None if none did."""
        return next((row for row in self.rows if row.nan or row.inf), None)

    @property
    def first_model_nan(self) -> NodeError | None:
        """The node that first made a NaN in float64 too, which is the model's own doing; None if none did."""
        return next((row for row in self.rows if row.model_nan), None)

    def explained(self, lines: bool = True, found: float = 0.0) -> str:
        """Sentences: what first made NaN or infinity and, with `lines`, which lines bring most of the error.

        Lines whose rounding is next to nothing beside an error that was `found` are not said to bring it.
        """
        first, own, worst = self.first_nan, self.first_model_nan, self.worst() if lines else ()
        sentences = []
        if first is not None:
            kind, count = ("NaN", first.nan) if first.nan else ("infinity", first.inf)
            where = "1 element" if count == 1 else f"{count} elements"
            sentences.append(f"{first.place} first makes {kind}, in {where}, where float64 makes numbers.")
        if own is not None:
            sentences.append(f"The model itself makes NaN, in float64 too: {own.place} is the first.")
        rounding = sum(line.added for line in worst)
        if worst and rounding < _NOTHING * found:
            sentences.append(
                f"That is not the rounding of its types, which is {rounding:.1e} at most: `trt-passes bisect` finds "
                "the operator at fault."
            )
        elif worst:
            named = ", ".join(f"{line.source} {line.added:.1e}" for line in worst)
            sentences.append(f"Most of the error is added by {named}.")
        return " ".join(sentences)

    def to_json(self) -> dict[str, Any]:
        """The object that `errors.json` holds; infinite errors are null."""
        return {
            "schema": 1,
            "by": self.by,
            "output": _finite(self.output),
            "nodes": [
                {
                    "node": row.node,
                    "op": row.op,
                    "source": row.source,
                    "module": row.module,
                    "segment": row.segment,
                    "error": _finite(row.error),
                    "added": _finite(row.added),
                    "nan": row.nan,
                    "inf": row.inf,
                }
                for row in self.rows
            ],
        }

    def __str__(self) -> str:
        head = f"relative error of the results: {self.output:.1e} (against float64; engines are {self.by})"
        lines = [head, "added      so far     line"]
        for line in self.worst():
            names = ", ".join(dict.fromkeys(row.op.removeprefix("aten.") for row in line.nodes[:3]))
            lines.append(f"{line.added:<10.1e} {line.error:<10.1e} {line.source} {names}")
        first = self.first_nan
        if first is not None:
            lines.append(f"NaN or infinity first in {first.place}")
        return "\n".join(lines)


_NOTHING = 1e-2
"""A part of an error that explains nothing of it."""


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def graph_errors(module: GraphModule, args: Sequence[Any]) -> Errors:
    """The errors of a graph without engines, on the values of its placeholders."""
    run = Lockstep(module)
    found, exact = run.compare(args)
    return Errors(tuple(run.rows), "not there", output_error(found, exact))


def module_errors(
    module: GraphModule,
    segments: Mapping[str, CompiledSegment],
    networks: Mapping[str, Network],
    places: Places,
    leaves: Sequence[Any],
) -> Errors:
    """The errors of a compiled module.

    Args:
        module: the graph that calls engines.
        segments: they, by the name of the node that calls them.
        networks: TensorRT's networks that they were built from, by the name of the segment, as far as they are there.
        places: line and module of nodes.
        leaves: the values of the graph's placeholders.
    """
    called = {node.name for node in engine_calls(module)}
    on_gpu = any(isinstance(leaf, torch.Tensor) and leaf.is_cuda for leaf in leaves)
    device = next((leaf.device for leaf in leaves if isinstance(leaf, torch.Tensor)), torch.device("cpu"))
    runners = {
        name: _segment_graph(segment, networks.get(segment.spec.name), on_gpu, device)
        for name, segment in segments.items()
        if name in called
    }
    run = Lockstep(module, runners, places)
    found, exact = run.compare(leaves)
    kind = "TensorRT's networks, evaluated by PyTorch"
    if not networks and segments:
        kind = "their PyTorch graphs, since TensorRT's networks exist only in the process that compiled"
    if on_gpu:
        kind = f"TensorRT's where they end, and inside {kind}"
    return Errors(tuple(run.rows), kind, output_error(found, exact))


def output_error(found: Any, exact: Any) -> float:
    """The largest relative distance of results from the exact ones."""
    pairs = zip(pytree.tree_leaves(found), pytree.tree_leaves(exact), strict=True)
    tensors = [(left, right) for left, right in pairs if isinstance(left, torch.Tensor)]
    return max((wide_distance(right, left) for left, right in tensors), default=0.0)


def _segment_graph(
    segment: CompiledSegment, network: Network | None, on_gpu: bool, device: torch.device
) -> SegmentGraph:
    graph, constants = segment.runner.placed(device, segment.constants())
    outputs = [binding.name for binding in segment.spec.outputs]

    def values(inputs: Sequence[torch.Tensor]) -> Mapping[str, Any]:
        known: dict[str, Any] = {} if network is None else _network_values(network, inputs)
        engine = segment.engine_on(inputs[0].device) if on_gpu else None
        if engine is not None:
            graph_outputs = graph.graph.output_node().args[0]
            for node, value in zip(graph_outputs, engine(inputs), strict=True):  # type: ignore[arg-type]
                known[node.name] = value
        return known

    return SegmentGraph(segment.spec.name, graph, constants, outputs, values)


def _network_values(network: Network, inputs: Sequence[torch.Tensor]) -> dict[str, Any]:
    """The values of the nodes of a network, evaluated layer by layer."""
    from ...tensorrt.executor.run import ReferenceExecutor
    from ...tensorrt.layers import iter_layers

    names = {layer.name: [t.name for t in layer.outputs] for layer in iter_layers(network.trt, network.network)}
    wanted = {name for group in network.node_tensors.values() for name in group}
    feeds = {binding.name: value for binding, value in zip(network.inputs, inputs, strict=True)}
    kept: dict[str, torch.Tensor] = dict(feeds)

    def observe(layer: str, results: list[torch.Tensor]) -> None:
        for name, value in zip(names.get(layer, ()), results, strict=False):
            if name in wanted:
                kept[name] = value.clone()

    ReferenceExecutor(network.trt, network.network, network.unreadable).run(feeds, observe=observe)
    values: dict[str, Any] = {}
    for node, group in network.node_tensors.items():
        if all(name in kept for name in group) and group:
            found = tuple(kept[name] for name in group)
            values[node] = found if len(found) > 1 else found[0]
    return values
