"""Tokens split by expert in Python become one product, and only what is that."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn


class Experts(nn.Module):
    """Sorts rows by expert, as JetMoE does, and multiplies each part: x f32[S,6], expert i64[S] -> f32[S,5]."""

    def __init__(self, order: tuple[int, ...] = (0, 1, 2)) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5, 6))
        self.order = order

    def forward(self, x: torch.Tensor, expert: torch.Tensor) -> torch.Tensor:
        _, index = expert.sort(0)
        counts = (expert[:, None] == torch.arange(3)).long().sum(0)
        parts = x[index].split(counts.tolist(), dim=0)
        products = [torch.nn.functional.linear(parts[i], self.weight[self.order[i]]) for i in range(3)]
        result = torch.cat(products, dim=0)
        return torch.zeros_like(result).index_add(0, index, result)


def compiled(model: nn.Module, *inputs: Any) -> Any:
    return tp.compile(model.eval(), list(inputs), min_block_size=1, executor="reference")


@pytest.mark.parametrize("experts", [[0, 2, 2, 1, 0], [1, 1, 1, 1, 1], [2, 0, 2, 0, 2]])
def test_a_split_by_expert_is_one_product(experts: list[int]) -> None:
    torch.manual_seed(0)
    model, x, expert = Experts(), torch.randn(5, 6), torch.tensor(experts)
    found = compiled(model, x, expert)
    assert (len(found.report.segments), found.report.coverage) == (1, 1.0)
    torch.testing.assert_close(found(x, expert), model(x, expert), rtol=1e-4, atol=1e-5)


def test_other_matrices_are_left_as_they_are() -> None:
    torch.manual_seed(0)
    model, x, expert = Experts((2, 0, 1)), torch.randn(5, 6), torch.tensor([0, 2, 2, 1, 0])
    found = compiled(model, x, expert)
    assert found.report.coverage < 1
    torch.testing.assert_close(found(x, expert), model(x, expert), rtol=1e-4, atol=1e-5)


def test_the_number_of_rows_may_vary() -> None:
    torch.manual_seed(0)
    model = Experts()
    rows = tp.Input(min_shape=(2, 6), opt_shape=(5, 6), max_shape=(9, 6))
    found = compiled(model, rows, tp.Input(min_shape=(2,), opt_shape=(5,), max_shape=(9,), dtype=torch.int64))
    for count in (2, 5, 9):
        x, expert = torch.randn(count, 6), torch.randint(0, 3, (count,))
        torch.testing.assert_close(found(x, expert), model(x, expert), rtol=1e-4, atol=1e-5)
