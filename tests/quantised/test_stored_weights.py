"""Weights in eight and four bits stay so in the plan, however the model dequantises them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.operators import DEQUANTIZE, QUANTIZE
from trt_passes.compiler.ir.quantized_operators import INT4_RANGE

from .judged import plan_bytes, products, whole

HALF = torch.float16


def stored(kind: str, rows: int = 512, columns: int = 512) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight in few bits, and its scale."""
    torch.manual_seed(0)
    weight = torch.randn(rows, columns) / columns**0.5
    if kind == "int8":
        scale = weight.abs().amax(1, keepdim=True) / 127
        return QUANTIZE(weight, scale, None, -128, 127, torch.int8), scale
    if kind == "int4":
        scale = weight.view(rows, -1, 64).abs().amax(2) / 7
        return QUANTIZE(weight, scale, None, *INT4_RANGE, torch.int8), scale
    scale = weight.abs().amax().reshape(1, 1) / 448
    return QUANTIZE(weight, scale, None, -448, 448, torch.float8_e4m3fn), scale


class Layer(nn.Module):
    """relu(linear(x)) with a weight in few bits: [..., columns] -> [..., rows]."""

    def __init__(self, kind: str, dtype: torch.dtype, multiply: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        q, s = stored(kind)
        self.register_buffer("q", q)
        self.register_buffer("s", s)
        self.register_buffer("bias", torch.randn(q.shape[0]).to(dtype))
        self.multiply = multiply

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.multiply(x, self.q, self.s, self.bias))


def dequantised(x: torch.Tensor, q: torch.Tensor, s: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(x, DEQUANTIZE(q, s, None, x.dtype), bias)


def converted(x: torch.Tensor, q: torch.Tensor, s: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(x, q.to(x.dtype) * s.to(x.dtype), bias)


def turned(x: torch.Tensor, q: torch.Tensor, s: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return x @ (q.t().to(x.dtype) * s.t().to(x.dtype)) + bias


def scaled_after(x: torch.Tensor, q: torch.Tensor, s: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(x, q.to(x.dtype)) * s.flatten().to(x.dtype) + bias


def both(x: torch.Tensor, q: torch.Tensor, s: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    step = torch.full((), 0.01)
    x = DEQUANTIZE(QUANTIZE(x, step, None, -448, 448, q.dtype), step, None, x.dtype)
    return dequantised(x, q, s, bias)


FORMS = {"dequantised": dequantised, "converted": converted, "turned": turned, "scaled after": scaled_after}
RATIOS = {"int8": 0.85, "int4": 0.7}
"""Of the plan of a small model: up to 260 KB of it are kernels, which a large model has but once too."""


def cases() -> list[Any]:
    """Kinds, forms and types; a scale for each block, as int4 has it, is no factor that broadcasts."""
    found = []
    for kind in ("int8", "int4", "fp8"):
        for form in FORMS if kind != "int4" else ["dequantised"]:
            for dtype in (torch.float32, HALF, torch.bfloat16):
                usual = form == "dequantised" or dtype == HALF
                found.append(pytest.param(kind, form, dtype, marks=[] if usual else [pytest.mark.long]))
    return found


@pytest.mark.parametrize(("kind", "form", "dtype"), cases())
def test_the_weight_stays_in_few_bits(kind: str, form: str, dtype: torch.dtype) -> None:
    model, x = Layer(kind, dtype, FORMS[form]), torch.randn(2, 7, 512).to(dtype)
    compiled = whole(model, [x], (x,), within={torch.float32: 1e-5, HALF: 2e-3}.get(dtype, 1e-2))
    # There are no kernels for float32 times four bits.
    held = "int8" if kind == "int4" and dtype == torch.float32 else kind
    assert f"1 of 1 products with {held} weights" in products(compiled)
    if kind == held and kind in RATIOS and form == "dequantised" and dtype != torch.bfloat16:
        q, s = stored(kind)
        linear = nn.Linear(512, 512).to(dtype)
        linear.weight.data = DEQUANTIZE(q, s, None, dtype)
        floats = whole(nn.Sequential(linear, nn.ReLU()).eval(), [x], (x,), within=2e-2)
        assert plan_bytes(compiled) <= RATIOS[kind] * plan_bytes(floats)


@pytest.mark.parametrize(("kind", "plan", "file"), [("int8", 0.6, 0.6), ("int4", 0.35, 0.35), ("fp8", 0.6, 0.6)])
@pytest.mark.parametrize("wanted", ["small", "fast"])
def test_the_plan_and_the_file_of_a_large_weight_are_that_much_smaller(
    kind: str, plan: float, file: float, wanted: str, tmp_path
) -> None:
    """The file has the weight once, whether an engine has it or not."""
    q, s = stored(kind, 4096, 1024)
    model = nn.Module()
    model.register_buffer("q", q)
    model.register_buffer("s", s.half().float())
    model.forward = lambda x: nn.functional.linear(x, DEQUANTIZE(model.q, model.s, None, HALF))
    x = torch.randn(8, 1024).half()
    compiled = tp.compile(model, [x], min_block_size=1, executor="reference", quantised_weights=wanted)
    assert plan_bytes(compiled) <= plan * 2 * q.numel()
    tp.save(compiled, tmp_path / "few.pt2")
    assert (tmp_path / "few.pt2").stat().st_size <= file * 2 * q.numel()
    loaded = tp.load(tmp_path / "few.pt2", executor="pytorch")
    held = {tensor.data_ptr(): tensor.numel() * tensor.itemsize for tensor in tensors_of(loaded)}
    few = 0.25 if kind == "int4" else 0.5
    assert few <= sum(held.values()) / (2 * q.numel()) <= 1.1 * few
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))


def tensors_of(module: nn.Module) -> list[torch.Tensor]:
    """All tensors that a module holds, but for engines."""
    found = [value for part in module.modules() for value in vars(part).values() if isinstance(value, torch.Tensor)]
    return [*found, *module.state_dict().values()]


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_rows_that_vary(rows: int) -> None:
    model = Layer("int8", torch.float32, scaled_after)
    declared = [tp.Input(min_shape=(1, 512), opt_shape=(8, 512), max_shape=(64, 512))]
    whole(model, declared, (torch.randn(rows, 512),), within=1e-5)


def test_enabled_precisions_keep_it_too() -> None:
    model, x = Layer("int8", torch.float32, converted), torch.randn(8, 512)
    compiled = whole(model, [x], (x,), within=2e-3, enabled_precisions={HALF})
    assert plan_bytes(compiled) <= 512 * 512 + 300_000  # the weight, and kernels
    casts = [row for row in compiled.report.ledger if row.op == "aten._to_copy"]
    assert len(casts) <= 3  # of the input, the bias and the result


def test_a_saved_model_is_the_same(tmp_path) -> None:
    for kind in ("int8", "int4", "fp8"):
        model, x = Layer(kind, torch.float32, dequantised), torch.randn(3, 512)
        compiled = tp.compile(model, [x], min_block_size=1)
        tp.save(compiled, tmp_path / f"{kind}.pt2")
        loaded = tp.load(tmp_path / f"{kind}.pt2")
        torch.testing.assert_close(loaded(x), model(x), rtol=1e-5, atol=1e-5)


def test_a_table_of_rows_is_read_in_few_bits() -> None:
    q, s = stored("int8")
    table = nn.Module()
    table.register_buffer("q", q)
    table.register_buffer("s", s)
    table.forward = lambda index: nn.functional.embedding(index, table.q.to(HALF) * table.s.to(HALF))
    index = torch.tensor([[1, 5, 5], [0, 511, 7]])
    compiled = whole(table, [index], (index,), within=1e-3)
    assert plan_bytes(compiled) <= 0.8 * 2 * q.numel()


def test_few_numbers_are_folded_into_floats() -> None:
    model = nn.Module()
    model.register_buffer("q", torch.randint(-9, 9, (4, 8), dtype=torch.int8))
    model.forward = lambda x: nn.functional.linear(x, model.q.to(torch.float32))
    x = torch.randn(2, 8)
    assert products(whole(model, [x], (x,), within=1e-6)) == ""


def test_other_weights_have_another_key(tmp_path) -> None:
    """The cache of engines knows weights that TensorRT does not give back."""
    x = torch.randn(3, 512).half()
    for kind, form in (("int4", dequantised), ("fp8", both)):
        made = []
        for change in (0, 0, 1):
            model = Layer(kind, HALF, form)
            if change:
                model.q[0, 0] = torch.tensor(-model.q[0, 0].float() - 1).to(model.q.dtype)
            options = {"cache_dir": str(tmp_path / kind), "quantised_weights": "small"}
            compiled = tp.compile(model, [x], min_block_size=1, executor="reference", **options)
            made.append(compiled.report.segments[0].cached)
        assert made == [False, True, False], kind


CAPABILITIES = {
    ("fp8", ("8.0", "8.9")): "fp8 needs compute capability 8.9; compute_capabilities has 8.0",
    ("fp8", ("7.5", "8.6")): "fp8 needs compute capability 8.9; compute_capabilities has 7.5, 8.6",
    ("fp8", ("8.9", "12.0")): None,
    ("int8", ("7.5",)): None,
    ("int4", ("8.0",)): None,
}


@pytest.mark.parametrize(("kind", "capabilities"), CAPABILITIES)
def test_what_a_gpu_lacks_is_said(kind: str, capabilities: tuple[str, ...]) -> None:
    model, x = Layer(kind, HALF, dequantised), torch.randn(3, 512).half()
    compiled = tp.compile(model, [x], min_block_size=1, executor="reference", compute_capabilities=capabilities)
    messages = [reason.message for row in compiled.report.ledger for reason in row.reasons if reason.code == "TP211"]
    text = CAPABILITIES[kind, capabilities]
    assert [text in message for message in messages] == ([] if text is None else [True])
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-2, atol=1e-2)


def test_bfloat16_needs_a_gpu_that_has_it() -> None:
    x = torch.randn(3, 8).bfloat16()
    compiled = tp.compile(nn.ReLU(), [x], min_block_size=1, compute_capabilities=["7.5"], executor="reference")
    (row,) = compiled.report.ledger
    assert row.reasons[0].message == ("aten.relu: bf16 needs compute capability 8.0; compute_capabilities has 7.5.")


def test_four_bits_become_eight_for_a_gpu_without_them() -> None:
    model, x = Layer("int4", HALF, dequantised), torch.randn(3, 512).half()
    compiled = whole(model, [x], (x,), within=2e-3, compute_capabilities=["7.5"])
    assert "1 of 1 products with int8 weights" in products(compiled)


@pytest.mark.parametrize("shape", [(1, 512), (3, 512), (1, 1, 512), (1, 7, 512)])
def test_few_rows_are_padded_to_eight(shape: tuple[int, ...]) -> None:
    model, x = Layer("int8", HALF, dequantised), torch.randn(shape).half()
    compiled = whole(model, [x], (x,), within=2e-3)
    assert any("[8,512]" in line or "[1,8,512]" in line for line in _products_of(compiled))


@pytest.mark.parametrize("shape", [(8, 512), (2, 3, 512)])
def test_others_are_not(shape: tuple[int, ...]) -> None:
    model, x = Layer("int8", HALF, dequantised), torch.randn(shape).half()
    compiled = whole(model, [x], (x,), within=2e-3)
    assert not [row for row in compiled.report.ledger if row.op == "aten.constant_pad_nd"]


def _products_of(compiled: tp.Program) -> list[str]:
    lines = compiled.report.program.segments[0].network.text().splitlines()
    return [line for line in lines if "MATRIX_MULTIPLY" in line]
