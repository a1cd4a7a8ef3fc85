"""Sums over few elements that follow each other, for which TensorRT-RTX's builder took exponential time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.marks import gpu
from tests.oracle import check
from tests.passes.convert.test_fused_kernels import error_on_the_gpu

X = torch.rand(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))

STEPS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "sum": lambda c, dim: c / (c.sum(dim, keepdim=True) + 1e-6),
    "mean": lambda c, dim: c - c.mean(dim, keepdim=True) * 0.5,
    "largest": lambda c, dim: c - c.amax(dim, keepdim=True) * 0.5,
    "least": lambda c, dim: c - c.amin(dim, keepdim=True) * 0.5,
    "product": lambda c, dim: c / (c.prod(dim, keepdim=True) + 1),
    "softmax": lambda c, dim: c.softmax(dim),
    "logsumexp": lambda c, dim: c - torch.logsumexp(c, dim, keepdim=True),
    "norm": lambda c, dim: F.normalize(c, dim=dim),
    "layer norm": lambda c, dim: F.layer_norm(c, (4,)).mT,
    "variance": lambda c, dim: c / (c.var(dim, keepdim=True) + 1),
    "matrix product": lambda c, dim: c + torch.tanh(c @ c) * 0.1,
}


class Steps(nn.Module):
    def __init__(self, name: str, count: int = 9) -> None:
        super().__init__()
        self.name, self.count = name, count

    def forward(self, x: Tensor) -> Tensor:
        for index in range(self.count):
            x = STEPS[self.name](x, -2 + index % 2)
        return x


class Cells(nn.Module):
    """A recurrent cell, written out for each step of the sequence."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = kind(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[1], 4)
        return torch.stack([state := self.cell(row, state) for row in x])


class First(nn.Module):
    """The first result of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)[0]


BATCH = {"dynamic": [{0: "n"}], "ranges": {"n": (1, 2, 9)}}


def built_in_time(model: nn.Module, x: Tensor, **sizes: Any) -> None:
    started = time.process_time()
    check(model.eval(), [x], build=True, **sizes)
    assert time.process_time() - started < 25, "they took minutes, or never ended"


@pytest.mark.parametrize("name", STEPS)
def test_steps_that_sum_up_few_elements(name: str) -> None:
    built_in_time(Steps(name), X)


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_a_batch_that_varies(name: str) -> None:
    built_in_time(Steps(name), X, **BATCH)


INTEGER_STEPS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "sum": lambda c, dim: c - c.sum(dim, keepdim=True) % 3,
    "largest": lambda c, dim: c - c.amax(dim, keepdim=True) % 3,
    "product": lambda c, dim: c - c.prod(dim, keepdim=True) % 3,
    "count": lambda c, dim: c - (c > 2).sum(dim, keepdim=True),
}


@pytest.mark.parametrize("name", INTEGER_STEPS)
@pytest.mark.parametrize("sizes", [{}, BATCH], ids=["static", "batch"])
def test_steps_of_integers(name: str, sizes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STEPS, name, INTEGER_STEPS[name])
    built_in_time(Steps(name), torch.randint(0, 9, (2, 6, 4, 4)), **sizes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves(dtype: torch.dtype) -> None:
    built_in_time(Steps("sum"), X.to(dtype))


@pytest.mark.parametrize("model", [nn.GRU(5, 4), nn.GRU(5, 6, 2, bidirectional=True), nn.LSTM(5, 4), nn.RNN(5, 3)])
def test_recurrent_layers_of_one_row(model: nn.Module) -> None:
    built_in_time(First(model), torch.randn(8, 1, 5))


@pytest.mark.parametrize("kind", [nn.GRUCell, nn.RNNCell])
def test_recurrent_cells_of_one_row(kind: type[nn.Module]) -> None:
    built_in_time(Cells(kind), torch.randn(8, 1, 5))


def test_values_that_are_not_finite_stay_so() -> None:
    x = X.clone()
    x[0, 0, 0, 0], x[0, 1, 0, 0], x[0, 2, 0, 0] = torch.inf, torch.nan, 3e37
    check(Steps("mean", 5), [x])
    check(Steps("largest", 5), [x])
    check(lambda x, w: torch.tanh(torch.tanh(torch.tanh(x @ w) @ w) @ w) @ w, [x, torch.randn(2, 6, 4, 4)])


def test_a_few_sums_and_larger_ones_stay_as_they_are() -> None:
    assert "GATHER" not in check(lambda x: torch.tanh(x.sum(-1)).sum(-1), [X]).layers()
    assert "GATHER" not in check(Steps("mean"), [torch.rand(2, 3, 8, 8)]).layers()


@pytest.mark.parametrize("name", STEPS)
@gpu
def test_steps_are_right_on_a_gpu(name: str) -> None:
    assert error_on_the_gpu(Steps(name), X, False) < 5e-3


@gpu
@pytest.mark.parametrize("model", [nn.GRU(5, 4), nn.LSTM(5, 4)])
def test_recurrent_layers_are_right_on_a_gpu(model: nn.Module) -> None:
    assert error_on_the_gpu(First(model).eval(), torch.randn(8, 1, 5), False) < 5e-3
