"""Partition a program again without nodes that turned out to be impossible to convert or to build."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .annotations import reasons_of, set_verdict
from .ledger import Reason
from .program import Program, Repeatable, Segment
from .reasons import REASON_CODES


def repartition(
    program: Program, failed: Mapping[str, Reason], ctx: Any, partition: Repeatable | None = None
) -> Program:
    """Mark nodes as `failed` and run the partition that the program had once more; the graph is changed in place.

    Segments that come out the same (same nodes, inputs, outputs and constants) keep their network and engine, whatever
    they are called now.

    Args:
        program: a partitioned program.
        failed: the reason for every node, by name, that must leave TensorRT.
        ctx: the `Context` that the partition gets.
        partition: the pass to run instead of the one that the program had.

    Raises:
        ValueError: nothing failed (the same partition would come out), or the program was never partitioned.
        KeyError: a failed node is not in the graph.
    """
    if not failed and partition is None:
        raise ValueError("no node failed, so partitioning again would change nothing")
    partition = partition or program.partitioned_by
    if partition is None:
        raise ValueError("the program has segments that no partition pass made, so it cannot be partitioned again")
    nodes = program.nodes_by_name
    for name, reason in failed.items():
        earlier = [old for old in reasons_of(nodes[name]) if old != reason]
        set_verdict(nodes[name], REASON_CODES[reason.code].verdict, [*earlier, reason])
    known = {_key(segment): segment for segment in program.segments}
    result = partition.run(program, ctx)
    return result.with_segments(tuple(_reused(segment, known.get(_key(segment))) for segment in result.segments))


def _key(segment: Segment) -> tuple[tuple[str, ...], ...]:
    return (segment.nodes, segment.inputs, segment.outputs, segment.constants)


def _reused(segment: Segment, before: Segment | None) -> Segment:
    if before is None:
        return segment
    engine = before.engine
    if engine is not None:
        engine = replace(engine, spec=replace(engine.spec, name=segment.name))
    return replace(segment, network=before.network, engine=engine)
