"""After a full compile no logical layer reads a tensor that is True everywhere, or False: such kernels are wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn, tensor
from trt_passes.compiler.tensorrt import arithmetic
from trt_passes.compiler.tensorrt.executor import ReferenceExecutor
from trt_passes.compiler.tensorrt.network import BuiltNetwork

from tests.oracle import converted

T, F = True, False
X = tensor([[T, F, T, T], [F, T, T, F], [T, T, F, F], [F, F, F, T]])
V = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
I = torch.tensor([[0, 1, 2, 3]] * 4)  # noqa: E741
MIXED = tensor([T, F, T, F])
Program = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Any]


def _zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, dtype=torch.bool)


def _ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def _wide(v: torch.Tensor) -> torch.Tensor:
    return v.repeat(300, 300) > 0


STATIC: dict[str, Program] = {
    "any of a constant": lambda x, v, i: x & tensor([0.0, 0.0]).any(),
    "all of a constant": lambda x, v, i: x | tensor([2.0, 1.0]).all(),
    "any of rows": lambda x, v, i: x & (torch.arange(16).view(4, 4) > 20).any(1),
    "all of columns": lambda x, v, i: x | (torch.arange(16).view(4, 4) >= 0).all(0),
    "any of zeros like": lambda x, v, i: x | torch.zeros_like(v).any(-1, keepdim=True),
    "all of ones like": lambda x, v, i: x & torch.ones_like(v).all(-1, keepdim=True),
    "any of nothing": lambda x, v, i: x | x[:, :0].any(-1),
    "all of nothing": lambda x, v, i: x & v[:0].bool().all(0),
    "isin of constants": lambda x, v, i: x & torch.isin(torch.arange(7, 11), tensor([1, 2])),
    "isin of all constants": lambda x, v, i: x | torch.isin(torch.arange(4), torch.arange(9)),
    "isin of values": lambda x, v, i: x & torch.isin(i, tensor([1, 2])),
    "isin of nothing": lambda x, v, i: x | torch.isin(i, torch.zeros(0, dtype=torch.long)),
    "isin inverted": lambda x, v, i: x & torch.isin(i, tensor([1]), invert=True),
    "tril that keeps all": lambda x, v, i: x & _ones(4, 4).tril(9),
    "tril that keeps nothing": lambda x, v, i: x & _ones(4, 4).tril(-9),
    "tril": lambda x, v, i: x & _ones(4, 4).tril(),
    "tril of floats that keeps nothing": lambda x, v, i: (v.tril(-9) != 0) | x,
    "tril of values that keeps nothing": lambda x, v, i: x.tril(-9) | x,
    "halves of a mask": lambda x, v, i: (MIXED | ~MIXED) & x,
    "mask with itself": lambda x, v, i: x ^ (MIXED ^ MIXED),
    "rows and columns of a mask": lambda x, v, i: (MIXED[:, None] & MIXED[None]) & x,
    "part of a mask": lambda x, v, i: x & MIXED[::2].repeat(2),
    "concatenation": lambda x, v, i: x & torch.cat([_zeros(2), _zeros(2)]),
    "stack": lambda x, v, i: torch.stack([x, x]) | torch.stack([_ones(4, 4), _ones(4, 4)]),
    "window": lambda x, v, i: x & ((torch.arange(4)[:, None] - torch.arange(4)[None]).abs() < 8),
    "choice": lambda x, v, i: torch.where(x, T, F) & torch.where(MIXED, F, F),
    "infinite": lambda x, v, i: x | torch.isinf(tensor(math.inf)),
    "no number": lambda x, v, i: x | torch.full((4,), math.nan).isnan(),
    "finite": lambda x, v, i: x & torch.isfinite(torch.arange(4.0)),
    "one of each": lambda x, v, i: x & nn.functional.one_hot(torch.arange(4), 4).bool().any(0),
    "index of a mask": lambda x, v, i: x & MIXED[tensor([1, 1, 3, 3])],
    "greatest": lambda x, v, i: x | MIXED.max(),
    "count": lambda x, v, i: x & (MIXED.sum() > 9),
    "scatter": lambda x, v, i: x & _zeros(4).scatter(0, torch.arange(4), _ones(4)),
    "full like": lambda x, v, i: x & torch.full_like(v, 0).bool(),
    "zeros like and one": lambda x, v, i: x | (torch.zeros_like(v) + 1 > 0),
    "what is returned too": lambda x, v, i: ((torch.arange(4) < 9).any(), x & (torch.arange(4) < 9).any()),
    "concatenation that is returned too": lambda x, v, i: (
        torch.cat([_zeros(2), _zeros(2)]),
        x | torch.cat([_zeros(2), _zeros(2)]),
    ),
    "attention": lambda x, v, i: nn.functional.scaled_dot_product_attention(
        v[None], v[None], v[None], attn_mask=(_ones(4, 4).tril() | _ones(4, 4)) & x | F
    ),
    "large any": lambda x, v, i: x & torch.zeros(2000, 2000).any(),
    "large tril": lambda x, v, i: _wide(v) & _ones(1200, 1200).tril(2000),
    "large halves": lambda x, v, i: _wide(v) & (_ones(1200, 1200).tril() & _ones(1200, 1200).triu(1)),
    "large concatenation": lambda x, v, i: _wide(v) & torch.cat([_zeros(600, 1200), _zeros(600, 1200)]),
    "large comparison": lambda x, v, i: _wide(v) & (torch.arange(1200)[:, None] + torch.arange(1200)[None] >= 0),
}

DYNAMIC: dict[str, Program] = {
    "any": lambda x, v, i: x | torch.zeros_like(v).any(-1, keepdim=True),
    "all": lambda x, v, i: x & torch.ones_like(v).all(0),
    "comparison": lambda x, v, i: x & (torch.full_like(v, 3) == 3),
    "isin": lambda x, v, i: x & torch.isin(torch.zeros_like(i), tensor([5, 6])),
    "slice": lambda x, v, i: x[1:] & torch.zeros_like(x)[1:],
    "flip": lambda x, v, i: x & torch.zeros_like(x).flip(0),
    "permutation": lambda x, v, i: x & torch.zeros(4, x.shape[0], dtype=torch.bool).T,
    "concatenation": lambda x, v, i: torch.cat([x, x]) & torch.cat([torch.zeros_like(x)] * 2),
    "padding": lambda x, v, i: nn.functional.pad(torch.zeros_like(x), (1, 0)) & nn.functional.pad(x, (1, 0)),
    "gather": lambda x, v, i: x & torch.zeros_like(x)[:, [0, 1, 1, 2]],
    "cast": lambda x, v, i: x | torch.ones_like(i).bool(),
    "arithmetic": lambda x, v, i: x & ((torch.ones_like(v) * 0 + 1) < 1),
    "sum": lambda x, v, i: x & (torch.zeros_like(v).sum(1, keepdim=True) > 0),
    "greatest": lambda x, v, i: x & torch.zeros_like(v).amax(1, keepdim=True).bool(),
    "choice": lambda x, v, i: x & torch.where(torch.ones_like(x), torch.zeros_like(x), x),
    "masks": lambda x, v, i: x & (torch.ones_like(x) & ~MIXED & MIXED),
    "mask of a decoder": lambda x, v, i: v.masked_fill(~(torch.ones_like(x) & (x | torch.zeros_like(x))), 0),
}


class Module(nn.Module):
    def __init__(self, function: Program) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor, v: torch.Tensor, i: torch.Tensor) -> Any:
        return self.function(x, v, i)


def constants_read(built: BuiltNetwork, feeds: list[dict[str, torch.Tensor]]) -> list[str]:
    """The logical layers that read only constants, or one that is the same everywhere.

    Args:
        built: a network.
        feeds: two sets of inputs that differ in every element, to be evaluated with.
    """
    network, values = built.network, [_values_of(built, feed) for feed in feeds]
    made: dict[str, Any] = {}
    found = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        inputs = [layer.get_input(place) for place in range(layer.num_inputs)]
        if layer.type.name == "ELEMENTWISE":
            layer.__class__ = built.trt.module.IElementWiseLayer
            if layer.op.name in ("AND", "OR", "XOR"):
                operands = [[seen[made[each.name]] for seen in values if each.name in made] for each in inputs]
                fixed = [bool(pair) and torch.equal(*pair) for pair in operands]
                known = [pair[0] for each, pair in zip(fixed, operands, strict=True) if each]
                if all(fixed) or any(bool((value == value.flatten()[0]).all()) for value in known):
                    found.append(layer.name)
        for place in range(layer.num_outputs):
            made[layer.get_output(place).name] = layer.name
    return found


def _values_of(built: BuiltNetwork, feed: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}

    def observe(name: str, results: list[torch.Tensor]) -> None:
        if results:
            seen[name] = results[0].clone()

    ReferenceExecutor(built.trt, built.network).run(feed, observe=observe)
    return seen


def networks(compiled: Any) -> list[BuiltNetwork]:
    return [segment.network for segment in compiled.report.program.segments]


def check(function: Program, declared: list[Any]) -> None:
    module = Module(function)
    compiled = tp.compile(module, declared, min_block_size=1, executor="reference")
    torch.testing.assert_close(compiled(X, V, I), module(X, V, I))
    # Inputs that differ in every element, so that what stays the same does not depend on them.
    kinds = {torch.bool: (X, ~X), torch.float32: (V, V + 7), torch.int64: (I, I + 9)}
    for built in networks(compiled):
        feeds = [{b.name: kinds[b.dtype][k] for b in built.inputs} for k in (0, 1)]
        assert constants_read(built, feeds) == []


@pytest.mark.parametrize("name", STATIC)
def test_no_logical_layer_has_a_constant_that_decides_it(name: str) -> None:
    check(STATIC[name], [X, V, I])


@pytest.mark.parametrize("name", DYNAMIC)
def test_nor_where_sizes_vary(name: str) -> None:
    shapes = {"min_shape": [2, 4], "opt_shape": [4, 4], "max_shape": [9, 4]}
    check(DYNAMIC[name], [tp.Input(**shapes, dtype=given.dtype) for given in (X, V, I)])


def test_the_walk_finds_such_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "_decided", lambda *args: None)
    built = converted(lambda x: x & (torch.zeros_like(x) | F), [X]).built
    assert len(constants_read(built, [{built.inputs[0].name: each} for each in (X, ~X)])) == 1
