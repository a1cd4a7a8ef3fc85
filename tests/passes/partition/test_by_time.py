"""Partitions by predicted time: what the cut of a region costs beside all other choices, and what a tuning decides."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from typing import Any

import networkx as nx
import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.tuning import ONE_WAY, PYTORCH, Measured, Tuning, pattern_of
from trt_passes.passes.partition import cheapest_sides
from trt_passes.passes.partition.cheapest_sides import Cost, Prices, Sides


def random_graph(seed: int, size: int) -> tuple[nx.DiGraph, dict[str, Cost], Prices]:
    numbers = random.Random(seed)
    graph, costs, crossing = nx.DiGraph(), {}, {}
    for index in range(size):
        name = f"n{index}"
        side = numbers.choice(("trt", "trt", "trt", "torch", "free"))
        graph.add_node(name, side=side)
        for before in range(index):
            if numbers.random() < 2 / size:
                graph.add_edge(f"n{before}", name)
        if side == "trt" and numbers.random() < 0.8:
            costs[name] = Cost(numbers.randint(0, 12), numbers.randint(0, 12))
        crossing[name] = float(numbers.randint(0, 3))
    outside = {"n0", f"n{size - 1}"} - set(costs) if numbers.random() < 0.5 else set()
    return graph, costs, Prices(float(numbers.randint(0, 9)), crossing, outside)


def test_a_cut_costs_as_little_as_the_best_of_all_choices() -> None:
    for seed in range(60):
        graph, costs, prices = random_graph(seed, 9)
        sides = Sides(graph, costs, prices)
        choices = itertools.chain.from_iterable(itertools.combinations(costs, n) for n in range(len(costs) + 1))
        best = min(sides.total(set(choice)) for choice in choices)
        found = sides.in_pytorch()
        assert found <= set(costs)
        assert sides.total(found) <= best + 0.02, seed


def test_large_regions_are_weighed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cheapest_sides, "LARGE", 1)
    graph = nx.DiGraph()
    nx.add_path(graph, ["a", "b", "c", "d"])
    nx.set_node_attributes(graph, "trt", "side")
    costs = {"a": Cost(5, 50), "b": Cost(100, 10), "c": Cost(100, 97), "d": Cost(5, 50)}
    assert Sides(graph, costs, Prices(5.0, {})).in_pytorch() == {"b"}
    monkeypatch.undo()
    assert Sides(graph, costs, Prices(5.0, {})).in_pytorch() == {"b", "c"}


class Steps(nn.Module):
    """Softmaxes and arithmetic between two matrix products."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.softmax(self.first(x), -1)
        y = torch.softmax(torch.relu(y - 0.01).transpose(1, 2), 1)
        return self.last(y.transpose(1, 2))


X = torch.randn(2, 3, 8)
NUMBERS = {"border_us": 5.0, "launch_us": 2.0, "bandwidth": 2e12}
SLOW = {ONE_WAY: Measured(50.0), PYTORCH: Measured(10.0)}


def made_up(model: nn.Module, x: torch.Tensor, rows: Mapping[str, Any], **numbers: float) -> Tuning:
    """A tuning that has these rows for all operators whose names hold a word."""
    program = tp.PassManager("decompose,lower,annotate").run(tp.trace(model.eval(), [x])).program
    found = {}
    for node in program.op_nodes:
        for word, row in rows.items():
            if word in node.name:
                found[pattern_of(node, program.constants)] = row
    return Tuning("a GPU", {}, found, **{**NUMBERS, **numbers})


def compiled(tuning: Tuning, model: nn.Module | None = None, **options: Any) -> Any:
    options = {"min_block_size": 1, "executor": "reference", "tuning": tuning, **options}
    return tp.compile((model or Steps()).eval(), [X], **options)


def in_pytorch(module: Any) -> set[str]:
    return {row.node for row in module.report.ledger if row.verdict != "trt"}


def test_what_lies_between_two_operators_of_pytorch_stays_with_them() -> None:
    tuning = made_up(Steps(), X, {"softmax": SLOW})
    module = compiled(tuning)
    assert {"softmax", "softmax_1", "sub", "relu"} <= in_pytorch(module)
    assert len(module.report.segments) == 2
    ledger = module.report.ledger
    assert {row.reasons[0].code for row in ledger if row.reasons} == {"TP305"}
    softmax = next(row for row in ledger if "softmax" in row.op)
    assert softmax.reasons[0].message == "TensorRT takes 50.0 us here, PyTorch 10.0 us (tuning.json)."
    assert (
        "beside it stay in PyTorch: leaving an engine and coming back takes 5.0 us" in ledger["relu"].reasons[0].message
    )
    assert any("by predicted time (tuning.json, a GPU)" in note for note in module.report.notes)
    torch.testing.assert_close(module(X), Steps()(X), rtol=1e-3, atol=1e-3)


def test_borders_that_cost_more_than_what_is_saved_change_nothing() -> None:
    assert not in_pytorch(compiled(made_up(Steps(), X, {"softmax": SLOW}, border_us=200.0)))
    slow_copies = made_up(Steps(), X, {"softmax": SLOW}, bandwidth=1e6)
    assert not in_pytorch(compiled(slow_copies))


def test_arithmetic_that_takes_long_in_pytorch_has_an_engine_between() -> None:
    module = compiled(made_up(Steps(), X, {"softmax": SLOW}, launch_us=40.0))
    assert {row.op for row in module.report.ledger if row.verdict != "trt"} == {"aten.softmax.int"}
    assert len(module.report.segments) == 3
    torch.testing.assert_close(module(X), Steps()(X), rtol=1e-3, atol=1e-3)


def test_the_price_of_neighbours_decides_for_an_operator_that_is_faster_in_tensorrt() -> None:
    beside = {ONE_WAY: Measured(10.0), PYTORCH: Measured(11.0)}
    module = compiled(made_up(Steps(), X, {"softmax": SLOW, "relu": beside}))
    assert "TensorRT takes 10.0 us here, PyTorch 11.0 us, but" in module.report.ledger["relu"].reasons[0].message


class Lonely(nn.Module):
    """A product between operators that TensorRT has not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.linalg.svdvals(x)
        return torch.linalg.svdvals((y.unsqueeze(-1) @ y.unsqueeze(-2)).relu())


def test_a_product_that_is_measured_to_pay_for_it_has_an_engine_of_its_own() -> None:
    rows = {
        "matmul": {ONE_WAY: Measured(10.0), PYTORCH: Measured(90.0)},
        "bmm": {ONE_WAY: Measured(10.0), PYTORCH: Measured(90.0)},
    }
    options = {"min_block_size": None, "lower_complex": True} if False else {"min_block_size": None}
    assert not tp.compile(Lonely(), [X], executor="reference").report.segments
    module = compiled(made_up(Lonely(), X, rows), Lonely(), **options)
    assert len(module.report.segments) == 1
    torch.testing.assert_close(module(X), Lonely()(X), rtol=1e-3, atol=1e-3)


def test_the_most_exact_variant_is_in_pytorch_where_no_other_is_exact_enough() -> None:
    rough = {ONE_WAY: Measured(5.0, 1e-2), PYTORCH: Measured(50.0, 1e-4)}
    tuning = made_up(Steps(), X, {"softmax": rough})
    messages = [row.reasons[0] for row in compiled(tuning).report.ledger if "softmax" in row.op]
    assert {reason.code for reason in messages} == {"TP306"}
    assert (
        messages[0].message
        == "TensorRT's error is at least 1.0e-02 here, PyTorch's 1.0e-04, in 5.0 us and 50.0 us (tuning.json)."
    )
    assert not in_pytorch(compiled(tuning, preset="fast"))
    assert not in_pytorch(compiled(made_up(Steps(), X, {"softmax": {**rough, ONE_WAY: Measured(5.0, 1.9e-4)}})))
    assert in_pytorch(compiled(tuning, max_error=1e-3))


def test_partitioning_again_changes_nothing_and_a_failed_node_is_weighed_anew() -> None:
    tuning = made_up(Steps(), X, {"softmax": SLOW})
    settings = tp.Settings(min_block_size=1, tuning=tuning)
    manager = tp.PassManager("decompose,lower,annotate,partition", settings=settings)
    program = manager.run(tp.trace(Steps().eval(), [X])).program
    again = tp.PassManager("partition", settings=settings).run(program).program
    assert [item.nodes for item in again.segments] == [item.nodes for item in program.segments]
    assert str(again.ledger) == str(program.ledger)
