"""What of a graph prevents its capture, told without running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from trt_passes.compiler.ir.aliasing import written_tensors
from trt_passes.compiler.runtime.cuda_graphs.capturable import (
    attributes_read,
    draws_random_numbers,
    obstacle,
)

from tests.compiler.runtime.handmade import spliced


def graph_of(function: Callable[..., Any], *args: Tensor) -> torch.fx.Graph:
    class Model(nn.Module):
        def forward(self, *args: Tensor) -> Any:
            return function(*args)

    exported = torch.export.export(Model(), args).run_decompositions({})
    return exported.module(check_guards=False).graph


X, INDEX = torch.rand(4, 4), torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x.nonzero(), "size that depends on data"),
        (lambda x: torch.unique(x), "size that depends on data"),
        (lambda x: x[x > 0.5], "size that depends on data"),
        (lambda x: x.sum().item() * x, "size that depends on data|number that the host waits for"),
        (lambda x: torch.ops.aten.index_put(x, [x > 0.5], x.new_zeros(())), "makes the host wait"),
        (lambda x: torch.histc(x), "makes the host wait"),
        (lambda x: torch.linalg.svd(x)[1], "makes the host wait"),
        (lambda x: torch.linalg.eigh(x)[0], "makes the host wait"),
        (lambda x: x + torch.arange(4, device="cpu"), "makes a tensor on cpu"),
        (lambda x: torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,)), "decides on the host"),
    ],
)
def test_obstacles(function: Any, words: str) -> None:
    reason = obstacle(graph_of(function, X), torch.device("cuda", 0))
    assert reason is not None
    assert any(word in reason for word in words.split("|")), reason
    assert reason.startswith("%")


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.sort(x)[0] + torch.topk(x, 4)[0],
        lambda x: x[INDEX],
        lambda x: torch.ops.aten.index_put(x, [INDEX], x[:2]),
        lambda x: torch.histc(x, 4, 0.0, 1.0),
        lambda x: torch.linalg.vector_norm(x) + torch.linalg.inv_ex(x)[0],
        lambda x: torch.rand_like(x) + torch.nn.functional.dropout(x),
        lambda x: torch.where(x > 0, x, 0.0).masked_fill(x > 0.5, 1.0),
    ],
)
def test_what_can_be_captured(function: Any) -> None:
    assert obstacle(graph_of(function, X)) is None


def test_a_generator_of_its_own_is_an_obstacle() -> None:
    graph = torch.fx.Graph()
    graph.output(graph.call_function(torch.ops.aten.rand.generator, ([2],), {"generator": graph.placeholder("g")}))
    assert "generator of its own" in str(obstacle(graph))


def test_writing_to_what_may_be_a_view_is_an_obstacle() -> None:
    graph = torch.fx.Graph()
    view = graph.call_function(torch.ops.aten.view.default, (graph.placeholder("x"), [4]))
    graph.output(graph.call_function(torch.ops.aten.add_.Tensor, (view, 1)))
    assert "writes to %view" in str(obstacle(graph))


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.weight = nn.Parameter(torch.ones(4))
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor, total: Tensor) -> Tensor:
        self.calls.add_(1)
        total.add_(x.sum())
        return torch.relu(x * self.weight) + torch.rand_like(x) * self.scale


def test_what_a_graph_reads_writes_and_draws() -> None:
    in_engine = ("relu", "mul")
    module = spliced(Counter(), (X, torch.zeros(())), lambda node: node.name in in_engine)
    assert written_tensors(module.graph) == (["calls"], [1])
    assert draws_random_numbers(module.graph)
    assert sorted(attributes_read(module)) == ["calls", "scale"]
    assert not draws_random_numbers(graph_of(torch.relu, X))
