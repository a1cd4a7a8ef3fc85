"""Partition a program as if some verdicts or the smallest block size were different, without touching the program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...passes.partition import Partition
from ...passes.partition.levels import LevelGraph
from ..ir.annotations import stays_by_measure, verdict_of
from ..ir.dependencies import dependency_graph
from ..ir.ledger import Verdict
from ..ir.program import Program, Segment, is_symbolic
from ..settings import Settings


@dataclass(frozen=True)
class Outcome:
    """What a partition would give.

    Attributes:
        segments: the segments.
        short_sizes: of each node demoted for a small segment, the op nodes that its engine would have had, by name.
    """

    segments: tuple[Segment, ...]
    short_sizes: dict[str, int]


class WhatIf:
    """Partitions of one program under other circumstances; each costs about as much as the pass `partition`.

    Args:
        program: a program with verdicts; it is not changed.
        partition: the pass whose options hold.
        settings: give `min_block_size` where the pass does not.
    """

    def __init__(self, program: Program, partition: Partition, settings: Settings) -> None:
        self.floor, self.count_work = partition.floor(settings)
        self._program, self._partition = program, partition
        self._nodes = program.nodes_by_name
        takeable = (Verdict.TRT, Verdict.DEMOTED)
        nodes = (node for node in program.op_nodes if not stays_by_measure(node))
        self._wanted = frozenset(node.name for node in nodes if verdict_of(node) in takeable)
        self._graph = dependency_graph(program, self._wanted)
        self._prediction = partition.prediction(program, self._graph, settings)

    def supporting(self, nodes: Iterable[str] = (), floor: int | None = None) -> Outcome:
        """The partition if TensorRT could also take some nodes (with their `getitem`s), or with another floor."""
        names = list(nodes)
        flipped = [name for name in names if self._decides(name)]
        self._set_side(flipped, "trt")
        try:
            return self._outcome(self._wanted.union(names), floor)
        finally:
            self._set_side(flipped, "torch")

    def fewer_segments(self, groups: Iterable[Iterable[str]]) -> list[int]:
        """For each group of nodes, how many segments fewer there would be if it were supported, with a floor of 1.

        Nothing is demoted and no border is looked at, so this only ranks groups; it takes about 1 % of `supporting`.
        """
        levels = LevelGraph(self._graph, (n for n, side in self._graph.nodes(data="side") if side == "trt"))
        index = {name: i for i, name in enumerate(levels.names)}
        before = _level_count(levels)
        fewer = []
        for group in groups:
            flipped = [index[name] for name in group if self._decides(name)]
            for i in flipped:
                levels.is_trt[i] = True
            fewer.append(before - _level_count(levels))
            for i in flipped:
                levels.is_trt[i] = False
        return fewer

    def _decides(self, name: str) -> bool:
        """Whether the verdict of a node that is not wanted decides a side in the dependency graph."""
        return name in self._graph and name not in self._wanted and not is_symbolic(self._nodes[name])

    def _set_side(self, names: Iterable[str], side: str) -> None:
        for name in names:
            self._graph.nodes[name]["side"] = side

    def _outcome(self, wanted: frozenset[str], floor: int | None) -> Outcome:
        # A floor that is given counts op nodes.
        limit, work = (self.floor, self.count_work) if floor is None else (floor, False)
        result, segments, refused = self._partition.segmented(
            self._program, self._graph, set(wanted), limit, work, self._prediction
        )
        small = {name: item.segment_size for name, item in result.demoted.items() if name not in refused}
        return Outcome(segments, small)


def _level_count(levels: LevelGraph) -> int:
    earliest = levels.earliest()
    return len({earliest[i] for i in levels.trt_nodes()})
