"""`prims` operators against PyTorch's own implementation of them."""

from __future__ import annotations

import pytest
import torch

from tests.oracle import check, traced

prims = torch.ops.prims
X = torch.tensor([[1.5, -2.0, 0.3], [0.7, 4.0, -1.1]])
PLACE = {"device": "cpu", "requires_grad": False}
I = torch.tensor([[7, -7, 3], [-9, 2, 5]], dtype=torch.int32)  # noqa: E741

CALLS = {
    "sum": (lambda x: prims.sum(x, [1]), X),
    "sum of all": (lambda x: prims.sum(x, [0, 1]), X),
    "product": (lambda x: prims.prod(x, [0, 1]), X),
    "maximum": (lambda x: prims.amax(x, [1]), X),
    "minimum of all": (lambda x: prims.amin(x, [0, 1]), X),
    "variance": (lambda x: prims.var(x, [1], 1), X),
    "variance, corrected": (lambda x: prims.var(x, [1], 0), X),
    "quotient": (lambda x: prims.div(x, x + 3), X),
    "quotient of integers": (lambda x: prims.div(x, x.flip(0)), I),
    "remainder": (lambda x: prims.fmod(x, x.flip(0)), X),
    "broadcast": (lambda x: prims.broadcast_in_dim(x, [2, 4, 3], [0, 2]), X),
    "broadcast a column": (lambda x: prims.broadcast_in_dim(x[:, :1], [5, 2, 3], [1, 2]), X),
    "broadcast 0-d": (lambda x: prims.broadcast_in_dim(x[0, 0], [5, 2], []), X),
    "convert to int": (lambda x: prims.convert_element_type(x, torch.int32), X),
    "convert to bool": (lambda x: prims.convert_element_type(x, torch.bool), I),
    "transpose": (lambda x: prims.transpose(x, [1, 0]), X),
    "split": (lambda x: prims.split_dim(x[None], 1, 2), X),
    "collapse": (lambda x: prims.collapse(x[None], 0, 1), X),
    "collapse as a view": (lambda x: prims.collapse_view(x[None], 1, 2), X),
    "squeeze": (lambda x: prims.squeeze(x[None], [0]), X),
    "reverse": (lambda x: prims.rev(x, [1]), X),
    "where": (lambda x: prims.where(x > 0, x, -x), X),
    "iota": (
        lambda x: x[:, :1] + prims.iota(4, start=3, step=-2, dtype=torch.int64, **PLACE),
        X,
    ),
    "full": (lambda x: x + prims.full([2, 3], 4, dtype=torch.float32, **PLACE), X),
    "concatenate": (lambda x: prims.cat([x, x], 1), X),
    "reshape": (lambda x: prims.reshape(x, [3, 2]), X),
    "cube root": (lambda x: prims.cbrt(x), X),
    "shift": (lambda x: prims.shift_left(x, x * 0 + 2), I),
    "reciprocal root": (lambda x: prims.rsqrt(x.abs()), X),
    "power": (lambda x: prims.pow(x.abs(), x), X),
}


@pytest.mark.parametrize("name", CALLS)
def test_prims_are_computed(name):
    function, x = CALLS[name]
    check(lambda x: (function(x), x + 1), (x,))


@pytest.mark.parametrize("name", ["sum", "broadcast", "convert to int", "collapse"])
def test_prims_of_varying_sizes(name):
    function = {
        **{key: call for key, (call, _) in CALLS.items()},
        "broadcast": lambda x: prims.broadcast_in_dim(x, [x.shape[0], 4, 3], [0, 2]),
    }[name]
    check(lambda x: (function(x), x + 1), (X,), [{0: "rows"}], {"rows": (1, 2, 5)})


@pytest.mark.parametrize("train", [False, True])
def test_dropout_that_drops_nothing(train):
    def function(x):
        kept, mask = torch.ops.aten.native_dropout(x, 0.0 if train else 0.5, train)
        return kept * 2, mask

    _, program = traced(function, (X,))
    assert not any("dropout" in str(node.target) for node in program.op_nodes)
    check(function, (X,), build=True)
