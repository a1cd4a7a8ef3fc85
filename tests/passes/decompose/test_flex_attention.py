"""`flex_attention` with functions for scores and masks is part of engines, from every front end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from trt_passes.compiler.ir.flex_attention import _is_pointwise

SMALL: dict[str, Any] = {"min_block_size": 1, "executor": "reference"}
WIDE = [torch.randn(2, 4, 16, 8) for _ in range(3)]


def causal(b: Any, h: Any, q: Any, k: Any) -> Any:
    return q >= k


def alibi(score: Any, b: Any, h: Any, q: Any, k: Any) -> Any:
    return score + (k - q) * 0.1 * (h + 1)


BLOCKS = create_block_mask(causal, None, None, 16, 16, device="cpu", BLOCK_SIZE=8)
NOTHING = create_block_mask(lambda b, h, q, k: (q >= 2) & (k <= q), None, None, 16, 16, device="cpu", BLOCK_SIZE=8)


class Model(nn.Module):
    """Calls a function with the tensors, and with a learned bias and the numbers of documents."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function
        self.bias = nn.Parameter(torch.randn(4, 31))
        self.register_buffer("documents", torch.randint(0, 2, (2, 16)))

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.function(self, *tensors)


def in_documents(m: Any, q: Any, k: Any, v: Any) -> Any:
    def own(score: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
        return torch.where(m.documents[b, i] == m.documents[b, j], score, -float("inf"))

    return flex_attention(q, k, v, score_mod=own)


def in_heads(m: Any, q: Any, k: Any, v: Any) -> Any:
    y = q.reshape(2, 16, 4, 8).transpose(1, 2)
    return flex_attention(y, y, y, score_mod=alibi).transpose(1, 2).view(2, 16, 32)


CASES: dict[str, Callable[..., Any]] = {
    "plain": lambda m, q, k, v: flex_attention(q, k, v),
    "softcap": lambda m, q, k, v: flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: 20 * torch.tanh(s / 20)),
    "blocks": lambda m, q, k, v: flex_attention(q, k, v, block_mask=BLOCKS),
    "both": lambda m, q, k, v: flex_attention(q, k, v, score_mod=alibi, block_mask=BLOCKS, scale=0.3),
    "rows of nothing": lambda m, q, k, v: flex_attention(q, k, v, block_mask=NOTHING),
    "learned": lambda m, q, k, v: flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s + m.bias[h, i - j + 15]),
    "documents": in_documents,
    "groups": lambda m, q, k, v: flex_attention(q, k[:, :2], v[:, :2], score_mod=alibi, enable_gqa=True),
    "sums": lambda m, q, k, v: flex_attention(q, k, v, score_mod=alibi, return_lse=True),
    "other order in memory": in_heads,
    "made inside": lambda m, q, k, v: flex_attention(
        q, k, v, block_mask=create_block_mask(causal, None, None, q.shape[2], 16, device="cpu", BLOCK_SIZE=8)
    ),
}


def assert_same(compiled: Any, model: nn.Module, tensors: list[torch.Tensor], tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(compiled(*tensors), model(*tensors), rtol=tolerance, atol=tolerance)
    report = compiled.graphs[-1].report if hasattr(compiled, "graphs") else compiled.report
    assert report.coverage == 1, {row.op for row in report.ledger if row.verdict != "trt"}


@pytest.mark.long
@torch.no_grad()
def test_all_of_it_goes_to_engines() -> None:
    model = Model(lambda m, *tensors: {name: function(m, *tensors) for name, function in CASES.items()}).eval()
    report = tp.PassManager("decompose,lower,annotate").run(tp.trace(model, WIDE))
    assert report.coverage == 1, {row.op for row in report.ledger if row.verdict != "trt"}
    found = report.program.exported.module()(*WIDE)
    torch.testing.assert_close(found, model(*WIDE), rtol=1e-4, atol=1e-4)


@pytest.mark.long
@torch.no_grad()
def test_in_half_precision() -> None:
    model, halves = Model(CASES["both"]).eval(), [item.half() for item in WIDE]
    assert_same(tp.compile(model, halves, **SMALL), model, halves, 5e-3)


@pytest.mark.long
@torch.no_grad()
def test_sizes_that_vary() -> None:
    model = Model(lambda m, q, k, v: flex_attention(q, k, v, score_mod=alibi)).eval()
    declared = tp.Input(min_shape=(1, 4, 2, 8), opt_shape=(2, 4, 16, 8), max_shape=(4, 4, 32, 8))
    compiled = tp.compile(model, [declared] * 3, **SMALL)
    for batch, length in ((1, 2), (3, 17), (4, 32)):
        assert_same(compiled, model, [torch.randn(batch, 4, length, 8) for _ in range(3)])


@pytest.mark.long
@torch.no_grad()
def test_as_an_operator_of_a_graph() -> None:
    model = Model(CASES["learned"]).eval()
    program = torch.export.export(model, tuple(WIDE))
    assert_same(tp.compile(program, WIDE, **SMALL), model, WIDE)
    torch._dynamo.reset()
    model = Model(CASES["both"]).eval()
    assert_same(tp.compile(model, ir="torch_compile", **SMALL), model, WIDE)


@torch.no_grad()
def test_functions_that_see_more_than_one_score_are_refused() -> None:
    class Summed(nn.Module):
        def forward(self, q: Any, k: Any, v: Any) -> Any:
            return flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s - s.sum())

    class Row(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.randn(4, 16, 16))

        def forward(self, q: Any, k: Any, v: Any) -> Any:
            return flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: s + self.bias[h][i][j])

    for model, name in ((Summed(), "sum"), (Row(), "getitem")):
        with pytest.raises(tp.UserError, match=f"score_mod calls {name}, which is not known"):
            tp.compile(model.eval(), WIDE, **SMALL)
    names = ("__add__", "__rsub__", "__truediv__", "__and__", "where", "tanh", "clamp", "__ge__", "mul.Tensor")
    assert all(_is_pointwise(name.partition(".")[0]) for name in names)
    assert not any(map(_is_pointwise, ("sum", "cumsum", "sort", "add_", "matmul", "softmax", "nothing")))


def overlap(boxes: torch.Tensor) -> torch.Tensor:
    """How much of their union boxes (x1, y1, x2, y2) share, f[N,N] of f[N,4]."""
    low, high = torch.maximum(boxes[:, None, :2], boxes[:, :2]), torch.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return shared / (area[:, None] + area - shared)


class Suppressed(nn.Module):
    """Non-maximum suppression as a loop of PyTorch's, whose functions use tensors around them."""

    def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        order = scores.argsort(descending=True)
        near, count = overlap(boxes[order]) > 0.3, boxes.shape[0]
        places = torch.arange(count)

        def body(step: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            here = step.reshape(1)
            lost = near.index_select(0, here)[0] & kept.index_select(0, here) & (places > step)
            return step + 1, kept & ~lost

        start = (torch.tensor(0), torch.ones(count, dtype=torch.bool))
        _, kept = torch._higher_order_ops.while_loop(lambda step, kept: step < count, body, start)
        return order[kept]


@torch.no_grad()
def test_suppression_of_boxes_is_a_loop_of_an_engine() -> None:
    model = Suppressed().eval()

    def drawn() -> list[torch.Tensor]:
        corners = torch.rand(12, 2) * 3
        return [torch.cat([corners, corners + torch.rand(12, 2) * 3 + 0.1], 1), torch.rand(12)]

    compiled = tp.compile(model, drawn(), **SMALL)
    assert len(compiled.segments) == 1
    sizes = set()
    for _ in range(5):
        boxes = drawn()
        found = compiled(*boxes)
        torch.testing.assert_close(found, model(*boxes))
        sizes.add(len(found))
    assert len(sizes) > 1
