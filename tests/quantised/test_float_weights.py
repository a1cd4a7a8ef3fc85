"""Weights in few bits whose products take less time with floats are dequantised when the model is loaded."""

from __future__ import annotations

import copy

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.operators import DEQUANTIZE, QUANTIZE
from trt_passes.compiler.ir.tuning import Measured
from trt_passes.compiler.tensorrt.product_times import TIMES, faster_in_pytorch, nearest, slower

from .judged import agree, plan_bytes, products, whole
from .test_stored_weights import HALF, stored

ROWS, COLUMNS, INNER = 512, 512, 1024


class Layer(nn.Module):
    """A linear layer with a weight in few bits: [rows, INNER] -> [rows, COLUMNS]."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        data, scale = stored(kind, COLUMNS, INNER)
        self.register_buffer("data", data)
        self.register_buffer("scale", scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, DEQUANTIZE(self.data, self.scale, None, x.dtype))


def compiled_for(rows: int, kind: str = "int8", **options: object) -> tuple[Layer, tp.CompiledModule, torch.Tensor]:
    model, x = Layer(kind), torch.randn(rows, INNER).half()
    return model, tp.compile(model, [x], min_block_size=1, executor="reference", **options), x


def reasons(compiled: tp.CompiledModule) -> list[str]:
    return [reason.message for row in compiled.report.ledger for reason in row.reasons if reason.code == "TP307"]


@pytest.mark.parametrize("kind", ["int8", "int4", "fp8"])
def test_many_rows(kind: str, tmp_path) -> None:
    model, compiled, x = compiled_for(ROWS, kind)
    (reason,) = reasons(compiled)
    assert "halves" in reason
    assert any("1 weight in few bits is dequantised when the model is loaded" in note for note in compiled.report.notes)
    assert len(compiled.report.segments) == 1
    assert compiled.report.coverage == 1
    agree(compiled, model, (x,), 2e-3)
    assert plan_bytes(compiled) < 0.05 * 2 * COLUMNS * INNER
    tp.save(compiled, tmp_path / "few.pt2")
    assert (tmp_path / "few.pt2").stat().st_size < 1.3 * COLUMNS * INNER
    for other in (tp.load(tmp_path / "few.pt2"), copy.deepcopy(compiled), copy.copy(compiled)):
        agree(other, model, (x,), 2e-3)


def test_it_is_computed_once() -> None:
    model, compiled, x = compiled_for(ROWS)
    (weight,) = vars(compiled._trt_passes_weights).values()
    before = compiled(x)
    made = weight()
    assert made.shape == (COLUMNS, INNER)
    assert weight() is made
    next(buffer for buffer in compiled.buffers() if buffer.dtype == torch.float32).mul_(2)
    torch.testing.assert_close(compiled(x), 2 * before, rtol=2e-2, atol=2e-2)
    agree(compiled, model, (x,), 2e-3)  # shares its memory
    assert weight() is not made


def test_few_rows_of_large_weights_read_few_bits() -> None:
    data, x = torch.ones(14336, 1024, dtype=torch.int8), torch.randn(8, 1024).half()
    model = nn.Module()
    model.data, model.scale = data, torch.ones(14336, 1)
    model.forward = lambda x: nn.functional.linear(x, DEQUANTIZE(model.data, model.scale, None, HALF))
    assert reasons(tp.compile(model, [x], min_block_size=1, dryrun=True)) == []


def test_one_row_is_not_padded_for_floats() -> None:
    model, compiled, x = compiled_for(1)
    assert len(reasons(compiled)) == 1
    assert [row.op for row in compiled.report.ledger] == ["trt_passes.dequantize", "aten.linear"]
    agree(compiled, model, (x,), 2e-3)


def test_memory_can_matter_more() -> None:
    model, compiled, x = compiled_for(ROWS, quantised_weights="small")
    assert reasons(compiled) == []
    agree(compiled, model, (x,), 2e-3)
    assert plan_bytes(compiled) > COLUMNS * INNER


def test_a_small_weight_stays() -> None:
    model, x = nn.Module(), torch.randn(ROWS, 512).half()
    model.data, model.scale = stored("int8", 512, 512)
    model.forward = lambda x: nn.functional.linear(x, DEQUANTIZE(model.data, model.scale, None, HALF))
    whole(model, [x], (x,), within=2e-3)


def test_rows_that_vary_are_judged_by_the_usual_number() -> None:
    model = Layer("int8")
    declared = tp.Input(min_shape=(1, INNER), opt_shape=(512, INNER), max_shape=(512, INNER), dtype=HALF)
    compiled = tp.compile(model, [declared], min_block_size=1, executor="reference")
    assert len(reasons(compiled)) == 1
    for rows in (1, 300, 512):
        agree(compiled, model, (torch.randn(rows, INNER).half(),), 2e-3)


def test_under_torch_compile() -> None:
    model, x = Layer("int8"), torch.randn(ROWS, INNER).half()
    compiled = tp.compile(model, [x], ir="torch_compile", min_block_size=1, executor="reference")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("best", ["tensorrt", "pytorch"])
def test_a_tuning_decides(best: str) -> None:
    rows = 8 if best == "pytorch" else ROWS
    data, scale = f"const i8[{COLUMNS},{INNER}]", f"const f32[{COLUMNS},1]"
    product = f"aten.linear(f16[{rows},{INNER}], f16[{COLUMNS},{INNER}])"
    pattern = f"trt_passes.dequantize({data}, {scale}, None, f16) for {product}"
    times = {name: Measured(1.0 if name == best else 100.0) for name in ("tensorrt", "pytorch")}
    model, compiled, x = compiled_for(rows, tuning=tp.Tuning("NVIDIA H200", {}, {pattern: times}))
    row = next(row for row in compiled.report.ledger if "dequantize" in row.op)
    assert [reason.code for reason in row.reasons] == ([] if best == "tensorrt" else ["TP307"])
    agree(compiled, model, (x,), 2e-3)


def test_the_table_says_which_form_is_slower() -> None:
    assert all(min(item.us.values()) > 0 for item in TIMES)
    assert slower("int8 weights", 512, 14336, 4096) is not None
    assert slower("int8 weights", 1, 14336, 4096) is None
    assert slower("int8", 4096, 4096, 4096) is None
    item = nearest(500, 14000, 4000, ("f16",))
    assert item is not None
    assert (item.rows, item.columns, item.inner) == (512, 14336, 4096)


def test_eight_bits_must_gain_and_small_products_count() -> None:
    assert slower("int8", 8, 3072, 768) is not None  # 6.3 us, and halves 6
    assert slower("int8 weights", 8, 3072, 768) is None  # as much, but half the memory
    assert slower("int8", 4096, 320, 320) is not None


FLOAT8_FORMS = ("fp8 pytorch", ("fp8", "f16"))


@pytest.mark.parametrize(
    ("sizes", "faster"),
    [((3072, 768, 768), True), ((4096, 4096, 4096), True), ((512, 8192, 2048), True), ((8, 4096, 4096), True)]
    + [((1, 768, 768), False), ((64, 1024, 1024), False), ((512, 768, 768), False)],
)
def test_kernels_of_pytorch_are_not_taken_for_what_takes_halves_less_than_any_of_them(
    sizes: tuple[int, int, int], faster: bool
) -> None:
    assert (faster_in_pytorch(*sizes, *FLOAT8_FORMS) is not None) == faster


class TwoResults(nn.Module):
    """A product of two results in int8: [2, 64, 64] -> the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = torch.full((), 0.02)
        left, right = (
            DEQUANTIZE(QUANTIZE(y, step, None, -128, 127, torch.int8), step, None, x.dtype)
            for y in (torch.tanh(x), torch.sin(x))
        )
        return left @ right


def test_products_of_two_results_are_computed_in_halves() -> None:
    model, x = TwoResults(), torch.randn(2, 64, 64).half()
    compiled = tp.compile(model, [x], min_block_size=1, executor="reference")
    assert "products of two results, and of several matrices, were not measured" in products(compiled)
    assert compiled.report.coverage == 1
    agree(compiled, model, (x,), 2e-3)
    small = tp.compile(model, [x], min_block_size=1, executor="reference", quantised_weights="small")
    assert "1 of 1 products in int8" in products(small)


class EightBits(nn.Module):
    """A linear layer whose input and weight are in eight bits: [..., INNER] -> [..., COLUMNS]."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        data, scale = stored(kind, COLUMNS, INNER)
        self.register_buffer("data", data)
        self.register_buffer("scale", scale)
        self.register_buffer("step", torch.tensor(0.03 if kind == "int8" else 0.01))
        self.dtype, self.limits = data.dtype, (-128, 127) if kind == "int8" else (-448, 448)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = DEQUANTIZE(QUANTIZE(torch.tanh(x), self.step, None, *self.limits, self.dtype), self.step, None, x.dtype)
        return nn.functional.linear(x, DEQUANTIZE(self.data, self.scale, None, x.dtype))


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_products_that_are_slow_in_eight_bits_are_computed_in_halves_exactly(kind: str) -> None:
    model, x = EightBits(kind), torch.randn(3072, INNER).half()
    compiled = tp.compile(model, [x], min_block_size=1, executor="reference")
    assert "us in " + kind in products(compiled)
    assert f"1 of 1 products with {kind} weights" in products(compiled)
    assert len(compiled.report.segments) == 1
    agree(compiled, model, (x,), 2e-3)
    assert plan_bytes(compiled) < COLUMNS * INNER
    small = tp.compile(model, [x], min_block_size=1, executor="reference", quantised_weights="small")
    assert f"1 of 1 products in {kind}" in products(small)
    agree(small, model, (x,), 2e-3)


class Rows(EightBits):
    """The same with a scale for each row that is computed, multiplied before or after the product."""

    def __init__(self, kind: str, after: bool) -> None:
        super().__init__(kind)
        self.after = after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        step = x.float().abs().amax(-1, keepdim=True) / self.limits[1]
        data = QUANTIZE(x, step, None, *self.limits, self.dtype)
        if not self.after:
            weight = DEQUANTIZE(self.data, self.scale, None, x.dtype)
            return nn.functional.linear(DEQUANTIZE(data, step, None, x.dtype), weight)
        one = torch.ones(())
        product = DEQUANTIZE(data, one, None, torch.float32) @ DEQUANTIZE(self.data.t(), one, None, torch.float32)
        if self.dtype == torch.int8:
            product = product.to(torch.int32).to(torch.float32)
        return (product * step).to(x.dtype) * self.scale.flatten().to(x.dtype)


@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.long), 3072])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_rows_with_scales_of_their_own_are_multiplied_in_halves_where_eight_bits_are_slow(
    kind: str, after: bool, rows: int
) -> None:
    model, x = Rows(kind, after), torch.randn(rows, INNER).half()
    compiled = tp.compile(model, [x], min_block_size=1, executor="reference")
    slow = "us in " + kind in products(compiled)
    assert slow or rows == 1
    assert f"1 of 1 products {'with' if slow else 'in'} {kind}" in products(compiled)
    assert len(compiled.report.segments) == 1
    assert plan_bytes(compiled) < (1 if slow else 2) * COLUMNS * INNER
    agree(compiled, model, (x,), 2e-3)


@pytest.mark.parametrize("rows", [1, 3072])
@pytest.mark.parametrize("kind", ["int8", pytest.param("fp8", marks=pytest.mark.long)])
def test_sums_that_are_scaled_afterwards_are_no_halves(kind: str, rows: int) -> None:
    model, x = Rows(kind, after=True), torch.randn(rows, INNER)
    options = {"enabled_precisions": {HALF}, "min_block_size": 1, "executor": "reference"}
    compiled = tp.compile(model, [x], **options)
    agree(compiled, model, (x,), 1e-2)


@pytest.mark.parametrize("kind", ["int8", "int4", "fp8"])
def test_weights_of_one_input_are_joined(kind: str) -> None:
    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(Layer(kind) for _ in range(3))
            self.bias = nn.Parameter(torch.randn(COLUMNS).half(), requires_grad=False)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            one, two, three = (part(x) for part in self.parts)
            return one, two + self.bias, three

    model, x = Three(), torch.randn(2, 256, INNER).half()
    for index, part in enumerate(model.parts):
        part.scale.mul_(1 + index)
    compiled = tp.compile(model, [x], min_block_size=1, executor="reference")
    assert len(reasons(compiled)) == 1
    assert f"3 of 3 products with {kind} weights" in products(compiled)
    for found, right in zip(compiled(x), model(x), strict=True):
        assert float((found.float() - right.float()).norm() / right.float().norm()) < 2e-3
