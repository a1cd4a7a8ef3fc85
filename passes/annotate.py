"""The pass `annotate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.fx import Node

from ..compiler.annotations import reasons_of, set_verdict, verdict_of
from ..compiler.call import Call
from ..compiler.ledger import Reason, Verdict
from ..compiler.pass_base import Context, Kind, Pass
from ..compiler.program import Program, is_getitem, is_symbolic
from ..compiler.text import op_name
from .convert.registry import Registry
from .exclusion import Exclusion
from .limits import general_reasons


@dataclass(frozen=True)
class Annotate(Pass):
    """Give every op node a verdict: can TensorRT take it, and if not, why.

    Sizes (SymInt arithmetic) and `getitem` follow what they belong to. TensorRT need not be installed.

    Before:
        %sort = aten.sort(%x) : (f32[4], i64[4])
        %relu = aten.relu(%x) : f32[4]
    After:
        %sort = aten.sort(%x) : (f32[4], i64[4])  # unsupported TP101
        %relu = aten.relu(%x) : f32[4]  # trt
    """

    name: ClassVar[str] = "annotate"
    kind: ClassVar[Kind] = "analysis"
    requires: ClassVar[frozenset[str]] = frozenset({"core-aten"})
    establishes: ClassVar[frozenset[str]] = frozenset({"annotated"})
    breaks: ClassVar[frozenset[str]] = frozenset({"partitioned", "converted", "built", "spliced"})

    def run(self, program: Program, ctx: Context) -> Program:
        """Attach a verdict with all reasons to every op node."""
        exclusion = Exclusion.of(program, ctx)
        registry = ctx.converters
        bounds = program.exported.range_constraints
        for node in program.op_nodes:
            producer = node.args[0] if is_getitem(node) else None
            verdict = verdict_of(producer) if isinstance(producer, Node) else None
            if isinstance(producer, Node) and verdict is not None:
                reasons = reasons_of(producer)
                set_verdict(node, verdict, reasons, because=producer.name if reasons else None)
                continue
            excluded = exclusion.reasons(node)
            if excluded:
                set_verdict(node, Verdict.EXCLUDED, excluded)
            elif is_symbolic(node):
                set_verdict(node, Verdict.TRT)
            else:
                self._judge(node, registry, bounds)
        return program

    @staticmethod
    def _judge(node: Node, registry: Registry, bounds: Any) -> None:
        converter = registry.get(node.target)
        reasons = list(general_reasons(node, bounds))
        if converter is None:
            missing = () if reasons else (_no_converter(node, registry),)
            set_verdict(node, Verdict.REJECTED if reasons else Verdict.UNSUPPORTED, (*reasons, *missing))
            return
        if not reasons:
            call = Call(node)
            for condition in converter.conditions:
                message = condition.check(call)
                if message is not None:
                    reasons.append(Reason(condition.code, message))
        set_verdict(node, Verdict.REJECTED if reasons else Verdict.TRT, reasons)


def _no_converter(node: Node, registry: Registry) -> Reason:
    name = op_name(node.target)
    if not isinstance(node.target, torch._ops.OpOverload) or node.target.namespace not in ("aten", "prims"):
        return Reason("TP102", f"{name} is not an ATen operator, and no converter is registered for it.")
    siblings = sorted(op_name(target) for target in registry.targets if _packet(target) == _packet(node.target))
    others = f" There are converters for {', '.join(siblings)}." if siblings else ""
    return Reason("TP101", f"no converter is registered for {name}.{others}")


def _packet(target: Any) -> Any:
    return getattr(target, "overloadpacket", None) or target
