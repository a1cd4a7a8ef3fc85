"""The pass `annotate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.fx import Node

from ...compiler.ir.annotations import annotate_node, reasons_of, set_verdict, verdict_of
from ...compiler.ir.ledger import Verdict
from ...compiler.ir.program import Program, is_getitem
from ...compiler.ir.reasons import REASON_CODES
from ...compiler.pass_base import Context, Kind, Pass
from .float_weights import float_weights_text
from .judge import Judge
from .variants import VariantChoice


@dataclass(frozen=True)
class Annotate(Pass):
    """Give every op node a verdict: can TensorRT take it, and if not, why.

    Sizes (SymInt arithmetic) and `getitem` follow what they belong to. TensorRT need not be installed.

    Before:
        %_linalg_svd = aten._linalg_svd(%x) : (f32[4,4], f32[4], f32[4,4])
        %relu = aten.relu(%x) : f32[4,4]
    After:
        %_linalg_svd = aten._linalg_svd(%x) : (f32[4,4], f32[4], f32[4,4])  # unsupported TP101
        %relu = aten.relu(%x) : f32[4,4]  # trt
    """

    name: ClassVar[str] = "annotate"
    kind: ClassVar[Kind] = "analysis"
    requires: ClassVar[frozenset[str]] = frozenset({"core-aten"})
    establishes: ClassVar[frozenset[str]] = frozenset({"annotated"})
    breaks: ClassVar[frozenset[str]] = frozenset({"partitioned", "converted", "built", "spliced"})

    def run(self, program: Program, ctx: Context) -> Program:
        """Attach a verdict with all reasons to every op node."""
        judge, choice = Judge(program, ctx), VariantChoice(program, ctx)
        for node in program.op_nodes:
            producer = node.args[0] if is_getitem(node) else None
            verdict = verdict_of(producer) if isinstance(producer, Node) else None
            if isinstance(producer, Node) and verdict is not None:
                because = producer.name if reasons_of(producer) else None
                set_verdict(node, verdict, reasons_of(producer), because)
                continue
            reasons = judge.reasons(node)
            chosen = None if reasons else choice.of(node)
            if chosen is not None and chosen.reason is not None:
                reasons = [chosen.reason]
            set_verdict(node, REASON_CODES[reasons[0].code].verdict if reasons else Verdict.TRT, reasons)
            annotate_node(node, variant=None if chosen is None or reasons else chosen.name)
        text = float_weights_text(program.op_nodes)
        if text:
            ctx.note(text)
        return program
