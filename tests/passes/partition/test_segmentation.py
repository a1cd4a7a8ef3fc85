"""Segmentation against brute force on small random graphs, and on the shapes that real models have."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations, pairwise

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trt_passes.passes.partition.segmentation import Segmentation, segment


def graph_of(edges: str, **sides: str) -> nx.DiGraph:
    """A graph from "a>b>c d>c"; nodes are trt unless named in ``sides`` ("torch" or "free", space-separated)."""
    graph = nx.DiGraph()
    for path in edges.split():
        nx.add_path(graph, path.split(">"))
    for node in graph:
        graph.nodes[node].update(side="trt", nbytes=1)
    for side, nodes in sides.items():
        for node in nodes.split():
            graph.nodes[node]["side"] = side
    return graph


def set_bytes(graph: nx.DiGraph, **nbytes: int) -> nx.DiGraph:
    for node, size in nbytes.items():
        graph.nodes[node]["nbytes"] = size
    return graph


@st.composite
def graphs(draw: st.DrawFn, max_nodes: int = 12, sides: tuple[str, ...] = ("trt", "torch", "free")) -> nx.DiGraph:
    count = draw(st.integers(1, max_nodes))
    graph = nx.DiGraph()
    for i in range(count):
        weight = {"trt": 3, "torch": 2, "free": 1}
        side = draw(st.sampled_from([side for side in sides for _ in range(weight[side])]))
        graph.add_node(f"n{i:02}", side=side, nbytes=draw(st.sampled_from((0, 1, 4, 9))), order=i)
    for j in range(1, count):
        # A free node depends on nothing but free nodes, or on shapes, which are no data dependency.
        for i in draw(st.sets(st.integers(0, j - 1), max_size=3)):
            graph.add_edge(f"n{i:02}", f"n{j:02}")
    return graph


def without_free(graph: nx.DiGraph) -> nx.DiGraph:
    return graph.subgraph([n for n, side in graph.nodes(data="side") if side != "free"])


def is_acyclic_partition(graph: nx.DiGraph, groups: list[tuple[str, ...]] | tuple[tuple[str, ...], ...]) -> bool:
    home = {node: k for k, group in enumerate(groups) for node in group}
    quotient = nx.DiGraph()
    for u, v in without_free(graph).edges:
        a, b = home.get(u, u), home.get(v, v)
        if a != b:
            quotient.add_edge(a, b)
    return nx.is_directed_acyclic_graph(quotient)


def acyclic_partitions(graph: nx.DiGraph, nodes: list[str], limit: int) -> Iterator[list[tuple[str, ...]]]:
    """All partitions of ``nodes`` into at most ``limit`` groups whose contraction is acyclic; others run in PyTorch."""
    dependencies = without_free(graph)
    chosen = set(nodes)
    apart = set()  # pairs with a path that leaves `nodes`: never in one group
    for u in nodes:
        for t in (nx.descendants(dependencies, u) if u in dependencies else set()) - chosen:
            apart |= {(u, v) for v in nx.descendants(dependencies, t) & chosen}

    def extend(index: int, groups: list[list[str]]) -> Iterator[list[tuple[str, ...]]]:
        if index == len(nodes):
            partition = [tuple(group) for group in groups]
            if is_acyclic_partition(graph, partition):
                yield partition
            return
        node = nodes[index]
        for group in groups:
            if not any((u, node) in apart or (node, u) in apart for u in group):
                group.append(node)
                yield from extend(index + 1, groups)
                group.pop()
        if len(groups) < limit:
            yield from extend(index + 1, [*groups, [node]])

    yield from extend(0, [])


def trt_nodes(graph: nx.DiGraph) -> list[str]:
    return [n for n in nx.lexicographical_topological_sort(graph) if graph.nodes[n]["side"] == "trt"]


def fewest_segments(graph: nx.DiGraph) -> int:
    nodes = trt_nodes(graph)
    return next(k for k in range(len(nodes) + 1) if any(True for _ in acyclic_partitions(graph, nodes, k)))


def fewest_demoted(graph: nx.DiGraph, floor: int) -> int:
    nodes = trt_nodes(graph)
    for count in range(len(nodes) + 1):
        for out in combinations(nodes, count):
            rest = [n for n in nodes if n not in out]
            if any(all(len(g) >= floor for g in p) for p in acyclic_partitions(graph, rest, len(rest) // floor)):
                return count
    raise AssertionError("demoting everything is always possible")


def boundary_bytes(graph: nx.DiGraph, groups: list[tuple[str, ...]] | tuple[tuple[str, ...], ...]) -> int:
    home = {node: k for k, group in enumerate(groups) for node in group}
    total = 0
    for node, users in without_free(graph).adjacency():
        readers = {home.get(user) for user in users} - {home.get(node)}
        written = node in home and bool(readers)
        total += (len(readers - {None}) + written) * graph.nodes[node]["nbytes"]
    return total


def check(graph: nx.DiGraph, result: Segmentation, floor: int) -> None:
    placed = [node for group in result.segments for node in group]
    assert len(placed) == len(set(placed))
    assert not set(placed) & set(result.demoted)
    assert set(placed) | set(result.demoted) == set(trt_nodes(graph))
    assert all(len(group) >= floor for group in result.segments)
    assert is_acyclic_partition(graph, result.segments)
    position = {node: k for k, group in enumerate(result.segments) for node in group}
    reach = nx.transitive_closure_dag(without_free(graph))
    assert all(position[u] <= position[v] for u, v in reach.edges if u in position and v in position)
    for node, demotion in result.demoted.items():
        assert node in demotion.members
        assert demotion.segment_size < demotion.min_block_size == floor


@given(graphs())
@settings(max_examples=200, deadline=None)
def test_the_number_of_segments_is_the_minimum(graph: nx.DiGraph) -> None:
    result = segment(graph, min_block_size=1)
    check(graph, result, 1)
    assert not result.demoted
    assert len(result.segments) == fewest_segments(graph)
    assert result.boundary_bytes == boundary_bytes(graph, result.segments)


@given(graphs(), st.integers(2, 4), st.booleans())
@settings(max_examples=200, deadline=None)
def test_segments_are_acyclic_large_enough_and_ordered(graph: nx.DiGraph, floor: int, merge: bool) -> None:
    check(graph, segment(graph, floor, merge_independent=merge), floor)


@given(graphs(), st.integers(2, 4))
@settings(max_examples=200, deadline=None)
def test_no_demoted_node_fits_into_a_segment(graph: nx.DiGraph, floor: int) -> None:
    result = segment(graph, floor)
    for node in result.demoted:
        for k in range(len(result.segments)):
            groups = [(*group, node) if i == k else group for i, group in enumerate(result.segments)]
            assert not is_acyclic_partition(graph, groups), f"{node} fits into segment {k}"


def test_demotions_stay_as_near_the_exhaustive_optimum_as_published() -> None:
    rng = random.Random(1)
    gaps = []
    for _ in range(1500):
        graph, floor = random_graph(rng, rng.randint(4, 11)), rng.randint(2, 4)
        gaps.append(len(segment(graph, floor).demoted) - fewest_demoted(graph, floor))
    assert min(gaps) == 0
    assert max(gaps) <= 1
    assert sum(gaps) <= 7


def test_boundary_bytes_stay_as_near_the_exhaustive_optimum_as_published() -> None:
    rng = random.Random(2)
    found = least = worse = 0
    for _ in range(400):
        graph = random_graph(rng, rng.randint(4, 10))
        result = segment(graph, 1)
        partitions = acyclic_partitions(graph, trt_nodes(graph), len(result.segments))
        best = min(boundary_bytes(graph, partition) for partition in partitions)
        found, least, worse = found + result.boundary_bytes, least + best, worse + (result.boundary_bytes > best)
    assert worse <= 8
    assert found <= 1.017 * least


def random_graph(rng: random.Random, count: int) -> nx.DiGraph:
    graph = nx.DiGraph()
    for i in range(count):
        graph.add_node(f"n{i:02}", side=rng.choice(("trt", "trt", "torch")), nbytes=rng.choice((1, 4, 9)), order=i)
        for j in rng.sample(range(i), min(i, rng.randint(0, 2))):
            graph.add_edge(f"n{j:02}", f"n{i:02}")
    return graph


@given(graphs(), st.integers(1, 3), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_insertion_does_not_matter(graph: nx.DiGraph, floor: int, rng: random.Random) -> None:
    nodes, edges = list(graph.nodes(data=True)), list(graph.edges)
    rng.shuffle(nodes)
    rng.shuffle(edges)
    shuffled = nx.DiGraph()
    shuffled.add_nodes_from(nodes)
    shuffled.add_edges_from(edges)
    assert segment(shuffled, floor) == segment(graph, floor)


@given(graphs(), st.integers(2, 6))
@settings(max_examples=200, deadline=None)
def test_the_cap_splits_into_convex_pieces(graph: nx.DiGraph, cap: int) -> None:
    whole = segment(graph, 1)
    result = segment(graph, 1, max_segment_nodes=cap)
    check(graph, result, 1)
    assert all(len(group) <= cap for group in result.segments)
    assert len(result.segments) == sum(-(-len(group) // cap) for group in whole.segments)


def test_a_chain_without_fallback_is_one_segment() -> None:
    assert segment(graph_of("a>b>c"), 1).segments == (("a", "b", "c"),)


def test_an_empty_graph_has_no_segments() -> None:
    assert segment(nx.DiGraph()).segments == ()


def test_alternating_chain_needs_a_segment_per_island() -> None:
    graph = graph_of("a>T1>b>T2>c", torch="T1 T2")
    assert segment(graph, 1).segments == (("a",), ("b",), ("c",))


def test_alternating_chain_below_the_minimum_is_demoted_with_the_numbers() -> None:
    result = segment(graph_of("a>b>T1>c", torch="T1"), 2)
    assert result.segments == (("a", "b"),)
    demotion = result.demoted["c"]
    assert (demotion.segment_size, demotion.min_block_size, demotion.members) == (1, 2, ("c",))
    assert demotion.veto is None


def test_diamond_with_one_arm_in_pytorch() -> None:
    graph = graph_of("a>left>b a>T>b", torch="T")
    assert len(segment(graph, 1).segments) == 2


def test_unet_skips_keep_their_encoder_segment() -> None:
    """Each encoder block feeds the next and, over a skip, its decoder; only the bottleneck runs in PyTorch."""
    graph = graph_of("e1>e2>e3>T>d3>d2>d1 e1>d1 e2>d2 e3>d3", torch="T")
    assert segment(graph, 1).segments == (("e1", "e2", "e3"), ("d3", "d2", "d1"))


def test_inception_branches_are_not_serialised() -> None:
    """Twelve branches with one PyTorch operator each, at different depths: two segments, not twelve."""
    paths = []
    for branch in range(12):
        chain = [f"b{branch}_{k}" for k in range(4)]
        chain.insert(1 + branch % 3, f"T{branch}")
        paths.append(">".join(["stem", *chain, "join"]))
    graph = graph_of(" ".join(paths), torch=" ".join(f"T{b}" for b in range(12)))
    assert len(segment(graph, 5).segments) == 2
    assert not segment(graph, 5).demoted


def test_parallel_decoder_heads_share_a_segment() -> None:
    """DETR: encoder, a matching step in PyTorch for each of six heads, then six heads."""
    paths = " ".join(f"enc>dec>T{h}>h{h}a>h{h}b" for h in range(6))
    graph = graph_of(paths, torch=" ".join(f"T{h}" for h in range(6)))
    assert [len(group) for group in segment(graph, 1).segments] == [2, 12]


def test_free_nodes_do_not_split() -> None:
    """A size computed from an activation and used later is no dependency."""
    graph = graph_of("a>T>b a>size>mul>b w>a w>b", torch="T", free="size mul w")
    assert segment(graph, 1).segments == (("a",), ("b",))
    assert segment(graph_of("a>size>b a>b", free="size"), 1).segments == (("a", "b"),)


def test_expanded_mask_moves_to_its_reader() -> None:
    graph = graph_of("x>a>T>b ids>unsqueeze>expand>b", torch="x ids T")
    set_bytes(graph, ids=4, unsqueeze=4, expand=4000, a=100, T=100, x=100)
    assert segment(graph, 1).segments == (("a",), ("unsqueeze", "expand", "b"))


def test_a_hump_of_bytes_is_crossed_as_a_whole() -> None:
    """Moving `late` alone costs bytes, moving it with the large node before it saves some."""
    graph = graph_of("x>a>T>b ids>small>large>late>b", torch="x ids T")
    set_bytes(graph, ids=1, small=1, large=1000, late=50)
    assert segment(graph, 1).segments[1] == ("small", "large", "late", "b")


def test_reduction_stays_with_its_operand() -> None:
    graph = graph_of("x>a>mean>b a>T>b", torch="x T")
    set_bytes(graph, a=1000, T=10, mean=1, x=10)
    assert segment(graph, 1).segments == (("a", "mean"), ("b",))


def test_slack_fills_a_segment_below_the_minimum() -> None:
    graph = graph_of("a1>a2>T>b1>b2>b3 s>out", torch="T out")
    assert [len(group) for group in segment(graph, 3).segments] == [3, 3]


def test_demotion_lets_neighbours_share_a_segment() -> None:
    """Without the lone `b` the chain alternates once less, so the independent `c` parts need no third segment."""
    graph = graph_of("a1>a2>a3>T1>b>T2>c1>c2>c3", torch="T1 T2")
    result = segment(graph, 3)
    assert result.segments == (("a1", "a2", "a3"), ("c1", "c2", "c3"))
    assert set(result.demoted) == {"b"}


def test_independent_parts_share_a_segment_unless_told_otherwise() -> None:
    graph = graph_of("x>a1>a2 y>b1>b2", torch="x y")
    assert segment(graph, 2).segments == (("a1", "a2", "b1", "b2"),)
    assert segment(graph, 2, merge_independent=False).segments == (("a1", "a2"), ("b1", "b2"))
    together = graph_of("x>a1>a2 x>b1>b2", torch="x")
    assert len(segment(together, 2, merge_independent=False).segments) == 1


def test_vetoed_nodes_run_in_pytorch_and_keep_their_reason() -> None:
    result = segment(graph_of("a>b>c"), 1, vetoed={"b": "the build of its engine failed"})
    assert result.segments == (("a",), ("c",))
    assert result.demoted["b"].veto == "the build of its engine failed"


def test_long_chain_is_split_evenly_and_where_few_bytes_cross() -> None:
    names = [f"n{i:04}" for i in range(1000)]
    graph = graph_of(">".join(names))
    for name in names:
        graph.nodes[name]["nbytes"] = 100
    set_bytes(graph, n0342=1, n0660=1)
    pieces = segment(graph, 5, max_segment_nodes=400).segments
    assert [piece[-1] for piece in pieces] == ["n0342", "n0660", "n0999"]


def test_large_alternating_graph() -> None:
    """10,000 nodes, a PyTorch operator after every 40: 250 segments with skips across."""
    graph = nx.DiGraph()
    names = [f"n{i:05}" for i in range(10_000)]
    for i, name in enumerate(names):
        graph.add_node(name, side="torch" if i % 40 == 39 else "trt", nbytes=i % 7, order=i)
    graph.add_edges_from(pairwise(names))
    graph.add_edges_from((names[i], names[i + 97]) for i in range(0, 9_900, 13))
    result = segment(graph, 5)
    assert len(result.segments) == 250
    assert not result.demoted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_block_size": 0}, "min_block_size must be at least 1"),
        ({"min_block_size": 5, "max_segment_nodes": 9}, "less than twice min_block_size"),
        ({"vetoed": {"T": "no"}}, "vetoed node 'T'"),
        ({"vetoed": {"nowhere": "no"}}, "vetoed node 'nowhere'"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segment(graph_of("a>T", torch="T"), **arguments)


def test_cycles_and_unknown_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="has a cycle"):
        segment(graph_of("a>b>a"))
    with pytest.raises(ValueError, match="has side='gpu'"):
        segment(graph_of("a>b", gpu="b"))


def test_a_node_that_does_the_work_of_many_is_a_segment_alone() -> None:
    graph = graph_of("a>x>heavy>y>b", torch="x y")
    graph.nodes["heavy"]["heavy"] = True
    assert segment(graph, 5).segments == ()
    counted = segment(graph, 5, count_work=True)
    assert counted.segments == (("heavy",),)
    assert {name: item.segment_size for name, item in counted.demoted.items()} == {"a": 1, "b": 1}


@settings(max_examples=150, deadline=None)
@given(graph=graphs(), heavy=st.sets(st.integers(0, 11)), floor=st.integers(2, 5))
def test_counted_work_keeps_every_promise(graph: nx.DiGraph, heavy: set[int], floor: int) -> None:
    for index in heavy:
        if f"n{index:02}" in graph:
            graph.nodes[f"n{index:02}"]["heavy"] = True
    result = segment(graph, floor, count_work=True)
    assert is_acyclic_partition(graph, result.segments)
    for group in result.segments:
        assert len(group) >= floor or any(graph.nodes[name].get("heavy") for name in group)
    assert not any(graph.nodes[name].get("heavy") for name in result.demoted)


def hub(count: int, side: str) -> nx.DiGraph:
    """Short chains with fallbacks at other places in each, all of whose nodes read one tensor."""
    graph = nx.DiGraph()
    graph.add_node("hub", side=side, nbytes=4, order=0)
    for chain in range(count // 6):
        before = "hub"
        for place in range(6):
            name = f"n{chain}_{place}"
            kind = "torch" if (place + chain) % 3 == 1 else "trt"
            graph.add_node(name, side=kind, nbytes=4 * (1 + (chain * place) % 9), order=6 * chain + place + 1)
            graph.add_edges_from([(before, name), ("hub", name)])
            before = name
    return graph


@pytest.mark.parametrize("side", ["trt", "torch"])
def test_readers_of_a_hub_take_time_in_proportion_to_their_number(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours that are looked at, which is what a scan of the hub for every reader would multiply."""
    from trt_passes.passes.partition.levels import LevelGraph

    def looked_at(count: int) -> int:
        seen = 0
        for name, neighbours in (("upper_bound", "succs"), ("lower_bound", "preds")):
            plain = getattr(LevelGraph, name)

            def counted(
                self: LevelGraph, node: int, *args: object, _plain: object = plain, _n: str = neighbours
            ) -> int:
                nonlocal seen
                seen += len(getattr(self, _n)[node])
                return _plain(self, node, *args)  # type: ignore[operator]

            monkeypatch.setattr(LevelGraph, name, counted)
        segment(hub(count, side), 1)
        monkeypatch.undo()
        return seen

    assert looked_at(2400) < 3 * looked_at(1200)
