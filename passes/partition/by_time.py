"""Where nodes run by what a tuning predicts: which of them stay in PyTorch, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx
import torch
from torch.fx import Node

from ...compiler.ir.annotations import annotations_of
from ...compiler.ir.dependencies import producer_of
from ...compiler.ir.ledger import Reason
from ...compiler.ir.program import Program, bodies_of, is_symbolic
from ...compiler.ir.tuning import ONE_WAY, PYTORCH, TOO_DEAR, Measured, Tuning, pattern_of, us_text
from ...compiler.settings import Settings
from .cheapest_sides import Cost, Prices, Sides

_LISTED = 3  # neighbours named in a message


@dataclass(frozen=True)
class Prediction:
    """What a tuning says about the nodes of a program.

    Attributes:
        tuning: the tuning.
        measured: the time of a node in TensorRT, in the variant that it is computed by, and in PyTorch, by name.
        costs: of these and of what is small enough to be predicted: arithmetic, moves and views.
        prices: of borders.
    """

    tuning: Tuning
    measured: Mapping[str, tuple[Measured, Measured]]
    costs: Mapping[str, Cost]
    prices: Prices

    @classmethod
    def of(cls, program: Program, graph: nx.DiGraph[str], settings: Settings) -> Prediction | None:
        """The prediction for the nodes of a dependency graph that can go to TensorRT; None without a tuning."""
        tuning = settings.tuning
        if tuning is None:
            return None
        constants, fused = program.constants, settings.islands == "inductor"
        nbytes = dict(graph.nodes(data="nbytes"))
        measured: dict[str, tuple[Measured, Measured]] = {}
        costs: dict[str, Cost] = {}
        for node in program.op_nodes:
            if graph.nodes.get(node.name, {}).get("side") != "trt" or bodies_of(node):
                continue
            way = annotations_of(node).get("variant") or ONE_WAY
            rows = tuning.allowed(pattern_of(node, constants), (way,), settings.preset, settings.max_error)
            if way in rows and PYTORCH in rows:
                measured[node.name] = rows[way], rows[PYTORCH]
                costs[node.name] = Cost(rows[way].us, rows[PYTORCH].us)
            elif not rows and _is_view(node):
                costs[node.name] = Cost(0.0, 0.0)
            elif not rows and _is_small(node):
                moved = nbytes[node.name] + sum(nbytes.get(producer_of(item).name, 0) for item in node.all_input_nodes)
                launch = 0.0 if fused else tuning.launch_us
                costs[node.name] = Cost(0.0, launch + moved / tuning.bandwidth * 1e6)
        # What crosses is written by one side and read by the other, instead of being fused away.
        crossing = {name: 2 * size / tuning.bandwidth * 1e6 for name, size in nbytes.items() if size}
        outside = {node.name for node in program.graph.nodes if node.op in ("placeholder", "output")}
        return cls(tuning, measured, costs, Prices(tuning.border_us, crossing, outside))

    def demoted(self, graph: nx.DiGraph[str]) -> tuple[dict[str, Reason], str]:
        """The nodes of a dependency graph that stay in PyTorch, with reasons, and what that saves in words."""
        if self.tuning.border_us >= TOO_DEAR:
            return {}, ""
        sides = Sides(graph, self.costs, self.prices)
        chosen = self._without_rims(graph, sides.in_pytorch())
        if not chosen:
            return {}, ""
        before, after = sides.total(()), sides.total(chosen)
        stay = f"{len(chosen)} nodes that TensorRT could take stay" if len(chosen) > 1 else "1 node stays"
        text = (
            f"by predicted time ({self.tuning.name}, {self.tuning.gpu}) {stay} in PyTorch: what is known takes "
            f"{us_text(after)} with borders, not {us_text(before)}."
        )
        return {name: self._reason(graph, name, chosen) for name in chosen}, text

    def _without_rims(self, graph: nx.DiGraph[str], chosen: set[str]) -> set[str]:
        """Chosen nodes, less what was not measured and is not between others in PyTorch: it keeps its default."""
        kept, waiting = set(chosen), [name for name in chosen if name not in self.measured]

        def stays(name: str) -> bool:
            near = graph.nodes[name]["side"] == "torch" and name not in self.prices.outside
            return near or name in kept

        while waiting:
            name = waiting.pop()
            if name in kept and not (any(map(stays, graph.pred[name])) and any(map(stays, graph.succ[name]))):
                kept.remove(name)
                around = (*graph.pred[name], *graph.succ[name])
                waiting += [other for other in around if other in kept and other not in self.measured]
        return kept

    def worth_an_engine(self) -> set[str]:
        """The nodes that TensorRT computes so much faster that it pays for an engine of them alone."""
        border = self.prices.border
        return {name for name, (ours, theirs) in self.measured.items() if ours.us + border < theirs.us}

    def _reason(self, graph: nx.DiGraph[str], name: str, chosen: set[str]) -> Reason:
        known = self.measured.get(name)
        border = us_text(self.tuning.border_us)
        if known is not None and known[0].us > known[1].us:
            ours, theirs = map(us_text, (known[0].us, known[1].us))
            return Reason("TP305", f"TensorRT takes {ours} here, PyTorch {theirs} ({self.tuning.name}).")
        others = [*graph.pred[name], *graph.succ[name]]
        near = [item for item in others if item in chosen or graph.nodes[item]["side"] == "torch"]
        names = ", ".join(f"%{item}" for item in near[:_LISTED]) + (" and others" if len(near) > _LISTED else "")
        if known is not None:
            ours, theirs = map(us_text, (known[0].us, known[1].us))
            text = f"TensorRT takes {ours} here, PyTorch {theirs}, but {names} beside it stay in PyTorch"
        else:
            text = (
                f"PyTorch takes about {us_text(self.costs[name].pytorch)} here, and {names} beside it stay in PyTorch"
            )
        return Reason("TP305", f"{text}: leaving an engine and coming back takes {border} ({self.tuning.name}).")


def _is_small(node: Node) -> bool:
    """Whether a node is arithmetic or a move, so that its bytes say what it takes in PyTorch."""
    tags = getattr(node.target, "tags", ())
    known = torch.Tag.pointwise in tags or "copy" in str(node.target) or node.target is torch.ops.aten.cat.default
    return known and isinstance(node.meta.get("val"), torch.Tensor) and not is_symbolic(node)


def _is_view(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    views = schema is not None and any(result.alias_info is not None for result in schema.returns)
    return views and not is_symbolic(node) and isinstance(node.meta.get("val"), torch.Tensor)
