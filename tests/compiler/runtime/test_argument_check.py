"""Arguments that no engine checks: other values, sizes, types and nests than a model was compiled for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from trt_passes.compiler.runtime.argument_check import ArgumentCheck

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
