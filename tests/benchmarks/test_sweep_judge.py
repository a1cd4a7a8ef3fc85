"""When the sweep calls a model right: within the tolerance, or as far off as the model's own last digits make it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sweep_judge import judged
from torch import nn


class Best(nn.Module):
    """The best rows of some that score the same but for their last digits."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(1 + torch.arange(64) * 1e-8)
        self.rows = nn.Parameter(torch.randn(64, 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.rows[self.scores.topk(32).indices], self.rows + x


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        largest = torch.finfo(torch.float32).max
        return torch.cat([x * self.weight, torch.full((1,), largest)])


def otherwise(model: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], object]:
    return lambda x: change(model(x)) if isinstance(model, Plain) else (change(model(x)[0]), model(x)[1])


X = {"x": torch.ones(4)}


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        (lambda rows: rows * (1 + 1e-6), True),
        (lambda rows: rows.flip(0), True),
        (lambda rows: rows * 1000, False),
        (lambda rows: rows.flip(0) * torch.tensor([1.0, 1.0, 1.0, 50.0]), False),
    ],
)
def test_order_of_equal_scores(change: Callable[[torch.Tensor], torch.Tensor], is_right: bool) -> None:
    torch.manual_seed(0)
    model = Best()
    assert judged(model, otherwise(model, change), X).is_right == is_right


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        (lambda row: row, True),
        (lambda row: row * torch.tensor([1.01, 1, 1, 1, 1]), False),  # which the mark of 3.4e38 must not hide
        (lambda row: row.flip(0), False),
        (lambda row: row[:-1], False),
        (lambda row: row.double(), False),
        (lambda row: torch.full_like(row, torch.nan), False),
    ],
)
def test_what_does_not_hang_on_last_digits(change: Callable[[torch.Tensor], torch.Tensor], is_right: bool) -> None:
    assert judged(Plain(), otherwise(Plain(), change), X).is_right == is_right


@pytest.mark.parametrize(("factor", "is_right"), [(1.002, True), (1.02, False)])
def test_answers_of_the_model_in_another_form(factor: float, is_right: bool) -> None:
    model = Plain()
    assert not judged(model, otherwise(model, lambda row: row * factor), X).is_right
    also = [otherwise(model, lambda row: row * 1.001)]
    assert judged(model, otherwise(model, lambda row: row * factor), X, also).is_right == is_right
