"""PyTorch's own quantising operators: quantized_decomposed, fake quantisation, products of int8 and float8."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.ao.quantization.fx._decomposed
import trt_passes as tp
from torch import nn

from .judged import products, whole

qd = torch.ops.quantized_decomposed
aten = torch.ops.aten
I8, U8 = torch.int8, torch.uint8


class Function(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor], **tensors: torch.Tensor) -> None:
        super().__init__()
        self.function = function
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(self, *inputs)


def per_tensor(scale: float, zero: int, low: int, high: int, dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        q = qd.quantize_per_tensor(x, scale, zero, low, high, dtype)
        return qd.dequantize_per_tensor(q, scale, zero, low, high, dtype)

    return function


CASES = {
    "int8": per_tensor(0.03, 0, -128, 127, I8),
    "int8, narrow": per_tensor(0.03, 0, -127, 127, I8),
    "int8, with a zero point": per_tensor(0.03, 5, -128, 127, I8),
    "uint8 around 128": per_tensor(0.03, 128, 0, 255, U8),
    "uint8 around 0": per_tensor(0.03, 0, 0, 255, U8),
    "uint8 around 77": per_tensor(0.03, 77, 0, 255, U8),
    "uint8 of 7 bits": per_tensor(0.03, 0, 0, 127, U8),
    "int32": per_tensor(0.001, 3, -(2**15), 2**15, torch.int32),
}


@pytest.mark.parametrize("name", CASES)
def test_per_tensor(name: str) -> None:
    x = torch.linspace(-6, 6, 997)
    whole(Function(CASES[name]), [x], (x,), within=1e-6)


def test_zero_points_of_128_become_int8() -> None:
    x = torch.linspace(-6, 6, 97)
    compiled = whole(Function(CASES["uint8 around 128"]), [x], (x,), within=1e-6)
    assert "QUANTIZE(to_type=INT8)" in compiled.report.program.segments[0].network.text()


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_per_channel(axis: int) -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        q = qd.quantize_per_channel(x, self.s, self.z, axis, -128, 127, I8)
        return qd.dequantize_per_channel(q, self.s, self.z, axis, -128, 127, I8)

    x = torch.randn(6, 6, 6)
    for zeros in (torch.zeros(6, dtype=torch.int64), torch.arange(6)):
        whole(Function(function, s=torch.rand(6) / 20 + 0.01, z=zeros), [x], (x,), within=1e-6)


@pytest.mark.parametrize("rows", [1, 7, 16])
@pytest.mark.parametrize("chosen", ["per_token", "per_token_asymmetric", "symmetric", "whole"])
def test_computed_scales(chosen: str, rows: int) -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if chosen.startswith("per_token"):
            s, z = getattr(qd, f"choose_qparams_{chosen}")(x, I8)
            q = qd.quantize_per_token(x, s, z, -128, 127, I8)
            return qd.dequantize_per_token(q, s, z, -128, 127, I8, torch.float32)
        choose = qd.choose_qparams_symmetric.tensor if chosen == "symmetric" else qd.choose_qparams.tensor
        s, z = choose(x, -128, 127, 1e-6, I8)
        q = qd.quantize_per_tensor.tensor(x, s, z, -128, 127, I8)
        return qd.dequantize_per_tensor.tensor(q, s, z, -128, 127, I8)

    declared = [tp.Input(min_shape=(1, 32), opt_shape=(8, 32), max_shape=(16, 32))]
    # The largest number lies right between two steps of a symmetric scale, and may become either.
    within = 1e-2 if chosen == "symmetric" else 1e-6
    whole(Function(function), declared, (torch.randn(rows, 32),), within=within)


def test_groups_of_a_weight() -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        weight = qd.dequantize_per_channel_group(self.q, self.s, self.z, -8, 7, I8, 32, torch.float32)
        return nn.functional.linear(x, weight)

    q, x = torch.randint(-8, 8, (64, 128), dtype=I8), torch.randn(3, 128)
    tensors = {"q": q, "s": torch.rand(64, 4) + 0.1, "z": torch.zeros(64, 4, dtype=torch.int64)}
    assert "1 of 1 products with int8 weights" in products(whole(Function(function, **tensors), [x], (x,)))


FAKE = {
    "per tensor": lambda self, x: torch.fake_quantize_per_tensor_affine(x, 0.03, 0, -128, 127),
    "per tensor, narrow": lambda self, x: torch.fake_quantize_per_tensor_affine(x, 0.03, 0, -127, 127),
    "per tensor, zero point": lambda self, x: torch.fake_quantize_per_tensor_affine(x, 0.03, 9, 0, 255),
    "per tensor, tensors": lambda self, x: torch.fake_quantize_per_tensor_affine(x, self.one, self.none, -128, 127),
    "four bits": lambda self, x: torch.fake_quantize_per_tensor_affine(x, 0.3, 0, -8, 7),
    "per channel": lambda self, x: torch.fake_quantize_per_channel_affine(x, self.s, self.z, 1, -128, 127),
    "per channel, zero points": lambda self, x: torch.fake_quantize_per_channel_affine(
        x, self.s, self.z + 3, 1, 0, 255
    ),
    "learnable": lambda self, x: torch._fake_quantize_learnable_per_tensor_affine(
        x, self.one, self.real, -128, 127, 1.0
    ),
    "learnable per channel": lambda self, x: torch._fake_quantize_learnable_per_channel_affine(
        x, self.s, self.reals, 1, -128, 127, 1.0
    ),
    "with mask": lambda self, x: sum(aten.fake_quantize_per_tensor_affine_cachemask(x, 0.03, 0, -128, 127)),
    "per channel with mask": lambda self, x: sum(
        aten.fake_quantize_per_channel_affine_cachemask(x, self.s, self.z, 1, -128, 127)
    ),
    "switched on": lambda self, x: aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams(
        x, self.one, self.none, self.on, -128, 127
    )[0],
    "switched off": lambda self, x: aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams(
        x, self.one, self.none, self.on - 1, -128, 127
    )[0],
}


@pytest.mark.parametrize("name", FAKE)
def test_fake_quantisation(name: str) -> None:
    tensors = {
        "one": torch.tensor([0.04]),
        "none": torch.tensor([0], dtype=torch.int32),
        "real": torch.tensor([-1.4]),
        "s": torch.rand(8) / 20 + 0.01,
        "z": torch.zeros(8, dtype=torch.int32),
        "z3": torch.full((8,), 3, dtype=torch.int32),
        "reals": torch.linspace(-3, 3, 8),
        "on": torch.tensor([1]),
    }
    x = torch.randn(5, 8) * 3
    whole(Function(FAKE[name], **tensors), [x], (x,), within=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_fake_quantisation_of_halves(dtype: torch.dtype) -> None:
    x = (torch.randn(5, 8) * 3).to(dtype)
    whole(
        Function(lambda self, x: torch.fake_quantize_per_tensor_affine(x, 0.03, 0, -128, 127)), [x], (x,), within=5e-3
    )


def test_a_model_that_was_trained_with_fake_quantisation() -> None:
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)).train()
    x = torch.randn(9, 64)
    model = prepare_qat_fx(model, get_default_qat_qconfig_mapping("x86"), (x,))
    for _ in range(3):
        model(torch.randn(9, 64))
    model.eval().apply(torch.ao.quantization.disable_observer)
    whole(model, [x], (x,))


def test_a_product_of_int8() -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return torch._int_mm(x, self.q.t()).float() * 0.01

    x = torch.randint(-128, 128, (32, 64), dtype=I8)
    model = Function(function, q=torch.randint(-128, 128, (48, 64), dtype=I8))
    compiled = whole(model, [x], (x,), within=1e-6)
    assert compiled.report.program.segments[0].network.inputs[0].dtype == I8


@pytest.mark.parametrize("rowwise", [False, True])
def test_a_product_of_float8(rowwise: bool) -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        step = x.abs().amax(-1, keepdim=True) / 448 if rowwise else x.abs().amax() / 448
        data = (x / step).clamp(-448, 448).to(torch.float8_e4m3fn)
        return torch._scaled_mm(data, self.q.t(), step.float(), self.s, out_dtype=torch.float32)

    q = (torch.randn(48, 64)).to(torch.float8_e4m3fn)
    model = Function(function, q=q, s=torch.rand(1, 48) if rowwise else torch.tensor(0.1))
    x = torch.randn(32, 64)

    def expected(x: torch.Tensor) -> torch.Tensor:
        step = x.abs().amax(-1, keepdim=True) / 448 if rowwise else x.abs().amax() / 448
        data = (x / step).clamp(-448, 448).to(torch.float8_e4m3fn).float()
        return (data * step) @ (q.t().float() * model.s)

    whole(model, [x], (x,), expected, within=1e-5)


def test_inputs_and_results_in_int8() -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = qd.dequantize_per_tensor(x, 0.1, 0, -128, 127, I8)
        return qd.quantize_per_tensor(torch.relu(y), 0.2, 0, -128, 127, I8)

    x = torch.randint(-128, 128, (4, 9), dtype=I8)
    compiled = whole(Function(function), [x], (x,), within=0)
    assert compiled(x).dtype == I8


def test_a_product_of_unsigned_numbers_is_one_of_int8() -> None:
    """Whatever the zero point is: it is moved to 0, and the product corrected."""
    torch.manual_seed(0)
    weight = torch.randn(48, 64)
    steps = weight.abs().amax(1) / 127
    q = qd.quantize_per_channel(weight, steps, torch.zeros(48, dtype=torch.int64), 0, -127, 127, I8)

    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = per_tensor(0.02, self.zero, 0, 255, U8)(self, x)
        return nn.functional.linear(x, qd.dequantize_per_channel(self.q, self.s, self.z, 0, -127, 127, I8), self.bias)

    x = torch.randn(9, 64)
    tensors = {"q": q, "s": steps, "z": torch.zeros(48, dtype=torch.int64), "bias": torch.randn(48)}
    for zero in (0, 31, 128, 200):
        model = Function(function, **tensors)
        model.zero = zero
        assert "1 of 1 products in int8" in products(whole(model, [x], (x,), within=1e-4)), zero


def test_why_a_product_is_not_in_int8_is_said() -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = per_tensor(0.02, 31, -128, 127, I8)(self, x)
        return nn.functional.linear(x, self.w)

    x = torch.randn(9, 64)
    text = products(whole(Function(function, w=torch.randn(48, 64)), [x], (x,)))
    assert "its zero point is 31 (-128 to 127), and TensorRT quantises around 0: linear" in text


def test_convolutions_of_int8_are_computed_in_floats_and_that_is_said() -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = per_tensor(0.02, 0, -128, 127, I8)(self, x)
        weight = qd.dequantize_per_channel(self.q, self.s, self.z, 0, -127, 127, I8)
        return torch.relu(nn.functional.conv2d(x, weight, padding=1))

    tensors = {"q": torch.randint(-127, 128, (16, 16, 3, 3), dtype=I8), "s": torch.rand(16), "z": torch.zeros(16)}
    tensors["z"] = tensors["z"].long()
    x = torch.randn(2, 16, 8, 8)
    assert "TensorRT-RTX has no int8 convolutions" in products(whole(Function(function, **tensors), [x], (x,)))


def test_one_scale_moves_behind_what_only_moves() -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = per_tensor(0.02, 0, -128, 127, I8)(self, x)
        x = x.transpose(1, 2).reshape(-1, 64)
        return nn.functional.linear(x, qd.dequantize_per_tensor(self.q, 0.01, 0, -128, 127, I8))

    x = torch.randn(2, 64, 3)
    model = Function(function, q=torch.randint(-127, 128, (48, 64), dtype=I8))
    compiled = whole(model, [x], (x,))
    assert "1 of 1 products in int8" in products(compiled)
    lines = compiled.report.program.segments[0].network.text().splitlines()
    (place,) = (i for i, line in enumerate(lines) if "QUANTIZE" in line and "DEQUANTIZE" not in line)
    assert any("SHUFFLE" in line for line in lines[:place])


def test_equal_scales_quantise_once() -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        parts = []
        for step, weight in ((self.one, self.q), (self.two, self.k)):
            data = qd.quantize_per_tensor.tensor(x, step, self.none, -128, 127, I8)
            y = qd.dequantize_per_tensor.tensor(data, step, self.none, -128, 127, I8)
            parts.append(nn.functional.linear(y, qd.dequantize_per_tensor(weight, 0.01, 0, -128, 127, I8)))
        return torch.cat(parts, 1)

    tensors = {name: torch.randint(-127, 128, (48, 64), dtype=I8) for name in ("q", "k")}
    tensors |= {name: torch.tensor(0.02) for name in ("one", "two")}
    x = torch.randn(9, 64)
    compiled = whole(Function(function, none=torch.tensor(0), **tensors), [x], (x,))
    assert sum(row.op == "trt_passes.quantize" for row in compiled.report.ledger) == 1
    assert "2 of 2 products in int8" in products(compiled)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("chosen", ["known", "per token"])
def test_few_rows_of_int8_are_padded(chosen: str, rows: int) -> None:
    def function(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if chosen == "known":
            x = per_tensor(0.02, 0, -128, 127, I8)(self, x)
        else:
            s, z = qd.choose_qparams_per_token(x, I8)
            q = qd.quantize_per_token(x, s, z, -128, 127, I8)
            x = qd.dequantize_per_token(q, s, z, -128, 127, I8, torch.float32)
        return nn.functional.linear(x, qd.dequantize_per_tensor(self.q, 0.01, 0, -128, 127, I8), self.bias)

    model = Function(function, q=torch.randint(-127, 128, (48, 64), dtype=I8), bias=torch.randn(48))
    x = torch.randn(rows, 64)
    compiled = whole(model, [x], (x,))
    assert "1 of 1 products in int8" in products(compiled)
    assert [row.op for row in compiled.report.ledger if "pad" in row.op]
