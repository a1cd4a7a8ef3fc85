"""The boundary bill with numbers worked out by hand, and PyTorch islands against their definition."""

from __future__ import annotations

import json
import random

import networkx as nx
import pytest
import torch
from trt_passes.compiler.analysis.boundary import Cast, Crossing, boundary_bill
from trt_passes.compiler.analysis.islands import islands
from trt_passes.compiler.analysis.tensor_bytes import TensorBytes
from trt_passes.compiler.ir.input import Input
from trt_passes.compiler.ir.program import Program, is_symbolic

from tests.compiler.analysis.partitioned import exported, judged, partitioned, random_program

X = torch.randn(2, 8)  # 64 bytes


def test_every_tensor_with_its_bytes_and_places() -> None:
    def forward(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a = x.relu() + y
        b = a.sort().values
        return b.sin() + a, a

    bill = boundary_bill(partitioned(judged(exported(forward, (X, X + 1)), {"sort"})))
    first, second = bill.engines
    assert first.inputs == (
        Crossing("arguments_0", "f32[2,8]", 64, "in", "caller", ("segment-00",)),
        Crossing("arguments_1", "f32[2,8]", 64, "in", "caller", ("segment-00",)),
    )
    assert first.outputs == (
        Crossing("add", "f32[2,8]", 64, "out", "segment-00", ("pytorch-00", "segment-01", "caller")),
    )
    assert second.inputs == (
        Crossing("getitem", "f32[2,8]", 64, "in", "pytorch-00", ("segment-01",)),
        Crossing("add", "f32[2,8]", 64, "in", "segment-00", ("segment-01",)),
    )
    assert second.outputs == (Crossing("add_1", "f32[2,8]", 64, "out", "segment-01", ("caller",)),)
    assert (first.input_bytes, first.output_bytes) == (128, 64)
    assert (bill.nbytes, len(bill.crossings), bill.unknown, bill.casts) == (384, 6, 0, ())
    assert str(bill).splitlines()[:3] == [
        "6 tensors cross engine boundaries per call, 384 B",
        "segment-00: 128 B in, 64 B out",
        "  in  %arguments_0 f32[2,8] 64 B caller -> segment-00",
    ]


def test_casts_at_the_boundary() -> None:
    def forward(x: torch.Tensor) -> torch.Tensor:
        return x.float().sin().double()

    bill = boundary_bill(partitioned(judged(exported(forward, (X.double(),)), {"_to_copy", "_to_copy_1"})))
    (engine,) = bill.engines
    assert engine.inputs[0].casts == (Cast("_to_copy", "f64", "f32", "pytorch-00"),)
    assert engine.outputs[0].casts == (Cast("_to_copy_1", "f32", "f64", "pytorch-01"),)
    assert [engine.inputs[0].nbytes, engine.outputs[0].nbytes] == [64, 64]
    assert str(engine.inputs[0]).endswith("pytorch-00 -> segment-00, cast f64 -> f32 in pytorch-00")
    assert len(bill.casts) == 2


def test_a_cast_inside_the_engine_is_at_its_boundary_too() -> None:
    bill = boundary_bill(partitioned(judged(exported(lambda x: x.half().sin(), (X,)), set())))
    (engine,) = bill.engines
    assert engine.inputs[0].casts == (Cast("_to_copy", "f32", "f16", "segment-00"),)
    assert engine.outputs[0].casts == ()
    assert engine.output_bytes == 32


def test_dynamic_sizes_count_at_their_opt_size() -> None:
    declared = Input(min_shape=(2, 8), opt_shape=(5, 8), max_shape=(9, 8))
    batch = torch.export.Dim("batch", min=2, max=9)
    program = exported(lambda x: torch.cat((x.relu(), x)), (X,), ({0: batch},), declared=(declared,))
    (engine,) = boundary_bill(partitioned(judged(program, set()))).engines
    assert (engine.input_bytes, engine.output_bytes) == (5 * 8 * 4, 2 * 5 * 8 * 4)
    assert engine.inputs[0].type.startswith("f32[s")


def test_sizes_that_depend_on_values_are_unknown() -> None:
    program = exported(lambda x: (x > 0).nonzero().float(), (X,))
    sizes = TensorBytes(program)
    assert sizes.of(program.node("nonzero")) is None
    assert sizes.of(program.node("gt")) == 16


def test_state_is_a_place() -> None:
    class Accumulate(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(2, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.total.add_(x)
            return x * self.total

    (engine,) = boundary_bill(partitioned(judged(exported(Accumulate(), (X,)), set()))).engines
    assert {item.name: item.made_in for item in engine.inputs} == {"b_total": "state", "x": "caller"}
    assert {item.name: item.read_in for item in engine.outputs} == {"add": ("state",), "mul": ("caller",)}


def test_a_result_that_alone_was_turned_away_has_a_place() -> None:
    program = exported(lambda x: x.split(4, 1)[0].sin() + x.split(4, 1)[1], (X,))
    (engine,) = boundary_bill(partitioned(judged(program, {"getitem_3"}), 2)).engines
    assert "pytorch" in {place for item in engine.crossings for place in (item.made_in, *item.read_in)}


def test_no_engines_no_bill() -> None:
    bill = boundary_bill(partitioned(judged(exported(torch.relu, (X,)), {"relu"})))
    assert (bill.engines, bill.nbytes) == ((), 0)


def test_the_bill_is_json() -> None:
    bill = boundary_bill(partitioned(judged(exported(lambda x: x.relu(), (X,)), set())))
    assert json.loads(json.dumps(bill.to_json())) == {
        "crossings": 2,
        "bytes": 128,
        "casts": 0,
        "unknown": 0,
        "engines": [
            {
                "segment": "segment-00",
                "input_bytes": 64,
                "output_bytes": 64,
                "inputs": [
                    {
                        "name": "arguments_0",
                        "type": "f32[2,8]",
                        "nbytes": 64,
                        "direction": "in",
                        "made_in": "caller",
                        "read_in": ["segment-00"],
                        "casts": [],
                    }
                ],
                "outputs": [
                    {
                        "name": "relu",
                        "type": "f32[2,8]",
                        "nbytes": 64,
                        "direction": "out",
                        "made_in": "segment-00",
                        "read_in": ["caller"],
                        "casts": [],
                    }
                ],
            }
        ],
    }


def contracted(program: Program) -> nx.DiGraph:
    """Segments and islands as single nodes, with the flow of tensors between them."""
    place = {name: item.name for item in (*program.segments, *islands(program)) for name in item.nodes}
    quotient = nx.DiGraph()
    for node in program.op_nodes:
        for source in node.all_input_nodes:
            if not is_symbolic(node) and not is_symbolic(source) and source.op == "call_function":
                quotient.add_edge(place[source.name], place[node.name])
    quotient.remove_edges_from(list(nx.selfloop_edges(quotient)))
    return quotient


@pytest.mark.parametrize("seed", range(3))
def test_islands_hold_every_fallback_once_and_close_no_cycle(seed: int) -> None:
    whole = random_program(seed, 14)
    rng = random.Random(seed)
    names = [node.name for node in whole.op_nodes if not is_symbolic(node)]
    operators = [name for name in names if not name.startswith("getitem")]
    for _ in range(6):
        program = partitioned(judged(whole.copy(), set(rng.sample(operators, 6))), rng.choice((1, 3)))
        inside = {name for item in program.segments for name in item.nodes}
        members = [name for island in islands(program) for name in island.nodes]
        assert sorted(members) == sorted(set(names) - inside)
        assert nx.is_directed_acyclic_graph(contracted(program))


def test_islands_around_an_engine_are_two() -> None:
    program = partitioned(judged(exported(lambda x: x.sin().cos().relu().exp().tan(), (X,)), {"sin", "cos", "tan"}))
    assert [(island.name, island.nodes) for island in islands(program)] == [
        ("pytorch-00", ("sin", "cos")),
        ("pytorch-01", ("tan",)),
    ]
