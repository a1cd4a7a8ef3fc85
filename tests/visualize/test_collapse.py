"""Collapsing keeps the counts, stays within the limits, and only merges what is the same."""

from __future__ import annotations

import networkx as nx
import pytest
from trt_passes.compiler.ir.ledger import Verdict
from trt_passes.visualize import fold_modules, fold_runs, graph_picture, merge_repeats, program_picture
from trt_passes.visualize.operators import parameter_labels
from trt_passes.visualize.picture import Box, Edge, Picture

from .programs import judged, stack


def test_repeated_blocks_are_drawn_once() -> None:
    picture = program_picture(stack(12))
    assert picture.frames == {"layers.0": "layers.0 … 11  ×12"}
    assert picture.counts == {"": 4 * 12 + 1}
    assert {box.times for box in picture.boxes if box.module.startswith("layers")} == {12}
    assert picture.remarks == ("5 of 49 op nodes drawn, the rest collapsed",)
    assert ("add", "linear_24") in {(edge.source, edge.target) for edge in picture.edges}


def test_a_picture_with_repeated_blocks_has_no_backward_edge() -> None:
    picture = program_picture(stack(12))
    position = {box.id: index for index, box in enumerate(picture.boxes)}
    assert all(position[edge.source] < position[edge.target] for edge in picture.edges)


def test_a_block_with_another_verdict_is_drawn_by_itself() -> None:
    picture = program_picture(judged(stack(6), {"relu_2": Verdict.EXCLUDED}))
    assert picture.frames == {"layers.0": "layers.0 … 1  ×2", "layers.3": "layers.3 … 5  ×3"}
    assert picture.counts == {"trt": 24, "excluded": 1}


def test_a_touched_block_is_drawn_by_itself() -> None:
    picture = program_picture(stack(3), touched={"relu_1"})
    assert picture.frames == {}
    assert [box.id for box in picture.boxes if box.touched] == ["relu_1"]


def test_different_arguments_are_not_merged() -> None:
    program = stack(2)
    program.node("relu_1").target = program.node("add").target
    program.node("relu_1").args = (program.node("linear_2"), 2)
    assert program_picture(program).frames == {}


def test_modules_are_folded_to_the_limit() -> None:
    program = stack(30)
    picture = fold_modules(graph_picture(program.graph, parameter_labels(program)), 40)
    assert len(picture.boxes) <= 40
    assert [box.lines[0] for box in picture.boxes if box.kind == "module"] == [f"layers.{i}" for i in range(30)]
    assert picture.counts == {"": 121}


@pytest.mark.parametrize("limit", [4, 10, 150])
@pytest.mark.parametrize("ends", [1, 60])
def test_runs_are_folded_to_the_limit_without_circles(limit: int, ends: int) -> None:
    count = 10_000
    inner = [Box(f"n{i}", (f"n{i}",), verdicts={"trt": 1}) for i in range(count)]
    inputs = [Box(f"in{i}", (f"in{i}",), "input") for i in range(ends)]
    outputs = [Box(f"out{i}", (f"out{i}",), "output") for i in range(ends)]
    edges = [Edge(f"n{i}", f"n{j}") for i in range(count) for j in (i + 1, i + 37) if j < count]
    edges += [Edge(box.id, "n0") for box in inputs] + [Edge(f"n{count - 1}", box.id) for box in outputs]
    folded = fold_runs(Picture("many", (*inputs, *inner, *outputs), tuple(edges)), limit)
    assert len(folded.boxes) <= limit
    assert folded.counts == {"trt": count}
    known = {box.id for box in folded.boxes}
    assert all(edge.source in known and edge.target in known for edge in folded.edges)
    assert nx.is_directed_acyclic_graph(nx.DiGraph((edge.source, edge.target) for edge in folded.edges))


def test_nothing_to_merge_leaves_the_picture_as_it_is() -> None:
    picture = graph_picture(stack(1).graph)
    assert merge_repeats(picture) == picture
