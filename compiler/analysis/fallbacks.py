"""Op nodes that stayed in PyTorch, grouped by the line of the user's model that they come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from ..ir.annotations import reasons_of, verdict_of
from ..ir.dependencies import producer_of
from ..ir.ledger import Reason, Verdict
from ..ir.program import Program
from ..ir.source import module_of, source_frame, source_of
from ..ir.text import op_name

_BLOCKED = frozenset({Verdict.UNSUPPORTED, Verdict.REJECTED, Verdict.EXCLUDED, Verdict.FAILED})

_LISTED = 3  # operators in a sentence


@dataclass(frozen=True)
class FallbackGroup:
    """The fallbacks of one source line, in graph order.

    Attributes:
        source: "file:line" without absolute paths, or None where the line is not known; then one operator in one
            module is a group.
        line: the text of that line, "" if unknown.
        modules: dotted paths of the modules that ran the line.
        ops: names of the operators that TensorRT cannot take, without the `getitem`s that pick their results.
        reasons: every distinct reason.
        nodes: the op nodes, with the `getitem`s.
    """

    source: str | None
    line: str
    modules: tuple[str, ...]
    ops: tuple[str, ...]
    reasons: tuple[Reason, ...]
    nodes: tuple[str, ...]

    @property
    def place(self) -> str:
        """Where it is in a few words: "model.py:41", else "encoder.layer.0", else the node."""
        return self.source or self.modules[0] or f"%{self.nodes[0]}"

    @property
    def codes(self) -> tuple[str, ...]:
        """The distinct reason codes."""
        return tuple(dict.fromkeys(reason.code for reason in self.reasons))

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order."""
        return {
            "source": self.source,
            "line": self.line,
            "modules": list(self.modules),
            "ops": list(self.ops),
            "reasons": [reason.to_json() for reason in self.reasons],
            "nodes": list(self.nodes),
        }

    def __str__(self) -> str:
        """Operators and place: "aten.sort at model.py:41"."""
        more = len(self.ops) - _LISTED
        ops = ", ".join(self.ops[:_LISTED]) + (f" and {more} more" if more > 0 else "")
        return f"{ops} at {self.place}"


def fallback_groups(program: Program) -> tuple[FallbackGroup, ...]:
    """What TensorRT cannot or may not take (unsupported, rejected, excluded, failed), by line, in graph order.

    The `getitem`s that pick results of such a node are in its group, whatever their own verdict.
    """
    return _grouped(node for node in program.op_nodes if verdict_of(_culprit(node)) in _BLOCKED)


def demoted_groups(program: Program) -> tuple[FallbackGroup, ...]:
    """What TensorRT could take but does not (demoted), by line, in graph order; no node is in both lists of groups."""
    demoted = (node for node in program.op_nodes if verdict_of(node) is Verdict.DEMOTED)
    return _grouped(node for node in demoted if verdict_of(_culprit(node)) not in _BLOCKED)


def _culprit(node: Node) -> Node:
    """The node that decides where `node` runs: a `getitem` follows its producer unless it was itself turned away."""
    producer = producer_of(node)
    return node if verdict_of(node) in _BLOCKED and verdict_of(producer) not in _BLOCKED else producer


def _grouped(nodes: Iterable[Node]) -> tuple[FallbackGroup, ...]:
    groups: dict[tuple[str, ...], list[Node]] = {}
    for node in nodes:
        leader = _culprit(node)
        source = source_of(leader)
        key = (source,) if source is not None else ("", op_name(leader.target), module_of(leader))
        groups.setdefault(key, []).append(node)
    return tuple(map(_group, groups.values()))


def _group(nodes: list[Node]) -> FallbackGroup:
    leaders = list(dict.fromkeys(map(_culprit, nodes)))
    frame = source_frame(leaders[0])
    return FallbackGroup(
        source=source_of(leaders[0]),
        line="" if frame is None else frame[2],
        modules=tuple(dict.fromkeys(map(module_of, leaders))),
        ops=tuple(dict.fromkeys(op_name(node.target) for node in leaders)),
        reasons=tuple(dict.fromkeys(reason for node in leaders for reason in reasons_of(node))),
        nodes=tuple(node.name for node in nodes),
    )
