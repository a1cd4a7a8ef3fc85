"""The reasons for which TensorRT cannot take a node, gathered from the user, the operator, and its converter."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import sympy
import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from ...compiler.ir.aliasing import mutates
from ...compiler.ir.annotations import annotations_of, is_kept_view, kept_whole
from ...compiler.ir.call import Call
from ...compiler.ir.collectives import group_of, is_collective
from ...compiler.ir.dependencies import data_dependent, new_sizes
from ...compiler.ir.ledger import Reason
from ...compiler.ir.program import Program, bodies_of, is_getitem, is_symbolic
from ...compiler.ir.reasons import REASON_CODES
from ...compiler.ir.symbol_ranges import symbol_ranges
from ...compiler.ir.text import op_name
from ...compiler.pass_base import Context
from ...compiler.tensorrt.loader import TensorRT, TensorRTNotFound
from ...compiler.tensorrt.registry import Converter, Registry
from ...compiler.tensorrt.targets import refusal
from .exclusion import Exclusion
from .limits import general_reasons


class Judge:
    """Gives the reasons of the nodes of one program, which must be asked for in graph order.

    Data-dependent sizes can live inside an engine of standard TensorRT, but not cross its border: an operator that
    makes one is taken only if all that has this size, down to results of a fixed size, can be taken too.
    """

    def __init__(self, program: Program, ctx: Context) -> None:
        self._ctx = ctx
        self._exclusion = Exclusion.of(program, ctx)
        self._registry = ctx.converters
        self._bounds = symbol_ranges(program)
        self._inner: set[sympy.Symbol] = set()
        self._writes = mutates(program.graph)

    def reasons(self, node: Node) -> list[Reason]:
        """Why a node cannot go to TensorRT, all of one verdict; empty if it can."""
        excluded = self._exclusion.reasons(node)
        if excluded or is_symbolic(node):
            return excluded
        if is_kept_view(node):
            return [Reason("TP208", f"the caller gets the result of {op_name(node.target)} and what it is a view of.")]
        if self._writes:
            return [_among_writes(node)]
        faster = annotations_of(node).get("pytorch")
        if faster is not None:
            return [Reason("TP309", str(faster))]
        converter = self._registry.get(node.target)
        if converter is None:
            return list(general_reasons(node, self._bounds, self._inner)) or [_no_converter(node, self._registry)]
        reasons = self._reasons_of_sizes(node, converter)
        reasons += general_reasons(node, self._bounds, self._inner | (new_sizes(node) if reasons else set()))
        reasons += self._reasons_of_bodies(node)
        reasons += self._reasons_of_targets(node)
        return _of_one_verdict(reasons or list(converter.violations(Call(node))))

    def _reasons_of_bodies(self, node: Node) -> list[Reason]:
        """Why the graphs that are arguments of the node cannot be part of an engine."""
        found = []
        for name, body in bodies_of(node).items():
            for inner in (item for item in body.graph.nodes if item.op == "call_function" and item.users):
                for reason in [] if is_getitem(inner) else self.reasons(inner):
                    found.append(Reason(reason.code, f"in %{name}, at %{inner.name}: {reason.message}"))
        return found

    def _reasons_of_targets(self, node: Node) -> list[Reason]:
        """Why the GPUs that engines are built for cannot take the node: they lack a type of its tensors."""
        types = {tensor.dtype for item in (node, *node.all_input_nodes) for tensor in _tensors(item.meta.get("val"))}
        refusals = (refusal(dtype, self._ctx.settings.compute_capabilities) for dtype in sorted(types, key=str))
        return [Reason("TP211", f"{op_name(node.target)}: {text}.") for text in refusals if text is not None]

    def _reasons_of_sizes(self, node: Node, converter: Converter) -> list[Reason]:
        """Why the TensorRT at hand cannot take the node or the data-dependent sizes that it makes."""
        if not converter.requires:
            return []
        call, made = Call(node), new_sizes(node) - self._inner
        if not any(requirement.applies(call) for requirement in converter.requires):
            return []
        unbuildable = converter.unbuildable(call, self._library)
        if unbuildable or not made:
            return list(unbuildable)
        before = set(self._inner)
        self._inner |= made
        end = next((user for user in _with_sizes(node, made) if user.op == "output" or self._stays_out(user)), None)
        if end is None:
            return []
        self._inner = before
        sizes, place = ", ".join(sorted(map(str, made))), "the caller" if end.op == "output" else f"%{end.name}"
        text = f"the size {sizes} of the result of {call.op} depends on the values of a tensor, and {place} needs it "
        return [Reason("TP204", text + "outside of the engine.")]

    def _stays_out(self, node: Node) -> bool:
        return not is_getitem(node) and bool(self.reasons(node))

    @cached_property
    def _library(self) -> TensorRT | None:
        try:
            return self._ctx.tensorrt()
        except TensorRTNotFound:
            return None


def _of_one_verdict(reasons: list[Reason]) -> list[Reason]:
    """The reasons that say most: first what cannot be at all, then what the user wants, last a check that failed."""
    verdicts = {reason: REASON_CODES[reason.code].verdict for reason in reasons}
    first = min(reasons, key=lambda reason: reason.code, default=None)
    return [reason for reason in reasons if first is not None and verdicts[reason] is verdicts[first]]


def _with_sizes(node: Node, sizes: set[sympy.Symbol]) -> list[Node]:
    """The nodes that read something with one of these sizes."""
    found = []
    for user in (other for other in node.graph.nodes if other.op in ("call_function", "output")):
        if any(data_dependent(source.meta.get("val")) & sizes for source in user.all_input_nodes):
            found.append(user)
    return found


def _no_converter(node: Node, registry: Registry) -> Reason:
    name, failed = op_name(node.target), kept_whole(node)
    if failed is not None:
        return Reason("TP103", f"no converter is registered for {name}, and its decomposition failed: {failed}")
    if is_collective(node):
        group = group_of(node)
        among = f" with the processes of the group {group!r}" if group else ""
        return Reason("TP105", f"{name} exchanges tensors{among}, which PyTorch does between engines.")
    if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace not in ("aten", "prims"):
        return Reason("TP102", f"{name} is not an ATen operator, and no converter is registered for it.")
    siblings = sorted(op_name(target) for target in registry.targets if _packet(target) == _packet(node.target))
    others = f" There are converters for {', '.join(siblings)}." if siblings else ""
    return Reason("TP101", f"no converter is registered for {name}.{others}")


def _among_writes(node: Node) -> Reason:
    failed = kept_whole(node)
    why = "" if failed is None else f", since that failed: {failed}"
    return Reason("TP208", f"the model writes to tensors in place, which PyTorch could not replace here{why}")


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _packet(target: Any) -> Any:
    return getattr(target, "overloadpacket", None) or target
