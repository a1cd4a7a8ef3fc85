"""Group the TensorRT nodes of a dependency graph into as few acyclic segments as possible.

The graph is a plain ``networkx.DiGraph``; nothing here knows about PyTorch or TensorRT. In order of importance:

1. Contracting every segment leaves a DAG: no segment depends on itself through PyTorch or through other segments.
2. Few nodes are demoted for lying in a segment below ``min_block_size``.
3. There are as few segments as possible. With ``min_block_size=1`` their number is the minimum (proof in
   ``segmentation_levels``), whatever branches, skips or independent parts the graph has.
4. Few bytes cross the boundaries of segments.

2 and 4 are searched greedily in near-linear time, not solved (both are hard in general). The gap to the
exhaustive optimum, which ``tests/passes/test_segmentation.py`` keeps: of 1,500 random graphs of 4 to 11 nodes with a
minimum size of 2 to 4, 7 demoted one node too many; of 400 with a minimum size of 1, 8 had more boundary bytes than
the best partition into as few segments, 1.6 % more over all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, pairwise
from types import MappingProxyType

import networkx as nx

from .levels import LevelGraph
from .moves import Placement, fill_small_segments, late_bounds, reduce_boundary_bytes

SIDES = ("trt", "torch", "free")


@dataclass(frozen=True)
class Demotion:
    """Why a "trt" node is in no segment.

    Attributes:
        veto: the reason given by the caller, or None where the segment was too small.
        segment_size: number of nodes of the largest segment found for this node; 0 for a veto.
        min_block_size: the limit that this size is below.
        members: the nodes demoted together, in topological order.
    """

    veto: str | None
    segment_size: int
    min_block_size: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Segmentation:
    """Disjoint segments in an order in which they can run, and the nodes left out of them.

    Attributes:
        segments: the nodes of each segment, in topological order.
        demoted: the "trt" nodes that are in no segment.
        split: for each segment that was more than ``max_segment_nodes``: its nodes, and the pieces it was cut into.
        boundary_bytes: size of all tensors that enter or leave segments (see ``Placement.boundary_bytes``), before
            segments are split because of ``max_segment_nodes`` or ``merge_independent=False``.
    """

    segments: tuple[tuple[str, ...], ...]
    demoted: Mapping[str, Demotion]
    boundary_bytes: int
    split: tuple[tuple[int, int], ...] = ()


def segment(
    graph: nx.DiGraph,
    min_block_size: int = 5,
    max_segment_nodes: int = 2000,
    merge_independent: bool = True,
    vetoed: Mapping[str, str] | None = None,
    count_work: bool = False,
) -> Segmentation:
    """Partition the "trt" nodes of ``graph`` into segments.

    Args:
        graph: a DAG, edges from producer to consumer. Node attributes: ``side``, "trt", "torch" or "free" (constants,
            parameters, arithmetic on symbolic sizes: available everywhere, never a dependency); ``nbytes``, the size
            of the node's output (default 0); ``order``, an int that breaks ties in the topological order (default 0,
            then the name decides). The result depends on these alone, not on the order of insertion.
        min_block_size: segments with fewer "trt" nodes are demoted.
        max_segment_nodes: larger segments are split into consecutive pieces of about equal size, where few bytes cross.
        merge_independent: let nodes share a segment that share no data. False gives a segment per connected part
            (parts that read the same tensor are connected), hence more and smaller segments.
        vetoed: "trt" nodes that must run in PyTorch, with the reason.
        count_work: nodes with the attribute ``heavy`` count as many as ``min_block_size``.

    Raises:
        ValueError: for a cyclic graph, an unknown ``side``, a veto of something that is no "trt" node, or limits
            that cannot be met together.
    """
    vetoes = dict(vetoed or {})
    _check(graph, min_block_size, max_segment_nodes, vetoes)
    demoted = {node: Demotion(veto, 0, min_block_size, (node,)) for node, veto in vetoes.items()}
    heavy = min_block_size if count_work else 1
    levels = LevelGraph(graph, (n for n, side in graph.nodes(data="side") if side == "trt" and n not in demoted), heavy)
    place = _place(levels, min_block_size, merge_independent, demoted)
    cut = [(part, list(_split(levels, part, max_segment_nodes))) for part in _parts(place, merge_independent)]
    pieces = [piece for _, parts in cut for piece in parts]
    names = levels.names
    return Segmentation(
        segments=tuple(tuple(names[i] for i in piece) for piece in pieces),
        demoted=MappingProxyType({name: demoted[name] for name in names if name in demoted}),
        boundary_bytes=place.boundary_bytes(),
        split=tuple((len(part), len(parts)) for part, parts in cut if len(parts) > 1),
    )


def _check(graph: nx.DiGraph, min_block_size: int, max_segment_nodes: int, vetoes: Mapping[str, str]) -> None:
    if min_block_size < 1:
        raise ValueError(f"min_block_size must be at least 1, but is {min_block_size}.")
    if max_segment_nodes < 2 * min_block_size:
        raise ValueError(
            f"max_segment_nodes={max_segment_nodes} is less than twice min_block_size={min_block_size}, so splitting a "
            "large segment could leave pieces that are too small: raise the first or lower the second."
        )
    for node, side in graph.nodes(data="side"):
        if side not in SIDES:
            raise ValueError(f"node {node!r} has side={side!r}: set it to one of {', '.join(SIDES)}.")
    for node in vetoes:
        if node not in graph or graph.nodes[node]["side"] != "trt":
            raise ValueError(f"vetoed node {node!r} is not a 'trt' node of the graph: veto only nodes with side='trt'.")
    if not nx.is_directed_acyclic_graph(graph):
        cycle = " -> ".join(str(u) for u, _ in nx.find_cycle(graph))
        raise ValueError(f"the graph has a cycle ({cycle}): only acyclic graphs can be partitioned.")


def _place(graph: LevelGraph, floor: int, merge: bool, demoted: dict[str, Demotion]) -> Placement:
    """Find levels with no segment below ``floor``, demoting (also in ``demoted``) what fits in none."""
    small: dict[int, Demotion] = {}
    while True:
        place = Placement.earliest(graph, floor)
        if merge:
            victims = _hopeless_levels(place)
            if not victims:
                fill_small_segments(place)
                victims = _small_levels(place)
        else:
            reduce_boundary_bytes(place)
            victims = _small_parts(place)
        if not victims:
            break
        for size, members in victims:
            demotion = Demotion(None, size, floor, tuple(graph.names[i] for i in members))
            for i in members:
                graph.is_trt[i] = False
                small[i] = demotion
    if merge:
        place = _restore(place, small)
        reduce_boundary_bytes(place)
    demoted.update((graph.names[i], demotion) for i, demotion in small.items())
    return place


def _tight_nodes(place: Placement) -> list[list[int]]:
    """For each level, the nodes that can be on no other level."""
    earliest, latest = place.graph.earliest(), place.graph.latest(place.count)
    tight: list[list[int]] = [[] for _ in place.members]
    for i in place.graph.trt_nodes():
        if earliest[i] == latest[i]:
            tight[earliest[i]].append(i)
    return tight


def _hopeless_levels(place: Placement) -> list[tuple[int, list[int]]]:
    """The segments that stay below the floor whatever moves: (size, nodes without slack)."""
    earliest, latest = place.graph.earliest(), place.graph.latest(place.count)
    change: Counter[int] = Counter()
    for i in place.graph.trt_nodes():
        change[earliest[i]] += place.graph.weights[i]
        change[latest[i] + 1] -= place.graph.weights[i]
    possible = accumulate(change[level] for level in range(place.count))
    hopeless = [(size, level) for level, size in enumerate(possible) if size < place.floor]
    tight = _tight_nodes(place) if hopeless else []
    return [(size, tight[level]) for size, level in hopeless]


def _small_levels(place: Placement) -> list[tuple[int, list[int]]]:
    """The smallest segment below the floor: (size, nodes without slack).

    The other nodes may find room elsewhere once there is a level less, and so may the next small segment. Where very
    many are too small, almost half of them go at once, so that the number of rounds stays logarithmic.
    """
    lacking = sorted((size, level) for level, size in enumerate(place.sizes) if size < place.floor)
    tight = _tight_nodes(place) if lacking else []
    return [(size, tight[level]) for size, level in lacking[: max(1, len(lacking) // 2 - 1)]]


def _small_parts(place: Placement) -> list[tuple[int, list[int]]]:
    """The smallest connected parts below the floor, to be demoted together."""
    weights = place.graph.weights
    small = [part for part in _connected_parts(place) if sum(weights[i] for i in part) < place.floor]
    least = min(map(len, small), default=0)
    return [(least, part) for part in small if len(part) == least]


def _restore(place: Placement, small: dict[int, Demotion]) -> Placement:
    """Take back, in topological order, each demoted node that now fits into a segment; it leaves ``small``."""
    graph, count, early = place.graph, place.count, place.early
    late = late_bounds(graph, early, count)
    for i, trt in enumerate(graph.is_trt):
        if trt:
            continue
        if i in small:
            level = graph.lower_bound(i, early, True)
            if level <= graph.upper_bound(i, late, True, count - 1):
                graph.is_trt[i] = True
                early[i] = level
                del small[i]
                continue
        early[i] = graph.lower_bound(i, early, False)
    return Placement(graph, early, late_bounds(graph, early, count), count, place.floor)


def _parts(place: Placement, merge: bool) -> list[list[int]]:
    """The nodes of each segment, in an order in which the segments can run."""
    return place.members if merge else _connected_parts(place)


def _connected_parts(place: Placement) -> list[list[int]]:
    """Each level split into parts that share no tensor, ordered by level, then by first node."""
    graph, joined = place.graph, nx.utils.UnionFind()
    for i in graph.trt_nodes():
        level = place.early[i]
        joined.union((level, i), *((level, p) for p in graph.preds[i]))
    parts: dict[tuple[int, int], list[int]] = {}
    for i in graph.trt_nodes():
        parts.setdefault(joined[place.early[i], i], []).append(i)
    return sorted(parts.values(), key=lambda part: (place.early[part[0]], part[0]))


def _split(graph: LevelGraph, part: list[int], limit: int) -> Iterable[list[int]]:
    """Cut a segment with more than ``limit`` nodes into consecutive pieces, each cut where few bytes are alive.

    Prefixes of a topological order are convex, so the pieces are too. Each cut is searched within a tenth of a piece
    around the even split (less where the limit leaves less room).
    """
    count = -(-len(part) // limit)
    if count == 1:
        return [part]
    alive = _alive_bytes(graph, part)
    cuts = [0]
    for k in range(1, count):
        left = len(part) - cuts[-1]
        size = left / (count - k + 1)
        low = max(round(size * 0.9), left - limit * (count - k), 1)
        high = min(round(size * 1.1), limit)
        even = round(size)
        cuts.append(cuts[-1] + min(range(low, high + 1), key=lambda n: (alive[cuts[-1] + n], abs(n - even), n)))
    cuts.append(len(part))
    return [part[a:b] for a, b in pairwise(cuts)]


def _alive_bytes(graph: LevelGraph, part: list[int]) -> list[int]:
    """For each k, the bytes made or read by the first k nodes of ``part`` that later ones read."""
    position = {node: k for k, node in enumerate(part)}
    last_read: dict[int, int] = {}
    first_seen: dict[int, int] = {}
    for k, node in enumerate(part):
        first_seen.setdefault(node, k)
        for p in graph.preds[node]:
            last_read[p] = k
            first_seen.setdefault(p, position.get(p, k))
    change = [0] * (len(part) + 1)
    for node, last in last_read.items():
        change[first_seen[node] + 1] += graph.nbytes[node]
        change[last + 1] -= graph.nbytes[node]
    for k in range(len(part)):
        change[k + 1] += change[k]
    return change
