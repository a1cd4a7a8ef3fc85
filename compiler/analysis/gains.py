"""What it would gain to get each fallback into TensorRT, or to allow smaller engines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any, NamedTuple

from ...passes.partition import Partition
from ..ir.annotations import reasons_of
from ..ir.program import Program, Segment
from ..ir.text import type_text
from ..settings import Settings
from .fallbacks import FallbackGroup, fallback_groups
from .tensor_bytes import TensorBytes, bytes_text
from .what_if import WhatIf

PARTITIONED_NODES = 20_000
"""Op nodes that all partitions of one call may have together, unless the caller says how many groups to analyse."""

PROBED_NODES = 300_000
"""Op nodes that all probes may have together; a probe tells which groups are worth a partition."""

LEAST_GROUPS, MOST_GROUPS = 2, 40
"""Groups that are partitioned again for in any case, and at most."""

MOST_PAIRS = 10
"""Pairs of groups that are partitioned again for, at most."""

_LISTED = 4  # names in a sentence
_TYPES = 2  # types of tensors in a sentence


@dataclass(frozen=True)
class TensorCopies:
    """Crossings of an engine boundary by tensors of one type."""

    type: str
    count: int

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order."""
        return {"type": self.type, "count": self.count}

    def __str__(self) -> str:
        return f"{self.count} {'copy' if self.count == 1 else 'copies'} of {self.type}"


@dataclass(frozen=True)
class Gain:
    """What one change of circumstances would do to the partition.

    Attributes:
        change: the circumstance, such as "supporting aten.sort at model.py:41".
        engines_before, engines_after: numbers of segments.
        merged: names of today's segments that would share a segment, in order; a segment whose nodes would be torn
            apart counts where most of them go, the first such place if there are several.
        own_nodes: op nodes of the group itself that would go to TensorRT.
        joined_nodes: other op nodes that would.
        lost_nodes: op nodes that would leave TensorRT, which greedy partitioning may bring about.
        bytes_saved: bytes per call, at usual sizes, that would no longer enter or leave engines; below 0 if more would.
            A tensor counts once for each engine that reads it and once for the engine that makes it.
        copies_saved: the crossings behind `bytes_saved`, largest first.
        copies_added: new crossings.
    """

    change: str
    engines_before: int
    engines_after: int
    merged: tuple[tuple[str, ...], ...]
    own_nodes: int
    joined_nodes: int
    lost_nodes: int
    bytes_saved: int
    copies_saved: tuple[TensorCopies, ...]
    copies_added: tuple[TensorCopies, ...]

    @property
    def nodes_gained(self) -> int:
        """Op nodes that TensorRT would have more than today."""
        return self.own_nodes + self.joined_nodes - self.lost_nodes

    @property
    def rank(self) -> tuple[int, int, int]:
        """Sorts gains, largest last: segments merged away, then op nodes, then bytes."""
        return sum(len(names) - 1 for names in self.merged), self.nodes_gained, self.bytes_saved

    @property
    def helps(self) -> bool:
        """Whether it brings more than the group's own nodes: engines merge, others join them, or less crosses."""
        return bool(self.merged) or self.joined_nodes > self.lost_nodes or self.bytes_saved > 0

    @property
    def is_nothing(self) -> bool:
        """Whether the partition would stay as it is."""
        return not (self.own_nodes or self.joined_nodes or self.lost_nodes or self.bytes_saved)

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order, with `nodes_gained`."""
        return {
            "change": self.change,
            "engines_before": self.engines_before,
            "engines_after": self.engines_after,
            "merged": [list(names) for names in self.merged],
            "nodes_gained": self.nodes_gained,
            "own_nodes": self.own_nodes,
            "joined_nodes": self.joined_nodes,
            "lost_nodes": self.lost_nodes,
            "bytes_saved": self.bytes_saved,
            "copies_saved": [copies.to_json() for copies in self.copies_saved],
            "copies_added": [copies.to_json() for copies in self.copies_added],
        }

    def __str__(self) -> str:
        """One sentence without a full stop, which begins with `change`."""
        return f"{self.change}{' ' if self.merged or self.is_nothing else ': '}{self.effect}"

    @property
    def effect(self) -> str:
        """The sentence without `change`: "merges segment-00 and segment-01: 2 engines → 1, 2 op nodes gained"."""
        if self.is_nothing:
            return "changes nothing by itself"
        nodes = self.nodes_gained
        parts = [
            _engines_text(self.engines_before, self.engines_after),
            f"{abs(nodes):,} op node{'s' if abs(nodes) != 1 else ''} {'gained' if nodes >= 0 else 'lost'}",
            *self._copies_text(),
        ]
        merges = f"merges {_merges_text(self.merged)}: " if self.merged else ""
        return f"{merges}{', '.join(parts)}"

    def _copies_text(self) -> Iterator[str]:
        if self.copies_saved and not self.copies_added:
            yield f"{_copies_text(self.copies_saved)} saved ({bytes_text(self.bytes_saved)})"
        elif self.copies_added and not self.copies_saved:
            yield f"{_copies_text(self.copies_added)} added ({bytes_text(-self.bytes_saved)})"
        elif self.copies_saved:
            yield f"{_copies_text(self.copies_saved)} saved"
            yield f"{_copies_text(self.copies_added)} added"
            if self.bytes_saved:
                word = "less" if self.bytes_saved > 0 else "more"
                yield f"{bytes_text(abs(self.bytes_saved))} {word} crossing in all"


@dataclass(frozen=True)
class FallbackGain:
    """A group of fallbacks and what supporting it would gain; None if that was not worked out."""

    group: FallbackGroup
    gain: Gain | None

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order."""
        return {"group": self.group.to_json(), "gain": None if self.gain is None else self.gain.to_json()}


@dataclass(frozen=True)
class PairGain:
    """Two groups of fallbacks, neither of which helps alone, and what supporting both would gain."""

    groups: tuple[FallbackGroup, FallbackGroup]
    gain: Gain

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order."""
        return {"groups": [group.to_json() for group in self.groups], "gain": self.gain.to_json()}


@dataclass(frozen=True)
class Gains:
    """What would improve a partition.

    Attributes:
        fallbacks: every group of fallbacks, largest gain first, then those that were not analysed, in graph order.
        pairs: pairs of groups that help only together, largest gain first, where there are more than two groups.
        together: the gain of supporting all of them at once; None where there are not two groups to support.
        smaller_blocks: the gains of lowering `min_block_size`, each to a size that keeps some of the demoted nodes.
    """

    fallbacks: tuple[FallbackGain, ...]
    pairs: tuple[PairGain, ...]
    together: Gain | None
    smaller_blocks: tuple[Gain, ...]

    @property
    def left_out(self) -> int:
        """How many groups were not analysed."""
        return sum(item.gain is None for item in self.fallbacks)

    @property
    def combined(self) -> tuple[Gain, ...]:
        """The gains of supporting several groups at once: the pairs, then everything."""
        return (*(pair.gain for pair in self.pairs), *([self.together] if self.together else []))

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order, with `left_out`."""
        return {
            "fallbacks": [item.to_json() for item in self.fallbacks],
            "left_out": self.left_out,
            "pairs": [pair.to_json() for pair in self.pairs],
            "together": None if self.together is None else self.together.to_json(),
            "smaller_blocks": [gain.to_json() for gain in self.smaller_blocks],
        }

    def __str__(self) -> str:
        """A line per gain, best first, and a line on what was left out."""
        gains = [item.gain for item in self.fallbacks if item.gain is not None]
        lines = [str(gain) for gain in (*gains, *self.combined, *self.smaller_blocks)]
        if self.left_out:
            lines.append(f"{self.left_out} more source line{'s' if self.left_out > 1 else ''} not analysed")
        return "\n".join(lines)


def fallback_gains(program: Program, settings: Settings | None = None, most_groups: int | None = None) -> Gains:
    """What supporting the fallbacks of each source line would gain, found by partitioning again as if they were `trt`.

    The number of partitions is bounded by the size of the program; groups that could merge most segments come first.
    Where the pass `partition` did not make the program's segments, nothing is analysed and every group is left out.

    Args:
        program: a partitioned program; it is not changed.
        settings: those that it was partitioned with.
        most_groups: partition again for this many groups, whatever it costs.
    """
    groups = fallback_groups(program)
    partition = program.partitioned_by
    if not isinstance(partition, Partition) or partition.from_ is not None:
        return Gains(tuple(FallbackGain(group, None) for group in groups), (), None, ())
    comparison = _Comparison(program, WhatIf(program, partition, settings or Settings()))
    size = max(1, len(program.op_nodes))
    limit = min(MOST_GROUPS, max(LEAST_GROUPS, PARTITIONED_NODES // size)) if most_groups is None else most_groups
    chosen = groups if len(groups) <= limit else _promising(comparison.what_if, groups, limit, PROBED_NODES // size)
    analysed = [(group, comparison.supporting(_change(group), group.nodes)) for group in chosen]
    analysed.sort(key=lambda pair: pair[1].rank, reverse=True)
    left = tuple(FallbackGain(group, None) for group in groups if group not in chosen)
    everything = [name for group in groups for name in group.nodes]
    return Gains(
        fallbacks=(*(FallbackGain(group, gain) for group, gain in analysed), *left),
        pairs=_pairs(comparison, analysed, limit - len(chosen)) if len(groups) > 2 else (),
        together=comparison.supporting(f"supporting all {len(groups)} source lines", everything)
        if len(groups) > 1
        else None,
        smaller_blocks=tuple(comparison.smaller_blocks()),
    )


def smaller_block_gains(program: Program, min_block_size: int | None) -> tuple[Gain, ...]:
    """What allowing smaller engines would gain, see `Gains.smaller_blocks`; nothing before `partition`.

    Args:
        program: a partitioned program; it is not changed.
        min_block_size: the setting that it was partitioned with.
    """
    partition = program.partitioned_by
    if not isinstance(partition, Partition) or partition.from_ is not None:
        return ()
    what_if = WhatIf(program, partition, Settings(min_block_size=min_block_size))
    return tuple(_Comparison(program, what_if).smaller_blocks())


def _pairs(comparison: _Comparison, analysed: Sequence[tuple[FallbackGroup, Gain]], limit: int) -> tuple[PairGain, ...]:
    """The pairs that help where neither group does, out of the `limit` first ones that could."""
    alone = [group for group, gain in analysed if not gain.helps]
    found = []
    for pair in islice(combinations(alone, 2), max(0, min(limit, MOST_PAIRS))):
        names = [name for group in pair for name in group.nodes]
        gain = comparison.supporting(f"supporting {pair[0]} and {pair[1]} together", names)
        if gain.helps:
            found.append(PairGain(pair, gain))
    return tuple(sorted(found, key=lambda item: item.gain.rank, reverse=True))


class _Comparison:
    """Compares a program's partition with what it would be under other circumstances."""

    def __init__(self, program: Program, what_if: WhatIf) -> None:
        self.what_if = what_if
        self._program, self._segments = program, program.segments
        self._nodes = program.nodes_by_name
        self._members = {name for item in program.segments for name in item.nodes}
        self._crossings = _crossings(program.segments)
        self._bytes = TensorBytes(program)

    def supporting(self, change: str, nodes: Iterable[str]) -> Gain:
        """The gain of supporting some nodes."""
        names = list(nodes)
        return self._gain(change, set(names), self.what_if.supporting(names).segments)

    def smaller_blocks(self) -> Iterator[Gain]:
        """The gains of the smallest step down from today's `min_block_size`, and of the one that keeps every node."""
        floor = self.what_if.floor
        if not any(reason.code == "TP301" for node in self._program.op_nodes for reason in reasons_of(node)):
            return
        sizes = sorted(set(self.what_if.supporting().short_sizes.values()), reverse=True)
        for size in dict.fromkeys((*sizes[:1], *sizes[-1:])):
            after = self.what_if.supporting(floor=size).segments
            yield self._gain(f"lowering min_block_size from {floor} to {size}", set(), after)

    def _gain(self, change: str, own: set[str], segments: tuple[Segment, ...]) -> Gain:
        members = {name for item in segments for name in item.nodes}
        gained = members - self._members
        saved = self._types(self._crossings)
        saved.subtract(self._types(_crossings(segments)))
        by_size = sorted(saved.items(), key=lambda item: (-item[0].nbytes, item[0].text))
        return Gain(
            change=change,
            engines_before=len(self._segments),
            engines_after=len(segments),
            merged=_merged(self._segments, segments),
            own_nodes=len(gained & own),
            joined_nodes=len(gained - own),
            lost_nodes=len(self._members - members),
            bytes_saved=sum(kind.nbytes * count for kind, count in saved.items()),
            copies_saved=tuple(TensorCopies(kind.text, count) for kind, count in by_size if count > 0),
            copies_added=tuple(TensorCopies(kind.text, -count) for kind, count in by_size if count < 0),
        )

    def _types(self, crossings: Mapping[str, int]) -> Counter[_TensorType]:
        counts: Counter[_TensorType] = Counter()
        for name, count in crossings.items():
            node = self._nodes[name]
            counts[_TensorType(type_text(node.meta.get("val")), self._bytes.of(node) or 0)] += count
        return counts


class _TensorType(NamedTuple):
    text: str
    nbytes: int


def _crossings(segments: Iterable[Segment]) -> Counter[str]:
    """How many times each tensor enters or leaves an engine."""
    return Counter(name for item in segments for name in (*item.inputs, *item.outputs))


def _merged(before: Iterable[Segment], after: Iterable[Segment]) -> tuple[tuple[str, ...], ...]:
    home = {name: index for index, item in enumerate(after) for name in item.nodes}
    shared: dict[int, list[str]] = {}
    for item in before:
        places = Counter(home[name] for name in item.nodes if name in home)
        if places:
            shared.setdefault(max(places, key=lambda index: (places[index], -index)), []).append(item.name)
    return tuple(tuple(names) for names in shared.values() if len(names) > 1)


def _promising(what_if: WhatIf, groups: Sequence[FallbackGroup], limit: int, probes: int) -> list[FallbackGroup]:
    """The groups that would make most segments one, then the largest; only the largest are probed for that."""
    largest = sorted(groups, key=lambda group: -len(group.nodes))[: max(limit, probes)]
    fewer = what_if.fewer_segments(group.nodes for group in largest)
    order = sorted(range(len(largest)), key=lambda i: -fewer[i])
    return [largest[i] for i in order[:limit]]


def _change(group: FallbackGroup) -> str:
    excluded = all(code.startswith("TP4") for code in group.codes)
    return f"{'allowing' if excluded and group.codes else 'supporting'} {group}"


def _engines_text(before: int, after: int) -> str:
    return f"{before} engine{'s' if before != 1 else ''} → {after}"


def _copies_text(copies: Sequence[TensorCopies]) -> str:
    if len(copies) > _TYPES:
        return f"{sum(item.count for item in copies)} copies of {len(copies)} types of tensor"
    return " and ".join(map(str, copies))


def _merges_text(merged: tuple[tuple[str, ...], ...]) -> str:
    if len(merged) == 1:
        return _listed(merged[0])
    return f"{sum(map(len, merged))} segments into {len(merged)}"


def _listed(names: tuple[str, ...]) -> str:
    if len(names) > _LISTED:
        return f"{len(names)} segments ({names[0]} to {names[-1]})"
    return f"{', '.join(names[:-1])} and {names[-1]}"
