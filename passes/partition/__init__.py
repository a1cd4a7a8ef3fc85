"""The pass `partition`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import networkx as nx
from torch.fx import Node

from ...compiler.errors import UserError
from ...compiler.ir.annotations import annotate_node, reasons_of, set_verdict, stays_by_measure, verdict_of
from ...compiler.ir.dependencies import dependency_graph, producer_of, reads_values
from ...compiler.ir.ledger import Reason, Verdict
from ...compiler.ir.program import Program, Segment, is_symbolic
from ...compiler.pass_base import Context, Kind, Pass
from ...compiler.settings import Settings
from .borders import border_refusals, segments_of
from .full_compilation import check_full_compilation
from .segmentation import Demotion, Segmentation, segment
from .weight_cuts import weight_cuts
from .work import note_heavy

if TYPE_CHECKING:
    from ...compiler.ir.partition_file import PartitionFile
    from .by_time import Prediction

__all__ = ["Partition", "check_full_compilation", "cut_in_half", "operators_of", "segments_of"]

_LISTED = 4  # nodes named in a message


@dataclass(frozen=True)
class Partition(Pass):
    """Group the `trt` nodes into segments: as few as possible, none that would wait for itself, none too small.

    Constants and arithmetic on symbolic sizes never separate nodes; `getitem` stays with its producer.
    `min_block_size` defaults to the setting of that name; where neither is given, op nodes that do the work of many
    (a recurrent layer, a loop, a large product) are worth an engine by themselves. With the setting `tuning`, nodes
    are left to PyTorch where that takes less time by what was measured, borders of engines included. A segment of
    more than `max_segment_nodes` is split before TensorRT sees it, since build time grows faster than the number of
    layers. `merge_independent=false` keeps nodes that share no data in engines of their own. `cut_before` names
    nodes that begin a segment; `build` adds one where an engine takes longer than the setting `build_seconds`.
    `from` is a `partition.json` of a dump, as it is or edited, whose segments are taken instead of being searched,
    whatever their size; the setting `partition` gives one.

    Before:
        %_linalg_svd = aten._linalg_svd(%x) : (f32[4,4], f32[4], f32[4,4])  # unsupported TP101
        %relu = aten.relu(%x) : f32[4,4]  # trt
    After:
        %_linalg_svd = aten._linalg_svd(%x) : (f32[4,4], f32[4], f32[4,4])  # unsupported TP101
        %relu = aten.relu(%x) : f32[4,4]  # segment-00
    """

    name: ClassVar[str] = "partition"
    kind: ClassVar[Kind] = "analysis"
    requires: ClassVar[frozenset[str]] = frozenset({"annotated"})
    establishes: ClassVar[frozenset[str]] = frozenset({"partitioned"})
    breaks: ClassVar[frozenset[str]] = frozenset({"converted", "built", "spliced"})

    min_block_size: int | None = None
    max_segment_nodes: int = 2000
    merge_independent: bool = True
    cut_before: tuple[str, ...] = ()
    from_: str | None = None

    def run(self, program: Program, ctx: Context) -> Program:
        """Attach `segment` to the nodes that go to TensorRT, and verdict `demoted` to those that could but do not.

        Nodes that an earlier run demoted are considered anew, so running twice changes nothing.
        """
        floor, count_work = self.floor(ctx.settings)
        if floor < 1 or self.max_segment_nodes < 2 * floor:
            raise UserError(
                f"partition was asked for min_block_size={floor} and max_segment_nodes={self.max_segment_nodes}: "
                "give a min_block_size of at least 1 and a max_segment_nodes of at least twice that."
            )
        for node in program.op_nodes:
            open_again = verdict_of(node) in (Verdict.DEMOTED, Verdict.TRT) or _is_left_by_file(node)
            if open_again and not stays_by_measure(node):
                set_verdict(node, Verdict.TRT)
                annotate_node(node, segment=None)
        wanted = {node.name for node in program.op_nodes if verdict_of(node) is Verdict.TRT}
        graph = dependency_graph(program, wanted)
        given = self.from_ if self.from_ is not None else ctx.settings.partition
        if given is not None:
            from ...compiler.ir.partition_file import PartitionFile

            return self._given(program, graph, PartitionFile.read(given), wanted, ctx)
        prediction = self.prediction(program, graph, ctx.settings)
        result, segments, vetoes = self.segmented(program, graph, wanted, floor, count_work, prediction)
        made, budget = self, ctx.settings.cpu_memory_budget
        cuts = () if budget is None else weight_cuts(program, segments, budget)
        if cuts:
            within = replace(self, cut_before=tuple(dict.fromkeys((*self.cut_before, *cuts))))
            found = within.segmented(program, graph, wanted, floor, count_work, prediction)
            if found[2].keys() <= vetoes.keys():
                made, (result, segments, vetoes) = within, found
                ctx.note(
                    f"cpu_memory_budget: segments are cut in {len(cuts)} more places, for engines of fewer weights."
                )
        small = {name: _too_small(demotion) for name, demotion in result.demoted.items() if name not in vetoes}
        _annotate(program, segments, {**vetoes, **small})
        saved = "" if prediction is None else prediction.demoted(graph)[1]
        if saved:
            ctx.note(saved)
        for nodes, pieces in result.split:
            ctx.note(
                f"a segment of {nodes:,} op nodes is split into {pieces}, since partition's max-segment-nodes is "
                f"{self.max_segment_nodes:,}: larger engines take long to build."
            )
        if not segments and small:
            ctx.note(_nothing_left(result.demoted.values(), floor))
        partitioned = replace(program, segments=segments, partitioned_by=made, compiled=None)
        check_full_compilation(partitioned, ctx.settings)
        return partitioned

    def floor(self, settings: Settings) -> tuple[int, bool]:
        """Op nodes that an engine must have, and whether those that do the work of many count as many."""
        if self.min_block_size is not None:
            return self.min_block_size, False
        return settings.block_floor, settings.min_block_size is None

    def _given(
        self, program: Program, graph: nx.DiGraph[str], file: PartitionFile, wanted: set[str], ctx: Context
    ) -> Program:
        """The program with the segments of a file, unless they have to be cut for `build`."""
        from .given import given_segments

        segments, left = given_segments(program, graph, file, wanted)
        groups = self._cut(program, [operators_of(program, segment) for segment in segments])
        segments = segments_of(program, wanted, [part for group in groups for part in self._limited(group)])
        for name, reason in left.items():
            set_verdict(program.node(name), Verdict.EXCLUDED, [reason])
        _annotate(program, segments, {})
        made = replace(self, from_=file.path)
        partitioned = replace(program, segments=segments, partitioned_by=made, compiled=None)
        check_full_compilation(partitioned, ctx.settings)
        return partitioned

    def _limited(self, group: tuple[str, ...]) -> list[tuple[str, ...]]:
        """A group of a file in graph order, in pieces of at most `max_segment_nodes`."""
        count = -(-len(group) // self.max_segment_nodes)
        size = -(-len(group) // count)
        return [group[start : start + size] for start in range(0, len(group), size)]

    def prediction(self, program: Program, graph: nx.DiGraph[str], settings: Settings) -> Prediction | None:
        """What the tuning of the settings says about the nodes of a dependency graph, if there is one."""
        if settings.tuning is None:
            return None
        from .by_time import Prediction

        return Prediction.of(program, graph, settings)

    def segmented(
        self,
        program: Program,
        graph: nx.DiGraph[str],
        wanted: set[str],
        floor: int,
        count_work: bool = False,
        prediction: Prediction | None = None,
    ) -> tuple[Segmentation, tuple[Segment, ...], dict[str, Reason]]:
        """Segments of the `wanted` nodes whose borders only tensors cross, and the nodes refused for that; pure.

        Nodes that are faster in PyTorch by a prediction are refused too.
        """
        vetoes: dict[str, Reason] = {} if prediction is None else prediction.demoted(graph)[0]
        if count_work:
            note_heavy(graph, program)
            for name in prediction.worth_an_engine() if prediction is not None else ():
                graph.nodes[name]["heavy"] = True
        while True:
            texts = {name: reason.message for name, reason in vetoes.items()}
            result = segment(graph, floor, self.max_segment_nodes, self.merge_independent, texts, count_work)
            segments = segments_of(program, wanted, self._cut(program, result.segments))
            refused = border_refusals(program, segments)
            if not refused:
                return result, segments, vetoes
            vetoes |= refused

    def _cut(self, program: Program, groups: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The groups, with those that hold nodes of `cut_before` in pieces that begin with them, in graph order."""
        if not self.cut_before:
            return list(groups)
        place = {node.name: index for index, node in enumerate(program.graph.nodes)}
        pieces: list[tuple[str, ...]] = []
        for group in groups:
            ordered = sorted(group, key=lambda name: place[name])
            starts = [0, *(i for i, name in enumerate(ordered) if i and name in self.cut_before), len(ordered)]
            pieces += [tuple(ordered[start:end]) for start, end in pairwise(starts)]
        return pieces


def operators_of(program: Program, segment: Segment) -> tuple[str, ...]:
    """The nodes of a segment that can be in different segments, in graph order: not `getitem`, nor sizes."""
    nodes = (program.node(name) for name in segment.nodes)
    return tuple(node.name for node in nodes if producer_of(node) is node and not is_symbolic(node))


def cut_in_half(program: Program, item: Segment, floor: int) -> str | None:
    """The node before which a segment can be cut into two of at least `floor` nodes, close to its middle; or None.

    What comes first in graph order needs nothing of what comes later, so such parts can run one after the other.
    """
    leaders = operators_of(program, item)
    middle = len(leaders) / 2
    for place in sorted(range(floor, len(leaders) - floor + 1), key=lambda index: (abs(index - middle), index)):
        parts = segments_of(program, set(item.nodes), [leaders[:place], leaders[place:]])
        if not border_refusals(program, parts):
            return leaders[place]
    return None


def _too_small(demotion: Demotion) -> Reason:
    names = ", ".join(f"%{name}" for name in demotion.members[:_LISTED])
    more = len(demotion.members) - _LISTED
    names += f" and {more} more" if more > 0 else ""
    found = f"at most {demotion.segment_size} op node{'s' if demotion.segment_size != 1 else ''}"
    return Reason("TP301", f"its engine would have {found} ({names}), min_block_size is {demotion.min_block_size}.")


def _nothing_left(demotions: Iterable[Demotion], floor: int) -> str:
    size = max(demotion.segment_size for demotion in demotions)
    return (
        f"nothing goes to TensorRT: the largest engine would have {size} op node{'' if size == 1 else 's'}, and "
        f"min_block_size is {floor}; min_block_size={max(size, 1)} allows it."
    )


def _is_left_by_file(node: Node) -> bool:
    return verdict_of(node) is Verdict.EXCLUDED and [reason.code for reason in reasons_of(node)] == ["TP403"]


def _annotate(program: Program, segments: Iterable[Segment], demoted: Mapping[str, Reason]) -> None:
    home = {name: item.name for item in segments for name in item.nodes}
    for node in program.op_nodes:
        if verdict_of(node) is not Verdict.TRT:
            continue
        producer = producer_of(node)
        if node.name in home:
            annotate_node(node, segment=home[node.name])
        elif producer.name in demoted:
            set_verdict(node, Verdict.DEMOTED, [demoted[producer.name]], None if producer is node else producer.name)
        elif producer is not node:
            text = f"it picks a result of %{producer.name}, which stays in PyTorch."
            set_verdict(node, Verdict.DEMOTED, [Reason("TP302", text)], producer.name)
        elif reads_values(node):
            text = f"%{node.name} yields a number made from values of a tensor, and only tensors can leave an engine."
            set_verdict(node, Verdict.DEMOTED, [Reason("TP302", text)])
        else:
            text = f"no node in TensorRT uses the size {node.meta['val']}."
            set_verdict(node, Verdict.DEMOTED, [Reason("TP303", text)])
