"""Arguments that a model cannot be compiled with, each told in a sentence and nothing else."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.frontends.exported_program import example_arguments
from trt_passes.compiler.frontends.quiet import quiet_rejection

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


class Open(nn.Module):
    """Takes arguments of every kind."""

    def forward(self, x: torch.Tensor, /, y: torch.Tensor, *rest: torch.Tensor, k: int, **named: torch.Tensor) -> Any:
        return x + y + sum(rest) + k + sum(named.values())


class Box:
    """A container that PyTorch does not know."""


class Boxed(nn.Module):
    def forward(self, x: torch.Tensor) -> Any:
        return x + 1, Box()


@pytest.mark.parametrize("ir", ["dynamo", "fx", "ts", "torch_compile"])
@pytest.mark.parametrize(
    ("inputs", "kwargs", "message"),
    [
        (X, None, r"inputs is of type Tensor: give a list .* such as \[x\]"),
        (tp.Input((3, 4)), None, "inputs is of type Input: give a list"),
        ("3x4", None, "inputs is of type str: give a list"),
        ({"input": X}, None, "inputs is a dict: give keyword arguments as kwarg_inputs"),
        (None, [X], "kwarg_inputs is of type list: give a dict"),
        ([], {}, r"the model takes \(input\), but is not given 'input': add what is missing to inputs"),
        ([X, X], None, r"the model takes \(input\), but 2 inputs are given by position: leave out"),
        ([], {"inputt": X}, r"the model takes \(input\), but kwarg_inputs names 'inputt'\. Did you mean 'input'"),
        ([X], {"input": X}, "but 'input' is given both by position and by name"),
    ],
)
def test_every_front_end_names_what_does_not_fit(ir: str, inputs: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(tp.UserError, match=message) as caught:
        tp.compile(linear(), inputs, kwarg_inputs=kwargs, ir=ir)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "kwargs", "message"),
    [
        ([X], {}, r"\(x, y, \*rest, k, \*\*named\), but is not given 'y', 'k'"),
        ([X, X, X], {"z": X}, "but is not given 'k'"),
        ([X, X], {"y": X, "k": 1}, "'y' is given both"),
    ],
)
def test_arguments_of_every_kind(inputs: Any, kwargs: Any, message: str) -> None:
    with pytest.raises(tp.UserError, match=message):
        tp.trace(Open(), inputs, kwargs)
    assert len(tp.trace(Open(), [X, X, X], {"k": 1, "z": X}).inputs) == 4


@pytest.mark.parametrize(
    ("model", "inputs", "kwargs", "message"),
    [
        (linear(), [(3, 4)], None, r"must be Tensor, not tuple\. \(3, 4\) among .*tp.Input\(\(3, 4\)\)"),
        (
            linear(),
            [torch.randn(3, 5)],
            None,
            r"^the model itself raises RuntimeError when it is called .*: mat1 and mat2",
        ),
        (Branch(4, 4), [X], None, "decides by a value of a tensor at .*test_given_arguments.py:.*torch.where"),
        (linear(), [], {"input": (3, 4)}, r"\(3, 4\) among .*tp.Input\(\(3, 4\)\)"),
        (Cached(), [X], None, "returns a .*DynamicCache.*use_cache=False"),
        (Boxed(), [X], None, "returns a .*Box, which PyTorch cannot take apart.*register_pytree_node"),
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
        (linear(), [(3, 4)], r"must be Tensor, not tuple.* give tp.Input\(\(3, 4\)\)"),
        (torch.export.export(linear(), (X,)), [X], "was given a ExportedProgram: use ir='default'"),
    ],
)
def test_torch_compile_says_it_too(model: Any, inputs: Any, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(tp.UserError, match=message):
        tp.compile(model, inputs, ir="torch_compile")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["plain", "layer1", "exact", "a2x", "x", ""])
def test_texts_that_declare_no_input_are_arguments(text: str) -> None:
    program = tp.trace(Modes(4, 4).eval(), ["3x4", text])
    assert len(program.inputs) == 1
    program.exported.module()(X, text)


@pytest.mark.parametrize("text", ["3x4", " 3 x 4 ", "scalar", "x=scalar:bool", "ids=1..8x16..64:i64"])
def test_texts_that_declare_an_input(text: str) -> None:
    assert len(tp.trace(nn.Identity(), [text]).inputs) == 1


@pytest.mark.parametrize("text", ["3xx4", "-1x4", "3x4:f17", "3x4:f32:blocked", "2..1x4"])
def test_mistakes_in_such_texts_are_said(text: str) -> None:
    with pytest.raises(tp.UserError, match=r"(an I|i)nput"):
        tp.trace(nn.Identity(), [text])


@torch.no_grad()
def test_torch_compile_takes_functions_without_a_signature() -> None:
    compiled = tp.compile(torch.relu, [X], ir="torch_compile", min_block_size=1, executor="pytorch")
    torch.testing.assert_close(compiled(X), torch.relu(X))


class UpTo4(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[0] > 4 else x * 3


class Three(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(3, 4) * 2


@pytest.mark.parametrize(
    ("model", "message"),
    [(UpTo4(), r"declare: x\.shape\[0\] <= 4 must hold: declare"), (Three(), r"declare: x\.shape\[0\] is always 3:")],
)
def test_torch_compile_says_which_sizes_a_model_allows(
    model: nn.Module, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    batch = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4))
    with pytest.raises(tp.UserError, match=message) as caught:
        tp.compile(model, [batch], ir="torch_compile")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_logs_are_held_back_only_of_what_fails(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    caplog.set_level(logging.DEBUG, logger.name)
    caplog.handler.setLevel(logging.DEBUG)
    logger.addHandler(caplog.handler)
    try:
        with quiet_rejection():
            logger.debug("asked for by TORCH_LOGS")
            assert caplog.messages == ["asked for by TORCH_LOGS"]
            logger.warning("kept")
            assert len(caplog.messages) == 1
        assert caplog.messages[1:] == ["kept"]
        with contextlib.suppress(ValueError), quiet_rejection():
            logger.error("said by the exception")
            raise ValueError
        assert caplog.messages[2:] == []
    finally:
        logger.removeHandler(caplog.handler)


class Modes(nn.Linear):
    def forward(self, x: torch.Tensor, mode: str = "plain") -> torch.Tensor:
        return super().forward(x).relu() if mode == "clipped" else super().forward(x)

    def clipped(self, x: torch.Tensor) -> torch.Tensor:
        return self(x, "clipped")


@pytest.mark.parametrize("ir", ["dynamo", "fx"])
def test_texts_are_part_of_the_graph(ir: str) -> None:
    model = Modes(4, 4).eval()
    for inputs, kwargs in (([X, "clipped"], {}), (["3x4"], {"mode": "clipped"})):
        compiled = tp.compile(model, inputs, kwarg_inputs=kwargs, ir=ir, min_block_size=1, executor="pytorch")
        args = inputs[1:]
        torch.testing.assert_close(compiled(X, *args, **kwargs), model(X, "clipped"))
        with pytest.raises(tp.UserError, match="'mode' was 'clipped' when the model was compiled"):
            compiled(X, *["plain" for _ in args], **dict.fromkeys(kwargs, "plain"))


class Clipped(nn.Module):
    def forward(self, x: torch.Tensor, mode: str = "plain") -> torch.Tensor:
        return x.relu() * 2 if mode == "clipped" else x * 2


def test_texts_are_arguments_of_torchscript() -> None:
    model = torch.jit.script(Clipped())
    compiled = tp.compile(model, ["3x4", "clipped"], min_block_size=1, executor="pytorch")
    torch.testing.assert_close(compiled(X, "clipped"), model(X, "clipped"))


def test_fx_hints_at_shapes() -> None:
    with pytest.raises(tp.UserError, match=r"must be Tensor, not tuple.* give tp.Input\(\(3, 4\)\)"):
        tp.compile(linear(), [(3, 4)], ir="fx")


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


def test_examples_are_made_where_the_tensors_given_beside_them_are():
    examples, _ = example_arguments(torch.nn.Identity(), [tp.Input((2, 3)), torch.empty(2, device="meta")], {})
    assert [item.device.type for item in examples] == ["meta", "meta"]
    examples, _ = example_arguments(torch.nn.Linear(3, 3), [tp.Input((2, 3)), torch.empty(2, device="meta")], {})
    assert examples[0].device.type == "cpu"
