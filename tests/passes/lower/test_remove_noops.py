from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch.export import Dim
from trt_passes.passes.lower import RemoveNoops

from tests.marks import gpu
from tests.passes.lower.lowering import Function, assert_same, lowered, ops, program_of, results

X = torch.tensor([[1.5, -0.0, float("nan")], [float("inf"), -2.0, 1e-42]])
INTEGERS = torch.arange(6).reshape(2, 3)


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (lambda x: torch.relu(x.detach().clone()), X),
        (lambda x: torch.relu(x * 1), X),
        (lambda x: torch.relu(x / 1.0), X),
        (lambda x: torch.relu(x - 0), X),
        (lambda x: torch.relu(x + 0), INTEGERS),
        (lambda x: torch.relu(x.float()), X),
        (lambda x: torch.relu(x.expand(2, 3)), X),
        (lambda x: torch.relu(x.reshape(2, 3)), X),
        (lambda x: torch.relu(x.unsqueeze(-1).squeeze(-1)), X),
        (lambda x: torch.relu(x.view(3, 2).view(6).view(2, 3)), X),
        (lambda x: torch.relu(x.view(1, 6).t().t()[0].view(2, 3)), X),
        (lambda x: torch.relu(x.expand(1, 2, 3)[0]), X),
        (lambda x: torch.relu(x[:, 0:]), X),
        (lambda x: torch.relu(torch.cat([x])), X),
        (lambda x: torch.relu(x.t().t()), X),
        (lambda x: torch.relu(torch.nn.functional.dropout(x, 0.5, training=False)), X),
        (lambda x: torch.relu(torch.nn.functional.pad(x, (0, 0))), X),
    ],
)
def test_removes_what_does_nothing(function, x: torch.Tensor) -> None:
    before = program_of(function, [x])
    after = lowered(before, RemoveNoops())
    assert ops(after) == ["aten.relu"]
    assert_same(before, after, [x])


@pytest.mark.parametrize(
    ("function", "x", "kept"),
    [
        (lambda x: torch.relu(x + 0.0), X, "aten.add.Tensor"),
        (lambda x: torch.relu(x * 1.0), INTEGERS, "aten.mul.Tensor"),
        (lambda x: torch.relu(x / 1), INTEGERS, "aten.div.Tensor"),
        (lambda x: torch.relu(x.double()), X, "aten._to_copy"),
        (lambda x: torch.relu(x[0:1]), X, "aten.slice.Tensor"),
        (lambda x: torch.relu(x[:, ::2]), X[:, :1], "aten.slice.Tensor"),
        (lambda x: torch.relu(x.reshape(3, 2)), X, "aten.view"),
        (lambda x: torch.relu(x[:, :2].t()), X, "aten.permute"),
        (lambda x: torch.relu(torch.cat([x, x])), X, "aten.cat"),
        (lambda x: x.t().contiguous().view(6), X, "aten.clone"),
        (lambda x: torch.nn.functional.pad(x, (1, -1)), X, "aten.constant_pad_nd"),
    ],
)
def test_keeps_what_does_something(function, x: torch.Tensor, kept: str) -> None:
    before = program_of(function, [x])
    after = lowered(before, RemoveNoops())
    assert kept in ops(after) or x.shape[1] == 1
    assert_same(before, after, [x])


def test_two_results_of_the_same_elements_are_one_output() -> None:
    """Of two such outputs of an engine TensorRT-RTX 1.6.1 wrote one only."""

    def function(x):
        y = torch.relu(x) + 1
        return y, y.unsqueeze(-1).squeeze(-1), y.t().t()

    compiled = tp.compile(Function(function, []), [X], min_block_size=1, executor="reference")
    assert len(compiled.report.segments[0].outputs) == 1
    torch.testing.assert_close(compiled(X), function(X), equal_nan=True)


@gpu
@pytest.mark.parametrize("given", [torch.randn(30), tp.Input(min_shape=(1,), opt_shape=(30,), max_shape=(64,))])
def test_engines_write_all_results(given) -> None:
    def function(x):
        y = torch.relu(x) + 1
        return y, y.view(-1, 1).view(-1), y.unsqueeze(0).squeeze(0) * 2

    compiled = tp.compile(Function(function, []), [given], min_block_size=1, executor="tensorrt")
    x = torch.randn(30, device="cuda")
    torch.testing.assert_close(compiled.cuda()(x), function(x))


def test_the_caller_still_gets_memory_of_its_own() -> None:
    before = program_of(lambda x: x.clone(), [X])
    after = lowered(before, RemoveNoops())
    x = torch.ones(2, 3)
    after.exported.module()(x).zero_()
    assert x.sum() == 6


def test_two_outputs_stay_separate() -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(x)
        return y, y.clone().view(6)

    after = lowered(program_of(function, [X]), RemoveNoops())
    first, second = results(after, [torch.ones(2, 3)])
    first.zero_()
    assert second.sum() == 6


def test_an_updated_buffer_is_returned_as_it_was() -> None:
    class Swap(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.zeros(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            old = self.state.clone()
            self.state.copy_(x)
            return old

    before = program_of(Swap(), [torch.ones(3)])
    module = lowered(before, RemoveNoops()).exported.module()
    assert module(torch.ones(3)).tolist() == [0, 0, 0]
    assert module(torch.zeros(3)).tolist() == [1, 1, 1]


def test_dynamic_sizes_are_compared_for_every_size() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.reshape(x.shape[0], x.shape[1])) + x[2:].sum()

    before = program_of(function, [torch.randn(5, 3)], dynamic_shapes=({0: Dim("n", min=4, max=9)},))
    after = lowered(before, RemoveNoops())
    assert "aten.view" not in ops(after)
    assert "aten.slice.Tensor" in ops(after)
    assert_same(before, after, [torch.randn(7, 3)])


def test_assertions_on_sizes_go_and_what_only_they_read() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        found = torch.nonzero(x)
        torch._check(found.shape[0] >= 0)
        return found.float() * 2

    before = program_of(function, [torch.ones(4)])
    after = lowered(before, RemoveNoops())
    assert any("assert" in op for op in ops(before))
    assert not any("assert" in op for op in ops(after))
    assert_same(before, after, [torch.tensor([0.0, 1.0, 2.0, 0.0])])


def test_assertions_on_values_stay() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        count = (x > 0).sum().item()
        torch._check(count >= 2)
        torch._assert_async((x < 9).all())
        return x * 2

    before = program_of(function, [torch.ones(4)])
    after = lowered(before, RemoveNoops())
    assert [op for op in ops(after) if "assert" in op] == [op for op in ops(before) if "assert" in op] != []


def _lengths(x: torch.Tensor) -> torch.Tensor:
    lengths = (x > 0).sum(dim=1)
    torch._check(lengths.max().item() <= x.shape[1])
    return x * 2


def _place(x: torch.Tensor) -> torch.Tensor:
    place = x.flatten().argmax().item()
    torch._check(place < x.numel())
    torch._check(x.topk(2)[1].max().item() <= x.shape[1] - 1)
    return x * 2


def _clamped(x: torch.Tensor) -> torch.Tensor:
    torch._check(x[0, 0].long().clamp(1, 5).item() >= 1)
    torch._check(torch.remainder(x.long(), 3).amax().item() < 3)
    return x * 2


def _unsure(x: torch.Tensor) -> torch.Tensor:
    torch._check((x > 0).sum().item() <= x.shape[0])
    torch._check(x.flatten().argmax().item() <= x.numel() - 2)
    torch._check(x[0, 0].long().clamp(min=1).item() < 6)
    return x * 2


@pytest.mark.parametrize(
    ("function", "stays"), [(_lengths, False), (_place, False), (_clamped, False), (_unsure, True)]
)
@pytest.mark.parametrize("is_dynamic", [False, True])
def test_checks_that_hold_for_all_values_go(function: Function, stays: bool, is_dynamic: bool) -> None:
    x = torch.tensor([[1.0, 2, 0, 0], [-1, 1, 3, 0]])
    sizes = ({0: Dim("rows", max=8), 1: Dim("columns", min=2, max=9)},) if is_dynamic else None
    before = program_of(function, [x], dynamic_shapes=sizes)
    after = lowered(before, RemoveNoops())
    assert any("assert" in op for op in ops(after)) is stays
    if not stays:
        assert_same(before, after, [x])
        return
    with pytest.raises(RuntimeError):
        tp.compile(after, executor="reference", min_block_size=1)(x)


def test_a_random_operator_that_nothing_reads_still_advances_the_generator() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        torch.rand(3)
        return x + torch.rand(3)

    before = program_of(function, [torch.ones(3)])
    after = lowered(before, RemoveNoops())
    assert ops(after).count("aten.rand") == ops(before).count("aten.rand")


def test_random_numbers_that_decide_about_training_alone_are_not_drawn() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            torch.rand([])
            x = torch.nn.functional.scaled_dot_product_attention(x, x, x) + 1
        return x

    notes: list[str] = []
    x = torch.ones(1, 2, 3)
    before = tp.trace(Function(function, []).eval(), [x])
    assert ops(before).count("aten.rand") == 3
    after = lowered(before, RemoveNoops(), notes=notes)
    assert set(ops(after)) == {"aten.scaled_dot_product_attention", "aten.add.Tensor"}
    assert "random numbers that nothing reads are not drawn (3 times, first by %rand)" in notes[0]
    assert_same(before, after, [x])


def test_what_held_only_for_the_sizes_of_the_export_is_no_fact() -> None:
    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            part = x.narrow(0, 0, x.shape[1] % 3).sum(1)
            return torch.nn.functional.glu(torch.cat([part, part], -2), 0)

    # With three columns nothing is left, and the half of nothing is all of it.
    declared = tp.Input(min_shape=(2, 1, 8), opt_shape=(4, 3, 8), max_shape=(8, 6, 8))
    model, options = Model().eval(), {"min_block_size": 1, "executor": "reference"}
    compiled = tp.compile(model, [declared], **options)
    for columns in range(1, 7):
        x = torch.randn(5, columns, 8)
        torch.testing.assert_close(compiled(x), model(x))
