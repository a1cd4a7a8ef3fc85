"""Projections to heads become one product; what is not heads, or not of halves, stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp
from torch import nn
from trt_passes.passes.decompose import Decompose
from trt_passes.passes.lower import FoldConstants, PackProjections

from tests.passes.lower.lowering import Function, assert_same, lowered, ops, program_of

HEADS, SIZE = 4, 8
WIDTH = HEADS * SIZE


class Separate(nn.Module):
    """As in BERT: three layers; as in Whisper, the key has no bias and the query is scaled first."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(16, WIDTH), nn.Linear(16, WIDTH)
        self.key = nn.Linear(16, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def heads(y: torch.Tensor) -> torch.Tensor:
            return y.view(*x.shape[:2], HEADS, SIZE).transpose(1, 2)

        query, key = heads(self.query(x) * SIZE**-0.5), heads(self.key(x))
        return F.scaled_dot_product_attention(query, key, heads(self.value(x)), scale=1.0)


class Grouped(Separate):
    """Fewer heads of keys than of queries, and no bias at all."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(16, WIDTH, bias=False)
        self.key, self.value = (nn.Linear(16, WIDTH // 2, bias=False) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = (layer(x).unflatten(-1, (-1, SIZE)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        return F.scaled_dot_product_attention(*parts, enable_gqa=True)


class Windows(nn.Module):
    """As in Swin: one layer, cut after a permutation; the key is multiplied with its dimensions exchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.packed = nn.Linear(16, 3 * WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        packed = self.packed(x).reshape(*x.shape[:2], 3, HEADS, SIZE).permute(2, 0, 3, 1, 4)
        query, key, value = packed[0] * SIZE**-0.5, packed[1], packed[2]
        return F.softmax(query.matmul(key.transpose(-2, -1)), -1).matmul(value)


class Split(nn.Module):
    """As in GPT-2: a product of matrices, cut before it is seen as heads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(16, 3 * WIDTH)), nn.Parameter(torch.randn(3 * WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        packed = torch.addmm(self.bias, x.view(-1, 16), self.weight).view(*x.shape[:2], 3 * WIDTH)
        parts = (part.view(*x.shape[:2], HEADS, SIZE).transpose(1, 2) for part in packed.split(WIDTH, dim=2))
        return F.scaled_dot_product_attention(*parts)


class Torch(nn.Module):
    """PyTorch's own layer: one product of rows that are exchanged before and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.before = nn.Linear(16, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.before(x).relu()
        return self.attention(y, y, y, need_weights=False)[0]


@pytest.mark.parametrize("kind", [Separate, Grouped, Windows, Split])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_one_product_is_cut_once(kind: type[nn.Module], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 16, dtype=dtype)
    before = program_of(kind().to(dtype), [x])
    after = lowered(before, PackProjections(), FoldConstants())
    products = [name for name in ops(after) if name in ("aten.linear", "aten.addmm")]
    assert len(products) == 1
    first = ops(after).index(products[0])
    cuts = ["aten.view", *["aten.slice.Tensor", "aten.permute"] * 3]
    assert [name for name in ops(after)[first + 1 :] if name in cuts][: len(cuts)] == cuts
    assert "aten.cat" not in ops(after)
    assert_same(before, after, [x], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("kind", [Separate, Grouped, Windows, Split, Torch])
def test_of_any_batch_and_length(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    shapes = {0: torch.export.Dim("batch", min=1, max=8), 1: torch.export.Dim("length", min=2, max=64)}
    before = program_of(kind().half(), [torch.randn(2, 5, 16).half()], dynamic_shapes=(shapes,))
    after = lowered(before, PackProjections(), FoldConstants())
    assert ops(after).count("aten.slice.Tensor") == 3
    assert_same(before, after, [torch.randn(3, 7, 16).half()], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_are_not_exchanged(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 16, dtype=dtype)
    before = program_of(Torch().to(dtype), [x])
    after = lowered(before, PackProjections(), FoldConstants())
    assert ops(before)[:4] == ["aten.linear", "aten.relu", "aten.permute", "aten.linear"]
    assert ops(after)[:4] == ["aten.linear", "aten.relu", "aten.linear", "aten.view"]
    assert ops(after).count("aten.slice.Tensor") == 3
    assert_same(before, after, [x], rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("shape", [(1, 5, 16), (2, 1, 16), (1, 1, 16)])
@pytest.mark.parametrize("kind", [Separate, Windows, Split, Torch])
def test_a_batch_or_sequence_of_one(kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape).half()
    before = program_of(kind().half(), [x])
    after = lowered(before, PackProjections(), FoldConstants())
    assert ops(after).count("aten.slice.Tensor") == 3
    assert_same(before, after, [x], rtol=2e-2, atol=2e-2)


def test_one_step_of_any_batch() -> None:
    torch.manual_seed(0)
    shapes = {0: torch.export.Dim("batch", min=1, max=8)}
    before = program_of(Separate().half(), [torch.randn(2, 1, 16).half()], dynamic_shapes=(shapes,))
    after = lowered(before, PackProjections(), FoldConstants())
    assert_same(before, after, [torch.randn(3, 1, 16).half()], rtol=2e-2, atol=2e-2)


class CrossAttention(Separate):
    """Keys and values are of another input than queries."""

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        query, key, value = self.query(x), self.key(memory), self.value(memory)
        parts = (item.view(2, -1, HEADS, SIZE).transpose(1, 2) for item in (query, key, value))
        return F.scaled_dot_product_attention(*parts)


def test_only_products_of_the_same_input_are_joined() -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(2, 5, 16).half(), torch.randn(2, 7, 16).half()]
    before = program_of(CrossAttention().half(), inputs)
    after = lowered(before, PackProjections(), FoldConstants())
    assert ops(after).count("aten.linear") == 2
    assert ops(after).count("aten.slice.Tensor") == 2
    assert_same(before, after, inputs, rtol=2e-2, atol=2e-2)


def heads(product: torch.Tensor, count: int = HEADS) -> torch.Tensor:
    return product.view(2, 5, count, -1).transpose(1, 2)


weight, other = torch.randn(WIDTH, 16).half(), torch.randn(WIDTH, 16).half()


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda w, o, x: heads(F.linear(x, w)).relu(), id="one part"),
        pytest.param(lambda w, o, x: (heads(y := F.linear(x, w)).relu(), heads(y).exp(), y.sin()), id="read whole"),
        pytest.param(lambda w, o, x: heads(F.linear(x, w)) + heads(F.linear(x, o), 2).sum(), id="other sizes"),
        pytest.param(lambda w, o, x: heads(F.linear(x, w)) + heads(F.linear(x, o + x.sum())), id="computed weight"),
        pytest.param(lambda w, o, x: heads(F.linear(x, w))[:, :, :2] + heads(F.linear(x, o))[:, :, :2], id="rows"),
        pytest.param(lambda w, o, x: heads(F.linear(x, w))[..., :4] + heads(F.linear(x, o))[..., :4], id="elements"),
        pytest.param(lambda w, o, x: heads(F.linear(x, w)) + heads(F.linear(x.relu(), o)), id="other inputs"),
        pytest.param(
            lambda w, o, x: torch.as_strided(heads(F.linear(x, w)), (2, 3), (1, 5)) + heads(F.linear(x, o))[0, 0, 0, 0],
            id="read by place in memory",
        ),
        pytest.param(lambda w, o, x: F.linear(x, w).relu() + F.linear(x, o), id="no heads"),
        pytest.param(
            lambda w, o, x: heads(F.linear(x.float(), w.float())) + heads(F.linear(x.float(), o.float())), id="float32"
        ),
    ],
)
def test_leaves_the_rest(function: Any) -> None:
    x = torch.randn(2, 5, 16).half()
    before = program_of(function, [x], [weight, other])
    after = lowered(before, PackProjections())
    assert ops(after) == ops(before)
    assert_same(before, after, [x])


class ReadBeforeRows(nn.Module):
    """A part is read before anything has the batch and the length as dimensions of their own."""

    def forward(self, w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        packed = F.linear(x.view(-1, 16), w)
        first = packed.view(*x.shape[:2], 2 * HEADS, SIZE)[:, :, :HEADS].transpose(1, 2).relu()
        second = packed.view(*x.shape[:2], 2 * WIDTH)[:, :, WIDTH:].view(*x.shape[:2], HEADS, SIZE)
        return first + second.transpose(1, 2)


def test_leaves_what_is_read_before_its_rows_are_known() -> None:
    batch = {0: torch.export.Dim("batch", min=1, max=8)}
    w, x = torch.randn(2 * WIDTH, 16).half(), torch.randn(2, 5, 16).half()
    before = program_of(ReadBeforeRows(), [w, x], dynamic_shapes=({}, batch))
    after = lowered(before, PackProjections())
    assert ops(after) == ops(before)
    assert_same(before, after, [w, torch.randn(3, 5, 16).half()])


def test_leaves_graphs_that_write_to_their_tensors() -> None:
    def function(w: torch.Tensor, o: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        query = heads(F.linear(x, w))
        return query.add_(1) + heads(F.linear(x, o))

    exported = torch.export.export(Function(function, [weight, other]), (torch.randn(2, 5, 16).half(),), strict=False)
    before = tp.Program(exported)
    assert any("add_" in name for name in ops(before))
    assert ops(lowered(before, PackProjections())) == ops(before)


class Gated(nn.Module):
    """Three products of the same input, one with a bias; the fourth is of another."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(16, 32, bias=False), nn.Linear(16, 32)
        self.narrow, self.down = nn.Linear(16, 8, bias=False), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.down(F.silu(self.gate(x)) * self.up(x)), self.narrow(x)


def declared(model: nn.Module, inputs: list[tp.Input]) -> tp.Program:
    """The program of a model for declared inputs."""
    return Decompose().run(tp.trace(model, inputs), tp.Context())


ONE, SOME = ((1, 1, 16),) * 3, ((1, 2, 16), (2, 4, 16), (3, 8, 16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_with_several_profiles_all_products_of_an_input_are_one(dtype: torch.dtype) -> None:
    model = Gated().eval().to(dtype)
    program = declared(model, [tp.Input(shapes=[ONE, SOME], dtype=dtype)])
    packed = lowered(program, PackProjections(), FoldConstants())
    assert ops(packed).count("aten.linear") == 2
    for shape in ((1, 1, 16), (3, 8, 16)):
        x = torch.randn(shape).to(dtype)
        tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype is torch.float16 else {}
        torch.testing.assert_close(packed.exported.module(check_guards=False)(x), model(x), **tolerance)
    single = declared(model, [tp.Input(min_shape=ONE[0], opt_shape=SOME[1], max_shape=SOME[2], dtype=dtype)])
    assert ops(lowered(single, PackProjections())).count("aten.linear") == 4


def test_products_without_a_common_width_stay_apart() -> None:
    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(16, 7), nn.Linear(16, 10)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.one(x), self.two(x)

    program = declared(Uneven().eval(), [tp.Input(shapes=[ONE, SOME])])
    assert ops(lowered(program, PackProjections())).count("aten.linear") == 2
