"""Arguments that a model cannot be compiled with, each told in a sentence and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

X = torch.randn(3, 4)


class Branch(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) if x.sum() > 0 else x


class Cached(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        from transformers import DynamicCache

        return x + 1, DynamicCache()


def linear() -> nn.Module:
    return nn.Linear(4, 4).eval()


@pytest.mark.parametrize(
    ("model", "inputs", "kwargs", "message"),
    [
        (linear(), X, None, r"inputs is a Tensor: give a list .* such as \[x\]"),
        (linear(), tp.Input((3, 4)), None, "inputs is a Input: give a list"),
        (linear(), {"input": X}, None, "inputs is a dict: give keyword arguments as kwarg_inputs"),
        (linear(), None, [X], "kwarg_inputs is a list: give a dict"),
        (linear(), [], None, r"the model takes \(input\), and the inputs do not fit: missing a required argument"),
        (linear(), [X, X], None, r"the model takes \(input\).*too many positional arguments"),
        (linear(), [X], {"other": X}, r"the model takes \(input\).*unexpected keyword argument 'other'"),
        (linear(), [(3, 4)], None, r"must be Tensor, not tuple\. \(3, 4\) among .*tp.Input\(\(3, 4\)\)"),
        (linear(), [torch.randn(3, 5)], None, r"rejects the model: a and b must have same reduction dim"),
        (Branch(4, 4), [X], None, "decides by a value of a tensor at .*test_given_arguments.py:.*torch.where"),
        (Cached(), [X], None, "DynamicCache.*use_cache=False"),
    ],
)
def test_what_is_wrong_and_what_to_do(
    model: nn.Module, inputs: Any, kwargs: Any, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(tp.UserError, match=message):
        tp.compile(model, inputs, kwarg_inputs=kwargs)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (linear(), [torch.randn(3, 5)], "the model does not take these inputs: a and b must have same reduction dim"),
        (linear(), [X, X], r"the model takes \(input\).*too many positional arguments"),
        (torch.export.export(linear(), (X,)), [X], "was given a ExportedProgram: use ir='default'"),
    ],
)
def test_torch_compile_says_it_too(model: Any, inputs: Any, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(tp.UserError, match=message):
        tp.compile(model, inputs, ir="torch_compile")
    assert capfd.readouterr() == ("", "")


class Modes(nn.Linear):
    def forward(self, x: torch.Tensor, mode: str = "plain") -> torch.Tensor:
        return super().forward(x).relu() if mode == "clipped" else super().forward(x)

    def clipped(self, x: torch.Tensor) -> torch.Tensor:
        return self(x, "clipped")


def test_texts_are_part_of_the_graph() -> None:
    model = Modes(4, 4).eval()
    for compiled in (
        tp.compile(model, [X, "clipped"], min_block_size=1, executor="pytorch"),
        tp.compile(model, [X], kwarg_inputs={"mode": "clipped"}, min_block_size=1, executor="pytorch"),
    ):
        torch.testing.assert_close(compiled(X, mode="clipped"), model(X, "clipped"))
        with pytest.raises(tp.UserError, match="'mode' was 'clipped' when the model was compiled"):
            compiled(X, mode="plain")


@torch.no_grad()
def test_torch_compile_takes_methods_and_functions() -> None:
    model = Modes(4, 4).eval()
    for called in (model.clipped, lambda x: model(x, "clipped")):
        compiled = tp.compile(called, [X], ir="torch_compile", min_block_size=1, executor="pytorch")
        torch.testing.assert_close(compiled(X), model.clipped(X))
        assert len(compiled.graphs) == 1


@pytest.mark.parametrize("value", [None, [X], X.numpy(), 2.0])
def test_calls_with_what_is_no_tensor(value: Any) -> None:
    compiled = tp.compile(linear(), [X], min_block_size=1, executor="pytorch")
    with pytest.raises(tp.UserError, match=rf"input 'input' is a {type(value).__name__}: give a tensor"):
        compiled(value)
