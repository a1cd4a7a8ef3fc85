"""Arguments that no engine checks: other values, sizes, types and nests than a model was compiled for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from trt_passes.compiler.runtime.calls.argument_check import ArgumentCheck

X, Y = torch.randn(4, 8), torch.randn(1, 8)


class Nested(nn.Module):
    """The first tensor enters an engine, and the second is read by PyTorch, which would take any."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor, pair: dict[str, Any], scale: float = 1.0) -> Tensor:
        beside = pair["y"].double().sum(0) * pair["k"][0] / pair["y"].shape[0]
        return self.layer(x).relu() * scale + beside


PAIR = {"y": Y, "k": [3]}


@pytest.fixture(scope="module")
def compiled() -> Any:
    torch.manual_seed(0)
    rows = tp.Input(min_shape=(1, 8), opt_shape=(4, 8), max_shape=(6, 8))
    return tp.compile(Nested().eval(), [rows, PAIR, 2.0], min_block_size=1, executor="pytorch")


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((X, PAIR, 2.0), {}),
        ((X, {"k": [3], "y": Y}, 2.0), {}),
        ((X,), {"scale": 2.0, "pair": PAIR}),
        ((), {"scale": 2.0, "pair": {"y": Y, "k": (3,)}, "x": X}),
    ],
)
def test_the_same_in_another_order(compiled: Any, args: Any, kwargs: Any) -> None:
    torch.testing.assert_close(compiled(*args, **kwargs), compiled(X, PAIR, 2.0))


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((X, PAIR, 3.0), {}, "argument 'scale' was 2.0 when the model was compiled"),
        ((X, PAIR), {"scale": 3.0}, "argument 'scale' was 2.0 when the model was compiled"),
        ((X, {"y": Y, "k": [4]}, 2.0), {}, "'pair_k_0' was 3 when"),
        ((X, {"y": Y, "k": [3, 3]}, 2.0), {}, "'pair' is nested otherwise.*for {'y': \\*, 'k': \\[\\*\\]}: give that"),
        ((X, {"y": Y}, 2.0), {}, "'pair' is nested otherwise"),
        ((X, Y, 2.0), {}, "'pair' is nested otherwise"),
        ((X, {"y": X, "k": [3]}, 2.0), {}, "'pair_y' has size 4 in dimension 0 .*the compiled model takes 1: give"),
        (
            (X, {"y": Y.int(), "k": [3]}, 2.0),
            {},
            "'pair_y' is torch.int32, but the model was compiled for torch.float32",
        ),
        ((X, {"y": None, "k": [3]}, 2.0), {}, "'pair_y' is a NoneType: give a tensor"),
        ((X.repeat(2, 1), PAIR, 2.0), {}, "'x' has size 8 in dimension 0 .*takes 1 to 6: give"),
    ],
)
def test_others_are_refused(compiled: Any, args: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(tp.UserError, match=message):
        compiled(*args, **kwargs)


@pytest.mark.parametrize(("args", "kwargs"), [((X,), {}), ((X, PAIR, 2.0, 1), {}), ((X, PAIR), {"other": 1})])
def test_missing_and_unknown_arguments_are_pythons_errors(compiled: Any, args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match="argument"):
        compiled(*args, **kwargs)


def test_calls_that_engines_check_have_no_other_check() -> None:
    compiled = tp.compile(nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval(), [X], min_block_size=1)
    assert not [hook for hook in compiled._forward_pre_hooks.values() if isinstance(hook, ArgumentCheck)]


class Twice(nn.Module):
    """Two engines with a selection between them; the second one takes y."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(torch.kthvalue(torch.relu(x) * 2, 2, dim=-1, keepdim=True)[0] + y) * 2


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (X.double(), "input 'y' is torch.float64, but the model was compiled for torch.float32"),
        (X[0], r"input 'y' has shape \(8,\), but the compiled model takes"),
        (X[:2], "input 'y' has size 2 in dimension 0, but the other inputs make it 4"),
        (X.numpy(), "input 'y' is a ndarray: give a tensor"),
        (None, "input 'y' is a NoneType: give a tensor"),
    ],
)
def test_what_a_later_engine_takes_is_checked_before_anything_runs(y: Any, message: str) -> None:
    rows = tp.Input(min_shape=(1, 8), opt_shape=(4, 8), max_shape=(6, 8))
    left, ran = {"aten.kthvalue"}, list[str]()
    module = tp.compile(Twice(), [rows, rows], min_block_size=1, executor="pytorch", torch_executed_ops=left)
    torch.testing.assert_close(module(X, X), Twice()(X, X))
    first, _ = module.segments.values()
    first.runner.executor = "reference"
    first.runner.reference = lambda inputs: ran.append("first") or inputs
    with pytest.raises(tp.UserError, match=message):
        module(X, y)
    assert not ran
