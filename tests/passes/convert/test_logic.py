"""Logical operations that a constant decides: TensorRT-RTX builds wrong kernels for them, so they are no layers."""

from __future__ import annotations

import pytest
import torch
from torch import tensor

from tests.oracle import check

X = tensor([[True, False, True], [False, True, True]])

DECIDED = {
    "and": lambda x: x & False,
    "or": lambda x: x | True,
    "xor": lambda x: x ^ True,
    "xor with False": lambda x: x ^ False,
    "and with 0-d": lambda x: x & tensor(False),
    "or with [1, 1]": lambda x: x | tensor([[True]]),
    "or with a row": lambda x: x | torch.ones(3, dtype=torch.bool),
    "and, broadcast": lambda x: x[:, :1] & torch.ones(1, 4, dtype=torch.bool),
    "with itself": lambda x: (x & x) | (x ^ x),
    "equal to itself": lambda x: x == x,
    "equal": lambda x: x == False,  # noqa: E712
    "not equal": lambda x: x != True,  # noqa: E712
    "logical and with a number": lambda x: torch.logical_and(x, tensor(3)),
    "logical or with a float": lambda x: torch.logical_or(x, tensor(0.0)),
    "logical xor with a vector": lambda x: torch.logical_xor(x, tensor([2])),
    "where": lambda x: torch.where(tensor(True), x, ~x),
    "where in full": lambda x: torch.where(torch.zeros(1, 3, dtype=torch.bool), x, ~x),
    "masked fill": lambda x: x.masked_fill(tensor([True]), False),
    "product": lambda x: x * False,
    "sum": lambda x: x + True,
    "maximum": lambda x: torch.maximum(x, tensor(True)),
    "minimum": lambda x: torch.minimum(x, tensor(False)),
    "ones like": lambda x: x & torch.ones_like(x),
    "not of zeros like": lambda x: x | ~torch.zeros_like(x),
}


@pytest.mark.parametrize("rows", [None, (1, 2, 5)], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", DECIDED)
def test_no_logical_layer_has_a_constant(name, rows):
    dynamic = ([{0: "rows"}], {"rows": rows}) if rows else (None, None)
    network = check(lambda x: (DECIDED[name](x), ~x), (X,), *dynamic)
    assert not {"ELEMENTWISE", "SELECT"} & set(network.layers())


def test_masks_with_both_values_take_a_layer():
    mask = tensor([True, False, True])
    network = check(lambda x: (x & mask, x | mask, torch.where(mask, x, ~x)), (X,), build=True)
    assert [kind for kind in network.layers() if kind in ("ELEMENTWISE", "SELECT")] == ["ELEMENTWISE"] * 2 + ["SELECT"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x, m: m & (torch.tensor(3.0) < 2),
        lambda x, m: m | (torch.tensor(3.0) >= 2),
        lambda x, m: m & (torch.arange(3) < 0),
        lambda x, m: (m & (torch.tensor(1) > 2)) | (torch.tensor(4) > 2),
        lambda x, m: torch.logical_or(m, torch.logical_not(torch.zeros(1))),
    ],
)
def test_a_comparison_of_constants_is_a_constant(function):
    inputs = [torch.randn(2, 3), torch.tensor([[True, False, True], [False, True, True]])]
    assert not {"ELEMENTWISE", "UNARY"} & set(check(function, inputs, build=True).layers())
