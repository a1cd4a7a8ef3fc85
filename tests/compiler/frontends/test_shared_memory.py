"""Inputs that share memory, views of inputs, and shapes of inputs that change in place: right, or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trt_passes as tp
from torch import nn

OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1, "pass_through_build_failures": True}


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


class WritesFirst(nn.Module):
    """Adds to one input and reads the other: x, y f32[3,4] -> f32[3,4]."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x.add_(1)
        return torch.relu(y) * 2


class Counts(nn.Module):
    """Adds to a buffer, and reads a weight: x f32[3,4] -> f32[3,4]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3, 4))
        self.weight = nn.Parameter(torch.ones(3, 4), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(1)
        return torch.relu(x) + self.total * self.weight


class WritesAndReadsAWeight(nn.Module):
    """Doubles its input, and adds a weight: x f32[3,4] -> f32[3,4]."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 4), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.mul_(2)
        return torch.relu(x) + self.weight


def matrix() -> torch.Tensor:
    return torch.arange(12.0).reshape(3, 4) - 5


def same() -> list[torch.Tensor]:
    x = matrix()
    return [x, x]


def overlapping() -> list[torch.Tensor]:
    memory = torch.arange(40.0)
    return [memory[:12].view(3, 4), memory[8:20].view(3, 4)]


def of_numpy() -> list[torch.Tensor]:
    memory = np.arange(20, dtype=np.float32)
    return [torch.from_numpy(memory[:12]).view(3, 4), torch.from_numpy(memory[2:14]).view(3, 4)]


def apart() -> list[torch.Tensor]:
    memory = torch.arange(40.0)
    return [memory[:12].view(3, 4), memory[12:24].view(3, 4)]


def interleaved() -> list[torch.Tensor]:
    memory = torch.arange(24.0).view(3, 8)
    return [memory[:, ::2], memory[:, 1::2]]


def check(compiled: Any, eager: nn.Module, make: Callable[[], list[torch.Tensor]]) -> None:
    given, expected = make(), make()
    torch.testing.assert_close(compiled(*given), eager(*expected))
    torch.testing.assert_close(given, expected)


@torch.no_grad()
@pytest.mark.parametrize("ir", ["dynamo", "fx", "ts", "torch_compile"])
def test_inputs_that_overlap_where_one_is_written_to(ir: str) -> None:
    compiled = tp.compile(WritesFirst(), [torch.zeros(3, 4), torch.zeros(3, 4)], ir=ir, **OPTIONS)
    for make in (apart, interleaved):
        check(compiled, WritesFirst(), make)
    for make in (same, overlapping, of_numpy):
        if ir == "torch_compile":  # which leaves such calls to PyTorch
            check(compiled, WritesFirst(), make)
        elif ir == "ts":
            with pytest.raises(torch.jit.Error, match="an input shares memory with what the model writes to"):
                compiled(*make())
        else:
            with pytest.raises(
                tp.UserError, match="input 'x', which the model writes to, shares memory with input 'y'"
            ):
                compiled(*make())
            check(compiled, WritesFirst(), apart)


@torch.no_grad()
def test_inputs_that_overlap_are_fine_where_none_is_written_to(tmp_path: Path) -> None:
    class Reads(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.relu(x) @ y.t()

    compiled = tp.compile(Reads(), same(), **OPTIONS)
    for make in (same, overlapping, of_numpy):
        check(compiled, Reads(), make)


@torch.no_grad()
def test_inputs_that_overlap_with_tensors_of_the_model(tmp_path: Path) -> None:
    model = Counts()
    compiled = tp.compile(model, [matrix()], **OPTIONS)
    with pytest.raises(tp.UserError, match="the model's tensor 'total', which the model writes to, shares memory"):
        compiled(model.total)
    eager = copy.deepcopy(model)
    torch.testing.assert_close(compiled(model.weight), eager(eager.weight))
    tp.save(compiled, tmp_path / "m.pt2")
    loaded = tp.load(tmp_path / "m.pt2", executor="pytorch")
    with pytest.raises(tp.UserError, match="shares memory with input 'x'"):
        loaded(loaded.total)
    written = WritesAndReadsAWeight()
    with pytest.raises(tp.UserError, match=r"input 'x', which the model writes to, shares memory with .* 'weight'"):
        tp.compile(written, [matrix()], **OPTIONS)(written.weight)


def transposed_and_written(x: torch.Tensor) -> torch.Tensor:
    x.t_().mul_(3)
    return x + 1


RESHAPED: dict[str, Callable[[torch.Tensor], Any]] = {
    "t_ and mul_": transposed_and_written,
    "transpose_": lambda x: x.transpose_(0, 1) * 2,
    "after abs_": lambda x: x.abs_().swapaxes_(0, 1).add_(1) * 2,
    "after out=": lambda x: torch.add(x, 1, out=x).swapaxes_(0, 1) * 2,
    "unsqueeze_": lambda x: x.unsqueeze_(0) * 2,
    "squeeze_": lambda x: x.squeeze_() * 2,
    "resize_": lambda x: x.resize_(2, 2) * 2,
    "as_strided_": lambda x: x.as_strided_((2, 2), (1, 2)) * 2,
}


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:graph-00 is left to PyTorch")
@pytest.mark.parametrize("name", RESHAPED)
def test_inputs_whose_shape_changes_in_place(name: str) -> None:
    model = Function(RESHAPED[name])
    for ir in ("dynamo", "fx", "ts"):
        with pytest.raises(tp.UserError, match=r"changes the shape, strides or memory of .* in place, with .*_ at "):
            tp.compile(model, [matrix()], ir=ir, **OPTIONS)
    options = {**OPTIONS, "pass_through_build_failures": False}
    x = matrix()
    compiled = tp.compile(model, [x], ir="torch_compile", **options)
    assert torch.equal(x, matrix())
    check(compiled, model, lambda: [matrix()])


@torch.no_grad()
def test_a_tensor_of_the_model_whose_shape_changes_in_place() -> None:
    class Flips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", matrix())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x) + self.state.t_()

    with pytest.raises(tp.UserError, match="of its tensor 'state' in place, with t_"):
        tp.compile(Flips(), [torch.zeros(4, 3)], **OPTIONS)


def data_replaced(x: torch.Tensor) -> torch.Tensor:
    x.data = x * 2
    return x + 1


@torch.no_grad()
@pytest.mark.parametrize("ir", ["dynamo", "fx", "ts"])
def test_assignments_to_the_data_of_a_tensor_are_refused(ir: str) -> None:
    with pytest.raises(tp.UserError, match=r"assigns to (the data|'data') of a tensor"):
        tp.compile(Function(data_replaced), [matrix()], ir=ir, **OPTIONS)


def doubled(x: torch.Tensor) -> torch.Tensor:
    x *= 2
    return x + 1


def transposed_view_written(x: torch.Tensor) -> torch.Tensor:
    y = x.T
    y *= 3
    return torch.relu(x)


def items_written(x: torch.Tensor) -> torch.Tensor:
    x[1:] = x[:2] * 2
    x[0] += 1
    return torch.relu(x)


def own_tensor_written(x: torch.Tensor) -> torch.Tensor:
    y = x + 1
    y.t_().mul_(3)
    y /= 2
    y -= 1
    return torch.relu(y)


def mask_written(x: torch.Tensor) -> torch.Tensor:
    mask = x > 0
    mask &= x < 3
    mask |= x > 5
    return torch.where(mask, x, -x)


def size_counted(x: torch.Tensor) -> torch.Tensor:
    n = x.shape[0]
    n *= 2
    n -= 1
    return torch.relu(x) * n


def part_written(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, dim=1)
    first += second
    return torch.relu(x)


WRITTEN = (
    doubled,
    transposed_view_written,
    items_written,
    own_tensor_written,
    mask_written,
    size_counted,
    part_written,
)


@torch.no_grad()
@pytest.mark.parametrize("ir", ["dynamo", "fx"])
@pytest.mark.parametrize("function", WRITTEN)
def test_writes_through_operators_and_views(function: Callable[[torch.Tensor], Any], ir: str) -> None:
    model = Function(function)
    check(tp.compile(model, [matrix()], ir=ir, **OPTIONS), model, lambda: [matrix()])
