"""Numbers made of buffers: `buffer.item()` and what is computed of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from trt_passes.compiler.ir.program import is_symbolic
from trt_passes.passes.lower import FoldConstants
from trt_passes.passes.lower.constant_numbers import symbols_in

from tests.passes.lower.lowering import Function, assert_same, lowered, ops, program_of, results

X = torch.randn(3, 8)


@pytest.mark.parametrize(
    "function",
    [
        lambda w, x: x.roll(-round(w.item() * 3), -1),
        lambda w, x: x * w.item() + 1,
        lambda w, x: x.pow(2.0) / (w * 2 + 1).item(),
        lambda w, x: x.clamp(-w.item(), w.item()) + x * (w.item() > 1),
        lambda w, x: x * math.floor(w.item()) ** 2,
    ],
    ids=["roll", "mul", "folded", "compared", "floor"],
)
def test_numbers_of_buffers_are_written_into_the_calls(function: Callable[..., Tensor]) -> None:
    before = program_of(function, [X], [torch.tensor(1.34)])
    assert any(is_symbolic(node) for node in before.op_nodes)
    after = lowered(before, FoldConstants())
    assert not any(is_symbolic(node) for node in after.op_nodes)
    assert before.exported.range_constraints
    assert not after.exported.range_constraints
    assert_same(before, after, [X])


def test_checks_of_a_number_go_with_it() -> None:
    def function(w: Tensor, x: Tensor) -> Tensor:
        steps = w.item()
        torch._check(steps > 0)
        return x.roll(steps, 0)

    before = program_of(function, [X], [torch.tensor(2)])
    after = lowered(before, FoldConstants())
    assert not any(is_symbolic(node) or "assert" in str(node.target) for node in after.op_nodes)
    assert_same(before, after, [X])


@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_numbers_without_literals_stay(number: float) -> None:
    before = program_of(lambda w, x: x * w.item(), [X], [torch.tensor(number)])
    after = lowered(before, FoldConstants())
    assert "aten._local_scalar_dense" in ops(after)
    assert_same(before, after, [X])


def test_a_number_that_is_an_output_stays() -> None:
    before = program_of(lambda w, x: (x * w.item(), w.item()), [X], [torch.tensor(5.0)])
    after = lowered(before, FoldConstants())
    assert results(after, [X])[1] == 5.0
    assert_same(before, after, [X])


def _positions(w: Tensor, x: Tensor) -> Tensor:
    """A table cut behind the largest position, as Reformer does, and broadcast as in V-JEPA 2."""
    last = w.max().item()
    torch._check(last >= 0)
    torch._check(last < 7)
    rows = (last + 2) // 2
    torch._check(rows <= 4)
    torch._check(rows >= 1)
    table = torch.arange(8.0).view(4, 2)[:rows].repeat(1, 4)
    return x[:1] + table.sum(0) * rows + torch.ones(last).sum() / last


@pytest.mark.parametrize(
    "function",
    [
        lambda w, x: x.sum() + torch.ones(w.max().item()).sum(),
        lambda w, x: x * torch.zeros(w.max().item(), 8).sum(0) + x.flatten()[: w.max().item()].sum(),
        lambda w, x: (x * w.sum().item(), torch.zeros(w.max().item(), x.shape[0])),
        lambda w, x: x.repeat(w.max().item(), 1).relu(),
        lambda w, x: torch.cat([x, x.new_ones(w.max().item(), 8)]).mT,
        lambda w, x: x.split(w.tolist()[:2], 1)[0] * 2,
        _positions,
    ],
    ids=["ones", "slice", "both", "repeat", "cat", "split", "positions"],
)
def test_a_number_that_is_a_size_is_traced_again(function: Callable[..., Any]) -> None:
    before = program_of(function, [X], [torch.tensor([3, 5, 5])])
    assert any(is_symbolic(node) for node in before.op_nodes)
    after = lowered(before, FoldConstants())
    assert "aten._local_scalar_dense" not in ops(after)
    assert not any(symbols_in(node.meta.get("val")) for node in after.graph.nodes)
    assert_same(before, after, [X])


def test_a_table_that_is_filled_is_a_constant() -> None:
    def function(x: Tensor) -> Tensor:
        sizes = torch.empty((2, 2), dtype=torch.long)
        for row, (height, width) in enumerate([(3, 2), (1, 2)]):
            sizes[row, 0] = height
            sizes[row, 1] = width
        torch._check(((sizes[:, 0] * sizes[:, 1]).sum() == x.shape[1]).item())
        return x * sizes.prod(1)[0] + sizes[0, 0]

    compiled = tp.compile(Function(function, []), [X], min_block_size=1, executor="reference")
    assert compiled.report.coverage == 1.0
    assert len(compiled.report.program.op_nodes) == 2
    torch.testing.assert_close(compiled(X), function(X))


def test_sizes_that_would_have_to_be_traced_in_branches_or_are_outputs_stay() -> None:
    def branched(w: Tensor, x: Tensor) -> Tensor:
        ones = torch.ones(w.item())
        return torch.cond(x.sum() > 0, lambda a, b: a + b.sum(), lambda a, b: a - b.sum(), (x, ones))

    def returned(w: Tensor, x: Tensor) -> tuple[Tensor, int]:
        size = w.item()
        return x + torch.ones(size).sum(), size

    for function in (branched, returned):
        before = program_of(function, [X], [torch.tensor(5)])
        assert_same(before, lowered(before, FoldConstants()), [X])


def test_of_two_numbers_each_is_for_itself() -> None:
    def function(w: Tensor, v: Tensor, x: Tensor) -> tuple[Tensor, int]:
        size = v.item()
        return x * w.item() + torch.zeros(size).sum(), size

    before = program_of(function, [X], [torch.tensor(3.0), torch.tensor(4)])
    after = lowered(before, FoldConstants())
    assert ops(after).count("aten._local_scalar_dense") == 1
    assert_same(before, after, [X])


def test_a_buffer_that_the_model_writes_is_no_constant() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.tensor(0.0))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return x * self.calls.item()

    model, reference = Counted(), Counted()
    compiled = tp.compile(model, [X], min_block_size=1, executor="reference")
    for _ in range(3):
        torch.testing.assert_close(compiled(X), reference(X))


def test_a_shift_in_a_buffer_leaves_one_engine() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)
            self.register_buffer("shift", torch.tensor(1.2))

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x).relu().roll(-round(self.shift.cpu().item() * 3), -1).softmax(-1)

    model = Shifted().eval()
    for inputs in ([X], [tp.Input(min_shape=(1, 8), opt_shape=(3, 8), max_shape=(6, 8))]):
        compiled = tp.compile(model, inputs, min_block_size=1, executor="reference")
        assert len(compiled.report.segments) == 1
        assert compiled.report.coverage == 1.0
        torch.testing.assert_close(compiled(X), model(X))


def test_a_fraction_of_a_buffer_is_saved(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor(2.6))

        def forward(self, x: Tensor) -> Tensor:
            return x + float(self.scale)

    compiled = tp.compile(Scaled(), ["2..3..5x4"], min_block_size=1, executor="reference")
    tp.save(compiled, tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2", executor="pytorch")
    for rows in (2, 5):
        x = torch.randn(rows, 4)
        torch.testing.assert_close(loaded(x), Scaled()(x))
