"""Products in few bits for which PyTorch has a faster kernel stay beside the engines, where all is one CUDA graph."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.operators import DEQUANTIZE, QUANTIZE
from trt_passes.compiler.ir.packed_numbers import pack_four_bits, unpack_four_bits
from trt_passes.compiler.ir.quantized_products import pack_int4, packed_product, scaled_product

from .judged import products
from .test_stored_weights import HALF, stored

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
FLOAT8 = torch.float8_e4m3fn
WIDE = 1024


class Float8(nn.Module):
    """A norm and linear layers of its results in float8, side by side, and one of their sum: [..., 1024] -> the same.

    Args:
        columns: whether a weight has a scale for each of its columns.
        rows: whether each row of an input has a scale, which is computed.
    """

    def __init__(self, columns: bool, rows: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.rows = nn.LayerNorm(WIDE).half(), rows
        self.bias = nn.Parameter(torch.randn(WIDE).half(), requires_grad=False)
        for name in "abc":
            weight = torch.randn(WIDE, WIDE) / WIDE**0.5
            scale = (weight.abs().amax(1, keepdim=True) if columns else weight.abs().amax().reshape(1, 1)) / 448
            self.register_buffer(f"{name}_data", QUANTIZE(weight, scale, None, -448, 448, FLOAT8))
            self.register_buffer(f"{name}_scale", scale)
        self.register_buffer("step", torch.tensor(0.01))

    def layer(self, name: str, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        step = x.float().abs().amax(-1, keepdim=True) / 448 if self.rows else self.step
        x = DEQUANTIZE(QUANTIZE(x, step, None, -448, 448, FLOAT8), step, None, HALF)
        data, scale = getattr(self, f"{name}_data"), getattr(self, f"{name}_scale")
        return nn.functional.linear(x, DEQUANTIZE(data, scale, None, HALF), bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + self.layer("c", torch.relu(self.layer("a", y, self.bias)) + self.layer("b", y))


def compiled_for(model: nn.Module, x: torch.Tensor, **options: object) -> tp.CompiledModule:
    options = {"min_block_size": 1, "executor": "reference", "cuda_graphs": True, **options}
    return tp.compile(model, [x], **options)


def left_to_pytorch(compiled: tp.CompiledModule) -> list[str]:
    return [row.op for row in compiled.report.ledger if any(reason.code == "TP309" for reason in row.reasons)]


MIXED = [pytest.param(*each, marks=pytest.mark.long) for each in ((False, True), (True, False))]


@pytest.mark.parametrize(("columns", "rows"), [(False, False), (True, True), *MIXED])
def test_products_of_float8(columns: bool, rows: bool, tmp_path) -> None:
    model, x = Float8(columns, rows), torch.randn(2, 1536, WIDE).half()
    compiled = compiled_for(model, x)
    # Those of one input are one product.
    assert left_to_pytorch(compiled) == ["trt_passes.scaled_product"] * 2
    assert any("us in PyTorch" in reason.message for row in compiled.report.ledger for reason in row.reasons)
    assert "3 of 3 products in fp8" in products(compiled)
    assert len(compiled.report.segments) == 3
    right = model(x).detach().float()
    assert float((compiled(x).float() - right).norm() / right.norm()) < 6e-3
    tp.save(compiled, tmp_path / "few.pt2")
    loaded = tp.load(tmp_path / "few.pt2")(x).float()
    assert float((loaded - right).norm() / right.norm()) < 6e-3
    assert (tmp_path / "few.pt2").stat().st_size < 1.3 * 3 * WIDE * WIDE


@pytest.mark.parametrize("options", [{"cuda_graphs": False}, {"quantised_products": "engines"}])
def test_they_stay_in_engines_else(options: dict[str, object]) -> None:
    model, x = Float8(False, False), torch.randn(3072, WIDE).half()
    compiled = compiled_for(model, x, **options)
    assert left_to_pytorch(compiled) == []
    assert compiled.report.coverage == 1


def test_default_engines_quantise_for_them() -> None:
    model, x = Float8(False, False), torch.randn(3072, WIDE).half()
    compiled = tp.compile(model, [x], executor="reference", cuda_graphs=True)
    quantising = [row for row in compiled.report.ledger if row.op == "trt_passes.quantize"]
    assert [row.verdict for row in quantising] == ["trt", "trt"]


class FourBits(nn.Module):
    """A linear layer of bfloat16 with a weight in four bits, scaled in groups of 128: [..., 4096] -> [..., 4096]."""

    def __init__(self) -> None:
        super().__init__()
        data, _ = stored("int4", 4096, 4096)
        self.register_buffer("data", data)
        self.register_buffer("scale", torch.rand(4096, 4096 // 128) / 100)
        self.bias = nn.Parameter(torch.randn(4096, dtype=torch.bfloat16), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(nn.functional.linear(x, DEQUANTIZE(self.data, self.scale, None, x.dtype), self.bias))


def test_one_row_and_four_bits() -> None:
    model, x = FourBits(), torch.randn(1, 4096).bfloat16()
    compiled = compiled_for(model, x)
    assert left_to_pytorch(compiled) == ["trt_passes.pack_int4", "trt_passes.packed_product"]
    right = model(x).detach().float()
    assert float((compiled(x).float() - right).norm() / right.norm()) < 1e-2
    (weight,) = vars(compiled._trt_passes_weights).values()
    assert weight() is weight()  # packed once
    assert left_to_pytorch(compiled_for(model, torch.randn(64, 4096).bfloat16())) == []


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])])
def test_the_kernels(device: str) -> None:
    torch.manual_seed(0)
    x, weight = (torch.randn(rows, 256, device=device).to(FLOAT8) for rows in (32, 64))
    steps, bias = torch.tensor([0.5, 0.25], device=device), torch.randn(64, device=device).half()
    found = scaled_product(x, weight, steps[0], steps[1], bias, HALF).float()
    right = (x.float() @ weight.float().t()) * 0.125 + bias.float()
    assert float((found - right).norm() / right.norm()) < 2e-3
    data = torch.randint(-8, 8, (64, 256), dtype=torch.int8, device=device)
    scales = torch.rand(2, 64, 2, device=device).bfloat16()
    y = torch.randn(3, 256, device=device).bfloat16()
    wide = data.float().reshape(64, 2, 128) * scales[..., 0].t()[..., None] + scales[..., 1].t()[..., None]
    right = y.float() @ wide.reshape(64, 256).t()
    half = pack_four_bits(data)
    assert torch.equal(unpack_four_bits(half), data)
    packed = pack_int4(half)
    assert packed.shape == torch.ops.trt_passes.pack_int4(half.to("meta")).shape
    found = packed_product(y, packed, scales).float()
    assert float((found - right).norm() / right.norm()) < 1e-2
