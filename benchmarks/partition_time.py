"""Time the segmentation of graphs with 10,000 operators: `python benchmarks/partition_time.py [operators]`.

Shapes: a chain with a fallback after every 40 operators and skips across; every second operator in PyTorch (all
demoted); 16 branches that alternate out of step; random dependencies on near predecessors; one long chain, split by
the cap; parts with slack and small islands, where filling and refining have most to do.

Measured with Python 3.11 and networkx 3.6 on two cores shared with other work (aim: 2 s; the last shape exists to
defeat the search and is the only one above):

    shape        operators   edges  segments  demoted  seconds
    skips            10000   10761       250        0     0.27
    alternating      10000    9999         0     5000     0.35
    branches         10000   10014        14        0     0.32
    nearby           10000   19780        78        0     1.01
    chain            10000    9999         5        0     0.25
    islands          10000   11111      1528      139     2.66
"""

from __future__ import annotations

import random
import sys
import time
from itertools import pairwise

import networkx as nx
from trt_passes.passes.partition.segmentation import segment


def new_graph(count: int, every: int, rng: random.Random) -> tuple[nx.DiGraph, list[str]]:
    """``count`` nodes, each ``every``-th of them in PyTorch, without edges."""
    graph, names = nx.DiGraph(), [f"n{i}" for i in range(count)]
    for i, name in enumerate(names):
        side = "torch" if every and i % every == every - 1 else "trt"
        graph.add_node(name, side=side, nbytes=4 * rng.randrange(1, 1000), order=i)
    return graph, names


def skips(count: int, rng: random.Random) -> nx.DiGraph:
    """A chain with a PyTorch operator after every 39 and an edge over 97 nodes at every thirteenth."""
    graph, names = new_graph(count, 40, rng)
    graph.add_edges_from(pairwise(names))
    graph.add_edges_from(zip(names[::13], names[97::13], strict=False))
    return graph


def alternating(count: int, rng: random.Random) -> nx.DiGraph:
    """Every second operator in PyTorch."""
    graph, names = new_graph(count, 2, rng)
    graph.add_edges_from(pairwise(names))
    return graph


def branches(count: int, rng: random.Random) -> nx.DiGraph:
    """Sixteen chains between one source and one sink, a PyTorch operator at every 50th place, out of step."""
    graph, names = new_graph(count, 0, rng)
    for branch in range(16):
        chain = names[1 + branch : -1 : 16]
        nx.add_path(graph, [names[0], *chain, names[-1]])
        for name in chain[branch * 3 :: 50]:
            graph.nodes[name]["side"] = "torch"
    return graph


def nearby(count: int, rng: random.Random) -> nx.DiGraph:
    """Two operands each, among the 50 nodes before; one operator in 50 in PyTorch."""
    graph, names = new_graph(count, 50, rng)
    for i in range(1, count):
        for _ in range(2):
            graph.add_edge(names[rng.randrange(max(0, i - 50), i)], names[i])
    return graph


def chain(count: int, rng: random.Random) -> nx.DiGraph:
    """One chain without a fallback."""
    graph, names = new_graph(count, 0, rng)
    graph.add_edges_from(pairwise(names))
    return graph


def islands(count: int, rng: random.Random) -> nx.DiGraph:
    """An alternating chain of a third of the nodes beside short chains that could go anywhere."""
    graph, names = new_graph(count, 0, rng)
    spine, rest = names[: count // 3], names[count // 3 :]
    graph.add_edges_from(pairwise(spine))
    for name in spine[1::2]:
        graph.nodes[name]["side"] = "torch"
    for start in range(0, len(rest), 6):
        nx.add_path(graph, [rng.choice(spine), *rest[start : start + 6], rng.choice(spine[-1:])])
    return graph


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{'shape':<12}{'operators':>10}{'edges':>8}{'segments':>10}{'demoted':>9}{'seconds':>9}")
    for shape in (skips, alternating, branches, nearby, chain, islands):
        graph = shape(count, random.Random(1))
        start = time.perf_counter()
        result = segment(graph)
        seconds = time.perf_counter() - start
        print(
            f"{shape.__name__:<12}{count:>10}{graph.number_of_edges():>8}"
            f"{len(result.segments):>10}{len(result.demoted):>9}{seconds:>9.2f}"
        )


if __name__ == "__main__":
    main()
