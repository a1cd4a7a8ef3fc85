"""Results of torch.compile's graphs that are views, and what follows a graph break writes to, compared with eager."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
import trt_passes as tp
from torch import nn


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def backend() -> tp.TorchCompileBackend:
    return tp.TorchCompileBackend(executor="reference", min_block_size=1, pass_through_build_failures=True)


def of_an_input(x: torch.Tensor) -> list[torch.Tensor]:
    row, scaled = x[1], x * 2
    torch._dynamo.graph_break()
    row.add_(1)
    return [row, scaled]


def of_an_input_that_an_engine_reads_too(x: torch.Tensor) -> list[torch.Tensor]:
    tripled = x.view(-1) * 3
    flat = x.view(-1)
    torch._dynamo.graph_break()
    flat.add_(1)
    return [flat, tripled]


def of_another_result(x: torch.Tensor) -> list[torch.Tensor]:
    y = torch.relu(x)
    row, turned = y[0], y.t()
    torch._dynamo.graph_break()
    row.add_(1)
    turned.mul_(2)
    return [y, row, turned]


def of_a_result_that_is_not_returned(x: torch.Tensor) -> list[torch.Tensor]:
    y = torch.relu(x) + 1
    left, right = y[:, :3], y[:, 1:]
    torch._dynamo.graph_break()
    left.zero_()
    return [left, right]


def of_another_result_that_was_written_to(x: torch.Tensor) -> list[torch.Tensor]:
    y = torch.relu(x) + 1
    y[0] = 2
    y.add_(x)
    row, doubled = y[1], y * 2
    torch._dynamo.graph_break()
    row.zero_()
    return [y, row, doubled]


def of_what_is_written_to(x: torch.Tensor) -> list[torch.Tensor]:
    x.add_(1)
    row, scaled = x[0], x * 2
    torch._dynamo.graph_break()
    row.zero_()
    return [scaled, row]


@torch.no_grad()
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize(
    "function",
    [
        of_an_input,
        of_an_input_that_an_engine_reads_too,
        of_another_result,
        of_a_result_that_is_not_returned,
        of_another_result_that_was_written_to,
        pytest.param(of_what_is_written_to, marks=pytest.mark.filterwarnings("ignore:graph-00 is left to PyTorch")),
    ],
)
def test_a_view_that_is_written_to_after_a_graph_break(
    function: Callable[[torch.Tensor], list[torch.Tensor]], dynamic: bool | None
) -> None:
    x = torch.randn(3, 4)
    twin = x.clone()
    compiled = torch.compile(function, backend=backend(), dynamic=dynamic)
    for _ in range(2):
        torch.testing.assert_close(compiled(x), function(twin))
        torch.testing.assert_close(x, twin)


@torch.no_grad()
def test_what_makes_a_view_says_so_and_the_rest_is_compiled() -> None:
    chosen = backend()
    torch.compile(of_an_input, backend=chosen)(torch.randn(3, 4))
    first = chosen.graphs[0]
    assert first.report is not None
    assert first.report.verdicts["trt"] == 1
    (row,) = [row for row in first.report.ledger if row.reasons]
    assert [reason.code for reason in row.reasons] == ["TP208"]
    assert "what it is a view of" in row.reasons[0].message


@torch.no_grad()
def test_results_that_do_not_overlap_are_results_of_an_engine() -> None:
    def halves(x: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.relu(x).chunk(2, dim=1))

    chosen = backend()
    torch.compile(halves, backend=chosen)(torch.randn(3, 4))
    (graph,) = chosen.graphs
    assert graph.report is not None
    assert not [row for row in graph.report.ledger if row.reasons]


@torch.no_grad()
def test_a_view_of_what_is_written_to_is_left_to_pytorch() -> None:
    with pytest.warns(RuntimeWarning, match="graph-00 is left to PyTorch, because it returns a view of a tensor that"):
        torch.compile(of_what_is_written_to, backend=backend())(torch.randn(3, 4))


class Row(nn.Module):
    """Writes to a buffer through a view of it that an earlier graph returned: x f32[2,3] -> f32[2,3]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("cache", torch.zeros(2, 4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        row = self.cache[:, 1]
        y = torch.relu(row * 2)
        torch._dynamo.graph_break()
        row.copy_(x)
        return self.cache.sum(1) + y


@torch.no_grad()
def test_a_buffer_that_is_written_to_through_a_view_of_it() -> None:
    model = Row()
    eager = copy.deepcopy(model)
    compiled = torch.compile(model, backend=backend())
    for _ in range(3):
        x = torch.randn(2, 3)
        torch.testing.assert_close(compiled(x), eager(x))
        torch.testing.assert_close(model.cache, eager.cache)


@torch.no_grad()
def test_arguments_that_are_views() -> None:
    def shifted(x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.add_(1)) * 2

    chosen = backend()
    compiled = torch.compile(shifted, backend=chosen, dynamic=True)
    x = torch.randn(3, 5)
    twin = x.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        torch.testing.assert_close(compiled(x[:, 1:]), shifted(twin[:, 1:]))
    torch.testing.assert_close(x, twin)
    assert all(graph.reason is None for graph in chosen.graphs)
    assert [graph.builds for graph in chosen.graphs] == [1]
