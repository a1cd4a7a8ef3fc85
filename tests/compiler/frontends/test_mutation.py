"""Models that write to their buffers: the same results, and the same buffers, as eager PyTorch over several calls."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1, "pass_through_build_failures": True}


class Statistics(nn.Module):
    """Batch norm that learns its statistics, between layers: x f32[4,6] -> f32[4,6]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Cache(nn.Module):
    """Keys are put at positions, by `index_copy_` and by slices, and all are read: x f32[4,6] -> f32[4,8]."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(6, 6)
        self.register_buffer("keys", torch.zeros(8, 6))
        self.register_buffer("recent", torch.zeros(8, 6), persistent=False)
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keys = self.project(x)
        self.keys.index_copy_(0, (self.position + torch.arange(4)) % 8, keys)
        self.recent[4:] = self.recent[:4].clone()
        self.recent[:4] = keys
        self.position += 4
        return torch.relu(x @ self.keys.T) + torch.relu(x @ self.recent.T)


class ReadsBeforeAndAfter(nn.Module):
    """A buffer is read, written and read again, also through a view: x f32[4,6] -> f32[4,6]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(4, 6))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        before = torch.tanh(self.state) * 2
        self.state.view(-1).mul_(0.5).add_(1)
        self.state[:, 0].copy_(x[:, 0])
        return before + x, torch.tanh(self.state) * x


class Attribute(nn.Module):
    """A tensor that is a plain attribute, read through a view before it is written: x f32[4,6] -> f32[4,6]."""

    def __init__(self) -> None:
        super().__init__()
        self.state = torch.zeros(4, 6)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        before, view = self.state * 2, self.state[1:]
        self.state.add_(x)
        return before, view * 3, torch.relu(self.state) + 1


class Holder:
    """No module, and holds a tensor."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


class BufferHeldElsewhere(nn.Module):
    """A buffer that another object has too, as a cache does, and writes through `to`: x f32[4,6] -> f32[4,6]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("state", torch.zeros(4, 6))
        self.held = Holder(self.state)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        same = self.held.tensor.to(torch.float32)
        same.add_(1)
        self.held.tensor[1] = x[0]
        return same * 2 + x, torch.relu(self.held.tensor[:2])


MODELS: dict[str, Callable[[], nn.Module]] = {
    "statistics": lambda: Statistics().train(),
    "cache": lambda: Cache().eval(),
    "reads-before-and-after": lambda: ReadsBeforeAndAfter().eval(),
    "attribute": lambda: Attribute().eval(),
    "buffer-held-elsewhere": lambda: BufferHeldElsewhere().eval(),
}


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[request.param]()


def check_calls(run: Any, state_of: nn.Module, eager: nn.Module) -> None:
    """Call both three times; `state_of` has the buffers of what runs, under the model's names."""
    for step in range(3):
        x = torch.randn(4, 6, generator=torch.Generator().manual_seed(step))
        torch.testing.assert_close(run(x.clone()), eager(x.clone()), rtol=1e-4, atol=1e-5)
        buffers = dict(state_of.named_buffers())
        for name, expected in eager.named_buffers():
            torch.testing.assert_close(buffers[name], expected, rtol=1e-4, atol=1e-5, msg=f"{name} at step {step}")


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:graph-00 is left to PyTorch, because aten.batch_norm")
@pytest.mark.parametrize("ir", ["dynamo", "fx", "ts", "torch_compile"])
def test_buffers_are_written_to_as_in_eager_pytorch(model: nn.Module, ir: str) -> None:
    eager = copy.deepcopy(model)
    if ir == "fx" and isinstance(model, Cache | BufferHeldElsewhere):
        message = r"torch\.fx cannot trace the model .*does not support item assignment|which torch\.fx does not record"
        with pytest.raises(tp.UserError, match=message):
            tp.compile(model, [torch.zeros(4, 6)], ir=ir, **OPTIONS)
        return
    compiled = tp.compile(model, [torch.ones(4, 6)], ir=ir, **OPTIONS)
    for name, buffer in eager.named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], buffer), f"compiling writes to {name}"
    check_calls(compiled, model, eager)


class CountsAndFills(nn.Module):
    """Counts its calls in a plain attribute, and writes to what it is given: x f32[4,6] -> f32[4,6]."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = torch.zeros(())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        return torch.relu(x.mul_(2)) * self.calls


@torch.no_grad()
def test_the_call_that_compiles_leaves_no_trace() -> None:
    model, x = CountsAndFills(), torch.ones(4, 6)
    eager = copy.deepcopy(model)
    compiled = tp.compile(model, [x], ir="torch_compile", **OPTIONS)
    assert torch.equal(x, torch.ones(4, 6))
    assert compiled.graphs[0].builds == 1
    check_calls(compiled, model, eager)


@torch.no_grad()
def test_buffers_are_the_models_own(model: nn.Module) -> None:
    compiled = tp.compile(model, [torch.zeros(4, 6)], **OPTIONS)
    own = {name: tensor.data_ptr() for name, tensor in model.named_buffers()}
    assert {name: own[name] for name, _ in compiled.named_buffers() if name in own} == {
        name: tensor.data_ptr() for name, tensor in compiled.named_buffers() if name in own
    }


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:TensorRT engines run in PyTorch here", "ignore:`torch.jit")
@pytest.mark.parametrize("reader", ["tp.load", "torch.export.load", "torch.jit.load"])
def test_buffers_are_written_to_after_a_round_trip(model: nn.Module, reader: str, tmp_path: Path) -> None:
    options = {**OPTIONS, "executor": "pytorch"}
    compiled = tp.compile(model, [torch.zeros(4, 6)], **options)
    first = torch.ones(4, 6)
    compiled(first)
    eager = copy.deepcopy(model)
    if reader == "torch.jit.load":
        torch.jit.save(tp.compile(model, [torch.zeros(4, 6)], ir="ts", **options), tmp_path / "m.ts")
        loaded = torch.jit.load(tmp_path / "m.ts")
    else:
        tp.save(compiled, tmp_path / "m.pt2")
        path = tmp_path / "m.pt2"
        loaded = tp.load(path) if reader == "tp.load" else torch.export.load(path).module()
    check_calls(loaded, loaded, eager)


def appended(given: dict[str, torch.Tensor], others: list[torch.Tensor]) -> torch.Tensor:
    others.append(given["x"] * 2)
    return others[-1].sum()


def added(given: dict[str, torch.Tensor], others: list[torch.Tensor]) -> torch.Tensor:
    given["y"] = given["x"] * 2
    return given["y"].sum()


def swapped(given: dict[str, torch.Tensor], others: list[torch.Tensor]) -> torch.Tensor:
    others[0], others[1] = others[1], others[0]
    return others[0] - others[1] + given["x"]


def written(given: dict[str, torch.Tensor], others: list[torch.Tensor]) -> torch.Tensor:
    given["x"] += 1
    others[0].mul_(2)
    return others[0] + given["x"]


class OfContainers(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, given: dict[str, torch.Tensor], others: list[torch.Tensor]) -> torch.Tensor:
        return self.function(given, others)


@pytest.mark.parametrize("function", [appended, added, swapped])
def test_what_is_put_into_a_given_container_is_refused(function: Callable[..., torch.Tensor]) -> None:
    given = {"x": torch.ones(3)}, [torch.ones(3), torch.zeros(3)]
    with pytest.raises(tp.UserError, match="changes what is in a list or dict that it is given"):
        tp.compile(OfContainers(function).eval(), given, **OPTIONS)


def test_tensors_in_a_given_container_are_written_to() -> None:
    one, other = (({"x": torch.ones(3)}, [torch.ones(3), torch.zeros(3)]) for _ in range(2))
    compiled = tp.compile(OfContainers(written).eval(), one, **OPTIONS)
    torch.testing.assert_close(compiled(*one), written(*other))
    torch.testing.assert_close(one, other)
