"""Arguments that a model is compiled without: calls may spell out their defaults, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.left_out import LeftOut

X, MASK = torch.ones(2, 4), torch.full((2, 4), 3.0)


class Model(nn.Module):
    """x f32[2,4], mask f32[2,4] -> f32[2,4] in a dict or a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None = None, scale: float = 2.0, *, return_dict: bool = True
    ) -> Any:
        y = torch.relu(self.layer(x)) * scale
        y = y if mask is None else y + mask
        return {"y": y} if return_dict else (y,)


def compiled(ir: str = "dynamo", **kwargs: Any) -> torch.fx.GraphModule:
    pytest.importorskip("tensorrt_rtx")
    torch.manual_seed(0)
    options = {"ir": ir, "min_block_size": 1, "executor": "pytorch"}
    return tp.compile(Model().eval(), [X], kwarg_inputs=kwargs or None, **options)


@pytest.mark.parametrize("ir", ["dynamo", "fx"])
def test_defaults_may_be_spelled_out(ir: str) -> None:
    module = compiled(ir)
    expected = module(X)["y"]
    for args, kwargs in (
        ((X, None), {}),
        ((X, None, 2.0), {}),
        ((X,), {"mask": None, "return_dict": True}),
        ((), {"x": X, "scale": 2}),
    ):
        assert torch.equal(module(*args, **kwargs)["y"], expected)


def test_other_values_are_refused_by_name() -> None:
    module = compiled()
    for args, kwargs, words in (
        ((X, MASK), {}, "argument 'mask' was None when .*, and is a tensor now"),
        ((X,), {"scale": 3.0}, r"argument 'scale' was 2\.0 when .*, and is 3\.0 now: compile the model for that too"),
        ((X,), {"return_dict": False}, "argument 'return_dict' was True when .*, and is False now"),
    ):
        with pytest.raises(tp.UserError, match=words):
            module(*args, **kwargs)


def test_what_the_model_does_not_take_is_no_default() -> None:
    module = compiled()
    for args, kwargs in (((X, None, 2.0, None), {}), ((X,), {"masks": None}), ((X, None), {"mask": None})):
        with pytest.raises(TypeError):
            module(*args, **kwargs)


def test_arguments_by_name_may_come_by_position() -> None:
    module = compiled(mask=MASK)
    expected = module(X, mask=MASK)["y"]
    assert torch.equal(module(X, MASK)["y"], expected)
    assert torch.equal(module(X, MASK, 2.0, return_dict=True)["y"], expected)
    assert torch.equal(module(X, scale=2.0, mask=MASK)["y"], expected)


def test_checks_see_the_arguments_that_remain() -> None:
    module = compiled(mask=MASK)
    with pytest.raises(tp.UserError, match="input 'mask' has size 3 in dimension 0"):
        module(X, torch.ones(3, 4), scale=2.0)


def test_copies_and_files_know_the_defaults_too(tmp_path: Path) -> None:
    module = compiled()
    tp.save(module, tmp_path / "model.pt2")
    for twin in (copy.copy(module), copy.deepcopy(module), tp.load(tmp_path / "model.pt2")):
        assert torch.equal(twin(X, mask=None)["y"], module(X)["y"])
        with pytest.raises(tp.UserError, match="'scale' was"):
            twin(X, scale=3.0)


def test_a_program_that_was_traced_before_knows_them() -> None:
    pytest.importorskip("tensorrt_rtx")
    program = tp.trace(Model().eval(), [X])
    module = tp.compile(program, min_block_size=1, executor="pytorch")
    assert torch.equal(module(X, None)["y"], module(X)["y"])


def test_torch_compile_takes_them() -> None:
    module = compiled()
    torch._dynamo.reset()
    again = torch.compile(module, backend="eager", fullgraph=True)
    assert torch.equal(again(X, mask=None)["y"], module(X)["y"])


def test_defaults_that_are_no_constants_are_left_alone() -> None:
    def forward(x: Any, place: Any = (1, 2), *rest: Any, flag: bool = False, **more: Any) -> None: ...

    found = LeftOut.of(forward, [X], {})
    assert found is not None
    assert (found.given, found.following, found.defaults) == (1, ("place",), {"flag": False})
    assert LeftOut.of(forward, [X], {"flag": True}) is None
    assert LeftOut.of(torch.relu, [X], {}) is None
