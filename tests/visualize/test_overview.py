"""The overview: regions that can run one after the other, and what crosses between them."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
import trt_passes as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from trt_passes.compiler.ir.ledger import Verdict
from trt_passes.compiler.ir.program import Program
from trt_passes.visualize import overview_picture, regions, segment_picture, to_dot

from ..conftest import Golden
from .programs import chain, export, judged, partitioned, portable, stack


def test_overview_of_two_engines_and_an_island(golden: Golden) -> None:
    golden.check("visualize/chain-overview.dot", portable(to_dot(overview_picture(chain()))))


def test_crossing_tensors_and_bytes() -> None:
    edges = {(edge.source, edge.target): edge for edge in overview_picture(chain()).edges}
    crossing = edges["segment-00", "pytorch-00"]
    assert (crossing.label, crossing.nbytes) == ("f32[2,8]\n64 B", 2 * 8 * 4)
    back = edges["pytorch-00", "segment-01"]
    assert back.nbytes == 2 * 8 * (4 + 8)


def test_a_custom_operator_keeps_its_namespace() -> None:
    @torch.library.custom_op("overview_test::halve", mutates_args=())
    def halve(x: torch.Tensor) -> torch.Tensor:
        return x / 2

    halve.register_fake(torch.empty_like)
    module = nn.Module()
    module.forward = lambda x: torch.relu(halve(torch.relu(x)))
    program = tp.trace(module, (torch.ones(4),))
    settings = tp.Settings(min_block_size=1)
    report = tp.PassManager("decompose,annotate,partition", settings=settings).run(program)
    labels = [box.lines[0] for box in overview_picture(report.program).boxes if box.kind == "island"]
    assert labels == ["overview_test.halve"]


def test_before_partition_the_modules_are_shown() -> None:
    picture = overview_picture(stack(100))
    assert len(picture.boxes) <= 40
    assert picture.counts == {"": 401}


def test_a_segment_with_its_borders(golden: Golden) -> None:
    program = chain()
    golden.check("visualize/chain-segment-01.dot", portable(to_dot(segment_picture(program, program.segments[1]))))


class Wide(nn.Module):
    """Additions wired as told: node i adds two of the values before it."""

    def __init__(self, wiring: list[tuple[int, int]]) -> None:
        super().__init__()
        self.wiring = wiring

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [x]
        for first, second in self.wiring:
            values.append(values[first] + values[second])
        return sum(values)


@st.composite
def wirings(draw: st.DrawFn) -> tuple[list[tuple[int, int]], list[int]]:
    count = draw(st.integers(1, 9))
    pairs = [(draw(st.integers(0, i)), draw(st.integers(0, i))) for i in range(count)]
    return pairs, draw(st.lists(st.integers(0, 2), min_size=3 * count, max_size=3 * count))


@settings(max_examples=25, deadline=None)
@given(wirings())
def test_regions_never_wait_for_each_other(case: tuple[list[tuple[int, int]], list[int]]) -> None:
    wiring, colours = case
    program = export(Wide(wiring), torch.zeros(2))
    names = [node.name for node in program.op_nodes]
    stays = {name: Verdict.EXCLUDED for name, colour in zip(names, colours, strict=False) if colour == 0}
    program = judged(program, stays)
    segments = tuple((name,) for name in names if name not in stays)
    program = partitioned(program, *segments)
    found = regions(program)
    assert sorted(node.name for region in found for node in region.nodes) == sorted(names)
    home = {node: region.name for region in found for node in region.nodes}
    edges = [
        (home[source], home[node])
        for node in home
        for source in node.all_input_nodes
        if home.get(source, home[node]) != home[node]
    ]
    quotient = nx.DiGraph(edges)
    assert nx.is_directed_acyclic_graph(quotient)
    position = {region.name: index for index, region in enumerate(found)}
    assert all(position[source] < position[target] for source, target in edges)


@pytest.mark.long
def test_a_thousand_segments_fit_into_the_limit() -> None:
    program = judged(stack(300), {})
    names = [node.name for node in program.op_nodes]
    program = partitioned(program, *[tuple(names[i : i + 2]) for i in range(0, len(names), 2)])
    picture = overview_picture(program)
    assert len(picture.boxes) <= 150
    assert picture.counts == {"trt": 1201}
    assert any("drawn, the rest collapsed" in text for text in picture.remarks)


class Scattered(nn.Module):
    """Three parts that stay in PyTorch, of which two share no data, and sizes that are worked out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(x)
        first, second = y.sort(1).values, y.sort(0).values
        z = (first + second).reshape(x.shape[0] * 2, -1)
        return z.sort(1).values.reshape(x.shape[0], -1) + first


def test_it_has_as_many_islands_as_the_report() -> None:
    sizes = {"x": {0: torch.export.Dim("n", min=2, max=8)}}
    program = Program(torch.export.export(Scattered(), (torch.ones(4, 6),), dynamic_shapes=sizes))
    settings = tp.Settings(min_block_size=1, torch_executed_ops=frozenset({"aten.sort"}))
    report = tp.PassManager("decompose,annotate,partition", settings=settings).run(program)
    found = [region for region in regions(report.program) if region.is_island]
    assert {region.name: [node.name for node in region.nodes] for region in found} == {
        island.name: list(island.nodes) for island in report.islands
    }
    assert len(found) >= 2
    remark = overview_picture(report.program).remarks[0]
    assert f"{len(report.islands)} PyTorch islands" in remark
