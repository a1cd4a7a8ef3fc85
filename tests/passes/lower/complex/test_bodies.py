"""Complex numbers in branches and in bodies of loops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch._higher_order_ops import map as mapped
from torch._higher_order_ops import scan, while_loop

from tests.passes.lower.complex.programs import check, compiled

X = torch.randn(4, 6, dtype=torch.complex64)


def scanned(x: torch.Tensor) -> Any:
    """A state space with a complex pole: the last state, and its sizes on the way."""
    return scan(lambda state, row: (state * (0.5 + 0.3j) + row, (state + row).abs()), torch.zeros_like(x[0]), x)


def turned(x: torch.Tensor) -> torch.Tensor:
    """Turned and moved three times."""
    body = lambda step, y: (step + 1, y * 1j + 1)  # noqa: E731
    result: torch.Tensor = while_loop(lambda step, y: step < 3, body, (torch.tensor(0), x))[1]
    return result


def chosen(x: torch.Tensor, yes: torch.Tensor) -> Any:
    return torch.cond(yes, lambda y: (y * 1j, y.abs()), lambda y: (y.conj() + 1, (y + 2).abs()), (x,))


def rows(x: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = mapped(lambda row: row * row.conj() + 1j, x)
    return result


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        pytest.param(chosen, (X, torch.tensor(True)), marks=pytest.mark.long),
        (lambda x: (scanned(x * 1), turned(x), rows(x)), (X,)),
    ],
    ids=["branches", "loops"],
)
def test_one_engine(function: Any, inputs: Any) -> None:
    result = check(function, inputs)
    if function is chosen:
        torch.testing.assert_close(result(X, torch.tensor(False)), chosen(X, torch.tensor(False)))


def test_a_loop_of_a_length_that_varies() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return scan(lambda s, row: (s * (0.5 + 0.5j) + row, s.real + 0), torch.zeros(6, dtype=torch.complex64), x)[
                1
            ]

    model = Model()
    declared = tp.Input(min_shape=(2, 6), opt_shape=(4, 6), max_shape=(9, 6), dtype=torch.complex64)
    found = compiled(model, [declared])
    assert found.report.coverage > 0.8
    for length in (2, 5, 9):
        x = torch.randn(length, 6, dtype=torch.complex64)
        torch.testing.assert_close(found(x), model(x))


@pytest.mark.long
def test_a_body_without_rules_stays_in_pytorch() -> None:
    def inverted(x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = mapped(lambda row: torch.linalg.eigvals(row.real.outer(row.real) + 0j), x)
        return result.abs().sum(-1)

    found = compiled(inverted, [X])
    torch.testing.assert_close(found(X), inverted(X), rtol=1e-4, atol=1e-4)
    assert any("map_impl" in row.op and str(row.verdict) != "trt" for row in found.report.ledger)
