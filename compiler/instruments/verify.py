"""`Verify`: checks a pass's promises on its result."""

from __future__ import annotations

from ..errors import PassFailure
from ..ir.program import Program
from ..pass_base import Pass
from ..pipeline import KNOWN_FACTS
from .protocol import Instrument, Step


class Verify(Instrument):
    """Raises PassFailure when the program after a pass is not what the pass promised.

    Checked: every fact that the pass establishes holds; facts that held before and are not declared as broken still
    hold; an analysis or build pass left the graph alone; every node has a value. That the exported program is valid is
    checked by its constructor, whenever the manager syncs it.
    """

    def verify(self, step: Step) -> None:
        item = step.item
        if item.kind != "transform" and step.change.graph_changed:
            raise PassFailure(
                item.name,
                f"it is of kind {item.kind!r} and must not change the graph, but it did: {step.change}. "
                "Declare kind 'transform', or only annotate nodes.",
            )
        self._check_graph(item, step.after)
        for name in sorted(item.establishes):
            problem = KNOWN_FACTS[name].violation(step.after)
            if problem is not None:
                raise PassFailure(item.name, f"it promises {name!r}, but {problem}.")
        for name, fact in KNOWN_FACTS.items():
            if name in item.breaks_facts | item.establishes or not fact.holds(step.before):
                continue
            problem = fact.violation(step.after)
            if problem is not None:
                raise PassFailure(
                    item.name, f"{name!r} held before it and no longer does: {problem}. Declare it in 'breaks'."
                )

    @staticmethod
    def _check_graph(item: Pass, program: Program) -> None:
        for node in program.op_nodes:
            if "val" not in node.meta and getattr(getattr(node.target, "_schema", None), "returns", True):
                message = "a node has no value in meta['val']: create it with insert_call."
                raise PassFailure(item.name, message, node.name)
