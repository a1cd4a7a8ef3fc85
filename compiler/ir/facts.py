"""Named facts about a program. Each has a verifier, so a fact is what the program is, not what a pass claimed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import networkx as nx
from torch.fx import Node

from .annotations import segment_of, verdict_of
from .dependencies import SHAPE_QUERIES
from .ledger import Verdict
from .program import Program, is_symbolic


@dataclass(frozen=True)
class Fact:
    """A fact: `violation(program)` says in one sentence why it does not hold, or None."""

    name: str
    meaning: str
    violation: Callable[[Program], str | None]

    def holds(self, program: Program) -> bool:
        """Whether the fact is true of the program."""
        return self.violation(program) is None


def _annotated(program: Program) -> str | None:
    missing = [node.name for node in program.op_nodes if verdict_of(node) is None]
    return f"{len(missing)} op nodes have no verdict, the first is {missing[0]}" if missing else None


def _partitioned(program: Program) -> str | None:
    problem = _annotated(program)
    if problem is not None:
        return problem
    names = {segment.name for segment in program.segments}
    listed = {name: segment.name for segment in program.segments for name in segment.nodes}
    for node in program.op_nodes:
        segment = segment_of(node)
        if (verdict_of(node) is Verdict.TRT) != (segment is not None):
            return f"node {node.name} has verdict {verdict_of(node)} and segment {segment}"
        if segment is not None and (segment not in names or listed.get(node.name) != segment):
            return f"node {node.name} is in {segment}, which does not list it"
    return _cycle(program, listed)


def _cycle(program: Program, segment_of_node: Mapping[str, str]) -> str | None:
    def place(node: Node) -> str:  # a size is computed wherever it is used, so it waits for no engine
        return node.name if is_symbolic(node) else segment_of_node.get(node.name, node.name)

    quotient: nx.DiGraph[str] = nx.DiGraph()
    for node in program.op_nodes:
        sources = () if node.target in SHAPE_QUERIES else node.all_input_nodes
        quotient.add_edges_from((place(source), place(node)) for source in sources if place(source) != place(node))
    if nx.is_directed_acyclic_graph(quotient):
        return None
    cycle = [edge[0] for edge in nx.find_cycle(quotient)]
    return f"the segments cannot be run one after the other: {' -> '.join([*cycle, cycle[0]])}"


def _converted(program: Program) -> str | None:
    missing = [segment.name for segment in program.segments if segment.network is None]
    return _partitioned(program) or (f"{missing[0]} has no network" if missing else None)


def _built(program: Program) -> str | None:
    missing = [segment.name for segment in program.segments if segment.engine is None]
    return _partitioned(program) or (f"{missing[0]} has no engine" if missing else None)


def _spliced(program: Program) -> str | None:
    return None if program.compiled is not None else "the program has no compiled module"


FACTS: Mapping[str, Fact] = MappingProxyType(
    {
        fact.name: fact
        for fact in (
            Fact("annotated", "every op node has a verdict", _annotated),
            Fact(
                "partitioned", "every trt node is in one segment, and segments and PyTorch have an order", _partitioned
            ),
            Fact("converted", "every segment has a TensorRT network", _converted),
            Fact("built", "every segment has an engine", _built),
            Fact("spliced", "the program has a compiled module", _spliced),
        )
    }
)
"""Facts that a program's graph and annotations tell by themselves; `pipeline.KNOWN_FACTS` are all."""
