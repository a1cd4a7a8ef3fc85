"""What single expanded nodes become: ATen calls that write to nothing, whatever PyTorch's own rules do inside."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import trt_passes as tp
from torch.export import Dim
from trt_passes.compiler.ir.annotations import kept_whole
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.ir.text import op_name
from trt_passes.compiler.pass_base import Context
from trt_passes.passes.decompose import Decompose
from trt_passes.passes.decompose.expansion import Expansion

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


class Calls(torch.nn.Module):
    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> object:
        return self.function(*tensors)


def decomposed(function: Callable[..., object], *tensors: torch.Tensor, dynamic: bool = False) -> Program:
    shapes = (tuple({0: Dim.AUTO} for _ in tensors),) if dynamic else None
    exported = torch.export.export(Calls(function), tensors, dynamic_shapes=shapes)
    return Decompose().run(Program(exported), Context()).synced()


def test_named_tuples_become_plain_results() -> None:
    program = Program(torch.export.export(Calls(torch.aminmax), (X,)))
    rules = torch.export.default_decompositions()
    Expansion(dict(rules), lambda target: target is torch.ops.aten.aminmax.default).run(program.graph)
    assert {op_name(node.target) for node in program.op_nodes} == {"aten.amin", "aten.amax"}
    low, high = program.synced().exported.module()(X)
    assert (low, high) == (X.amin(), X.amax())


@pytest.mark.parametrize("dynamic", [False, True])
def test_rules_that_write_to_their_own_tensors(dynamic: bool) -> None:
    program = decomposed(lambda x, y: torch.isclose(x, y, equal_nan=True), X, X + 1e-6, dynamic=dynamic)
    assert not program.mutates
    assert program.exported.module()(X, X + 1e-6).equal(torch.isclose(X, X + 1e-6, equal_nan=True))


def test_sizes_in_decompositions_stay_as_they_are() -> None:
    program = decomposed(lambda x, i: x.index_fill(0, i, 2.0), X, torch.tensor([0, 2]), dynamic=True)
    expected = X.index_fill(0, torch.tensor([0, 2]), 2.0)
    assert program.exported.module()(X, torch.tensor([0, 2])).equal(expected)


def test_rules_may_change_the_lists_that_they_are_given() -> None:
    index = (torch.arange(3).unsqueeze(1), torch.arange(4).unsqueeze(0))
    mask = X > 0

    def function(x: torch.Tensor, mask: torch.Tensor, *places: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten._unsafe_masked_index(x, mask, list(places), -1.0)

    program = decomposed(function, X, mask, *index)
    assert program.exported.module()(X, mask, *index).equal(torch.where(mask, X, -1.0))


def test_results_in_lists() -> None:
    def function(x: torch.Tensor) -> object:
        return torch.histogramdd(x, [2, 3, 2, 2])

    counts, edges = decomposed(function, X).exported.module()(X)
    expected = function(X)
    assert counts.equal(expected[0])
    assert all(map(torch.equal, edges, expected[1]))


@pytest.mark.parametrize("index", [torch.tensor(3), torch.tensor([[-1, 5]])])
def test_take_reads_no_value(index: torch.Tensor) -> None:
    assert decomposed(torch.take, X, index).exported.module()(X, index).equal(X.take(index))


def test_failures_are_told_apart() -> None:
    program = Program(torch.export.export(Calls(lambda x: torch.aminmax(x).min + x.square().sum()), (X,)))
    expansion = Expansion({torch.ops.aten.aminmax.default: _broken}, lambda target: "aminmax" in str(target))
    failed = expansion.failures(program.graph)
    assert [(op_name(node.target), reason) for node, reason in failed.items()] == [
        ("aten.aminmax", "TypeError: 'immutable_list' object does not support mutation")
    ]
    expansion.run(program.graph, left=failed)
    assert "aten.aminmax" in {op_name(node.target) for node in program.op_nodes}


def test_a_rule_that_fixes_a_varying_size_leaves_its_node_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    silu = torch.ops.aten.silu.default

    def rule(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(int(x.shape[0]), -1).sigmoid() * x

    monkeypatch.setattr("trt_passes.passes.decompose.decompositions", lambda: {silu: rule})
    monkeypatch.setattr("trt_passes.passes.decompose.is_decomposed", lambda target: target is silu)
    program = decomposed(lambda x: torch.nn.functional.silu(x) * 2, X, dynamic=True)
    (node,) = (node for node in program.op_nodes if node.target is silu)
    assert "one size only" in str(kept_whole(node))
    assert isinstance(node.meta["val"].shape[0], torch.SymInt)
    assert str(node.meta["val"].shape[0]) != str(X.shape[0])
    longer = torch.randn(X.shape[0] + 3, *X.shape[1:])
    torch.testing.assert_close(program.exported.module()(longer), torch.nn.functional.silu(longer) * 2)
    assert not any(map(kept_whole, decomposed(lambda x: torch.nn.functional.silu(x) * 2, X).op_nodes))


def _broken(*_: object, **__: object) -> object:
    raise TypeError("'immutable_list' object does not support mutation\nmore")


def test_a_rule_that_cannot_be_traced_alone_is_traced_with_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> object:
        raise RuntimeError("SymIntArrayRef expected to contain only concrete integers")

    monkeypatch.setattr("trt_passes.passes.decompose.expansion.dispatch_functionalize", fails)
    program = decomposed(lambda x, y: torch.isclose(x, y), X, X + 1e-6, dynamic=True)
    assert not any(map(kept_whole, program.op_nodes))
    assert "aten.isclose" not in {op_name(node.target) for node in program.op_nodes}
    assert program.exported.module()(X, X + 1e-6).equal(torch.isclose(X, X + 1e-6))


def test_a_result_laid_out_otherwise_can_still_be_viewed() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        # Dropout yields a contiguous tensor, and decomposes into its argument, which has strides of 0 here.
        rows = torch.nn.functional.dropout(x[:, None].expand(-1, 2, -1), 0.1, training=False)
        return torch.einsum("ibh,hn->ibn", rows, torch.ones(4, 5))

    program = decomposed(function, X)
    assert program.exported.module()(X).equal(function(X))


def test_a_rule_that_fixes_a_computed_size_leaves_its_node_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """`min(3, rows)` is a number in the example, of which PyTorch only notes a condition."""
    rules = {torch.ops.aten.cumsum.default: lambda x, dim: x * int(x.shape[0])}
    monkeypatch.setattr("trt_passes.passes.decompose.decompositions", lambda: rules)
    monkeypatch.setattr("trt_passes.passes.decompose.is_decomposed", lambda target: target in rules)
    program = decomposed(lambda x: x.diagonal().cumsum(0), torch.randn(3, 4), dynamic=True)
    node = next(node for node in program.op_nodes if node.target is torch.ops.aten.cumsum.default)
    assert "one size only (Min(4, " in str(kept_whole(node))


@pytest.mark.parametrize(
    "function",
    [
        lambda y: y.take_along_dim(y.argsort(0), 0),
        lambda y: y[None].take_along_dim(y.argsort(0)[None], -1),
        lambda y: (y[:, None] * torch.arange(3)).take_along_dim(torch.tensor([[2]]), 1),
        lambda y: y.take_along_dim(torch.tensor([0, 1])),
    ],
)
def test_taking_along_a_computed_size_takes_all_of_it(function: Callable[..., torch.Tensor]) -> None:
    program = decomposed(lambda x: function(x.diagonal()), torch.randn(3, 6), dynamic=True)
    for rows in (2, 3, 6, 8):
        x = torch.randn(rows, 6)
        torch.testing.assert_close(program.exported.module(check_guards=False)(x), function(x.diagonal()))


def test_checks_of_numbers_that_are_read_leave_the_decompositions() -> None:
    class Checked(torch.nn.Module):
        """As in detectors of transformers: sizes in a tensor are compared with those of another."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes = torch.tensor([[2, 3], [1, 4]])
            torch._check(((sizes[:, 0] * sizes[:, 1]).sum() == 10).item())
            return torch.nn.functional.hardswish(x).relu()

    report = tp.PassManager("decompose,lower,annotate").run(tp.trace(Checked(), [torch.randn(2, 3)]))
    assert report.coverage == 1.0
