from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch.export import Dim
from trt_passes.passes.lower import Deduplicate, FoldConstants

from tests.passes.lower.lowering import assert_same, lowered, ops, program_of, results

X = torch.randn(4)


def test_folds_literals_and_weights() -> None:
    before = program_of(lambda w, x: x + (w * 2).sum() + torch.arange(4) * torch.ones(4), [X], [torch.randn(4)])
    after = lowered(before, FoldConstants())
    assert ops(after) == ["aten.add.Tensor", "aten.add.Tensor"]
    assert_same(before, after, [X])


def test_casts_a_large_weight_but_does_not_expand_one() -> None:
    weight = torch.randn(256, 4)

    def function(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x @ w.half().float().t() + w.expand(64, 256, 4).sum()

    before = program_of(function, [torch.randn(2, 4)], [weight])
    after = lowered(before, FoldConstants(max_bytes=1024))
    assert not {"aten.permute", "aten._to_copy"} & set(ops(after))
    assert "aten.expand" in ops(after)
    assert_same(before, after, [torch.randn(2, 4)], rtol=1e-6, atol=1e-5)


def test_folds_an_expanded_weight_of_one_element() -> None:
    before = program_of(lambda w, x: x + w.expand(1) * 2, [X], [torch.tensor(3.0)])
    after = lowered(before, FoldConstants())
    assert ops(after) == ["aten.add.Tensor"]
    assert_same(before, after, [X])


def test_leaves_random_numbers_and_dynamic_sizes() -> None:
    def function(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + torch.rand(1), torch.arange(x.shape[0]) + x

    before = program_of(function, [torch.randn(4)], dynamic_shapes=({0: Dim("n", min=2, max=9)},))
    after = lowered(before, FoldConstants())
    assert "aten.rand" in ops(after)
    assert "aten.arange.start_step" in ops(after)


def test_an_output_is_made_anew_in_every_call() -> None:
    after = lowered(program_of(lambda x: (x + 1, torch.ones(2, 2).view(4)), [X]), FoldConstants())
    results(after, [X])[1].zero_()
    assert results(after, [X])[1].sum() == 4


def test_equal_results_are_stored_once() -> None:
    before = program_of(lambda x: x + torch.full((4,), 3.0) * 1.5 + (torch.ones(4) * 4.5).relu(), [X])
    after = lowered(before, FoldConstants())
    assert len(after.constants) == 1
    assert_same(before, after, [X])


def test_an_updated_buffer_is_not_a_constant() -> None:
    class Counter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count.add_(1)
            return x + self.count * 2

    module = lowered(program_of(Counter(), [X]), FoldConstants()).exported.module()
    assert module(torch.zeros(4))[0] == 2
    assert module(torch.zeros(4))[0] == 4


def test_deduplicate_keeps_what_differs() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        same = torch.exp(x) * torch.exp(x)
        return same + (x + 0.0) / (x + -0.0) + torch.rand(4) * torch.rand(4) + x.sum(0) + x.sum(0, True)

    before = program_of(function, [X])
    after = lowered(before, Deduplicate())
    counts = {op: ops(after).count(op) for op in ("aten.exp", "aten.rand", "aten.sum.dim_IntList")}
    assert counts == {"aten.exp": 1, "aten.rand": 2, "aten.sum.dim_IntList": 2}


def test_deduplicate_keeps_outputs_apart() -> None:
    after = lowered(program_of(lambda x: (torch.relu(x), torch.relu(x)), [X]), Deduplicate())
    first, second = results(after, [torch.ones(4)])
    first.zero_()
    assert second.sum() == 4


def test_deduplicate_ties_equal_parameters() -> None:
    weight = torch.randn(4, 4)
    before = program_of(lambda a, b, x: (x @ a) @ b, [torch.randn(2, 4)], [weight, weight])
    assert len(lowered(before, Deduplicate()).constants) == 1


def test_a_parameter_without_elements() -> None:
    before = program_of(
        lambda w, x: torch.cat([w.expand(2, -1, -1), x], 1), [torch.randn(2, 3, 8)], [torch.empty(1, 0, 8)]
    )
    before.exported.state_dict.update({k: torch.nn.Parameter(v) for k, v in before.exported.state_dict.items()})
    assert_same(before, lowered(before, FoldConstants()), [torch.randn(2, 3, 8)])


def test_what_cannot_be_evaluated_stays() -> None:
    before = program_of(lambda w, x: x + w[torch.tensor([7, 8, 9, 9])] + w.exp(), [X], [torch.randn(4)])
    after = lowered(before, FoldConstants())
    assert "aten.index.Tensor" in ops(after)
    assert "aten.exp" not in ops(after)


def test_a_value_laid_out_otherwise_than_traced_is_laid_out_anew() -> None:
    before = program_of(lambda w, x: x + w.exp().view(16), [torch.randn(16)], [torch.randn(4, 4)])
    before.exported.state_dict.update({k: v.t() for k, v in before.exported.state_dict.items()})
    after = lowered(before, FoldConstants())
    assert ops(after) == ["aten.add.Tensor"]


class Collects(torch.nn.Module):
    """Writes to what it makes, beside an operator whose decomposition holds for one size only."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        diagonal = x.diagonal().roll(1, -1)
        out = torch.zeros(2, 24)
        out[0] = x.sum(0)
        out[1] += x[0]
        return out * 2, diagonal.take_along_dim(diagonal.argsort(-1), -1)


@pytest.mark.parametrize("options", [{}, {"enabled_precisions": {torch.float16}}, {"truncate_double": True}])
def test_what_is_written_to_in_place_is_no_constant(options: dict[str, Any]) -> None:
    model, dtype = Collects(), torch.float64 if "truncate_double" in options else torch.float32
    spec = tp.Input(min_shape=(9, 24), opt_shape=(12, 24), max_shape=(40, 24), dtype=dtype)
    compiled = tp.compile(model, [spec], min_block_size=1, executor="reference", **options)
    for rows in (9, 12, 40):
        x = torch.randn(rows, 24, dtype=dtype)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-2, atol=1e-2, check_dtype=False)
