"""What a model raises itself is told apart from what torch.export cannot do."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

X = torch.randn(2, 4)


class Missing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("the weights\nwere not loaded")


class Asserts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 9, f"9 features, not {x.shape[1]}"
        return x


class Nothing(nn.Module):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x + mask


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Linear(4, 4))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layers(x)


class Numpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2) + x


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Missing(), "AttributeError at .*test_rejections.py:15 when it is called .*has no attribute 'scale'"),
        (Raises(), r"ValueError at .*test_rejections.py:20 .*: the weights$"),
        (Asserts(), "AssertionError at .*:25 .*: 9 features, not 4"),
        (Nothing(), "TypeError at .*:31 .*: unsupported operand"),
        (Blocks(), "RuntimeError at .*:42 .*: mat1 and mat2 shapes cannot be multiplied"),
    ],
)
@pytest.mark.parametrize("inputs", [[X], ["1..2..4x4"]], ids=["fixed", "ranges"])
def test_the_model_itself_raises(model: nn.Module, words: str, inputs: list[object]) -> None:
    with pytest.raises(tp.UserError, match=f"^the model itself raises {words}"):
        tp.trace(model, inputs)
    assert all(float(buffer) == 0 for buffer in model.buffers())


def test_what_only_torch_export_cannot_do_is_said_of_it() -> None:
    Numpy()(X)
    with pytest.raises(tp.UserError, match=r"^torch\.export rejects the model at .*test_rejections.py:47: .*numpy"):
        tp.trace(Numpy(), [X])


class KeepsWhatItSaw(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, torch.dtype]:
        self.seen = x.sum()
        return x, x.dtype


def test_what_is_left_of_a_trace_is_no_failure_of_the_model() -> None:
    with pytest.raises(tp.UserError, match=r"it returns a torch\.dtype"):
        tp.compile(KeepsWhatItSaw(), [X])


class Quantises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, 0.1, 3, 0, 255)


def test_an_operator_that_pytorch_traces_for_fixed_sizes_only_is_named_with_what_to_do() -> None:
    rows = tp.Input(min_shape=(2, 4), opt_shape=(3, 4), max_shape=(5, 4))
    with pytest.raises(tp.UserError, match=r"test_rejections\.py:\d+: .*fake_quantize.*: declare fixed sizes"):
        tp.compile(Quantises(), [rows])
