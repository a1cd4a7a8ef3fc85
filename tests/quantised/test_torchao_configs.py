"""Every configuration of torchao's `quantize_`: what becomes of a layer, or why it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.annotations import annotations_of

torchao = pytest.importorskip("torchao.quantization", reason="torchao is in the extra 'quantisation'")
SYMMETRIC, ASYMMETRIC = torchao.MappingType.SYMMETRIC, torchao.MappingType.ASYMMETRIC
GROUPS, ROWS, WHOLE = torchao.PerGroup(32), torchao.PerRow(), torchao.PerTensor()


def whole_numbers(bits: int, granularity: Any = GROUPS, mapping: Any = SYMMETRIC) -> Any:
    dtype = getattr(torch, f"int{bits}")
    return torchao.IntxWeightOnlyConfig(weight_dtype=dtype, granularity=granularity, mapping_type=mapping)


def dynamic_inputs(bits: int, granularity: Any = GROUPS) -> Any:
    dtype = getattr(torch, f"int{bits}")
    return torchao.Int8DynamicActivationIntxWeightConfig(weight_dtype=dtype, weight_granularity=granularity)


def static_inputs() -> Any:
    return torchao.Int8StaticActivationInt8WeightConfig(act_quant_scale=torch.full((1, 1), 0.02), granularity=WHOLE)


def int8_inputs(granularity: Any, mapping: Any = SYMMETRIC) -> Any:
    return torchao.Int8DynamicActivationInt8WeightConfig(granularity=granularity, act_mapping_type=mapping)


READ: dict[str, tuple[Callable[[], Any], str, str]] = {
    "int8 weights, rows": (lambda: torchao.Int8WeightOnlyConfig(granularity=ROWS), "int8 weights", ""),
    "int8 weights, tensor": (lambda: torchao.Int8WeightOnlyConfig(granularity=WHOLE), "int8 weights", ""),
    "int8 weights, groups": (lambda: torchao.Int8WeightOnlyConfig(granularity=GROUPS), "int8 weights", ""),
    "int8, rows": (lambda: int8_inputs(ROWS), "int8", ""),
    "int8, tensor": (lambda: int8_inputs(WHOLE), "int8", ""),
    "int8, asymmetric": (lambda: int8_inputs(ROWS, ASYMMETRIC), "int8 weights", "zero point is computed at run time"),
    "int8, static": (static_inputs, "int8", ""),
    "float8 weights, rows": (lambda: torchao.Float8WeightOnlyConfig(granularity=ROWS), "fp8 weights", ""),
    "float8 weights, tensor": (lambda: torchao.Float8WeightOnlyConfig(granularity=WHOLE), "fp8 weights", ""),
    "float8 weights, groups": (lambda: torchao.Float8WeightOnlyConfig(granularity=GROUPS), "fp8 weights", ""),
    "e5m2 weights": (
        lambda: torchao.Float8WeightOnlyConfig(weight_dtype=torch.float8_e5m2),
        "",
        "its weight is stored in f8e5m2, from which TensorRT does not dequantise",
    ),
    **{f"{bits} bits": (lambda bits=bits: whole_numbers(bits), "int4 weights", "") for bits in (1, 2, 3, 4)},
    **{f"{bits} bits": (lambda bits=bits: whole_numbers(bits), "int8 weights", "") for bits in (5, 6, 7, 8)},
    "4 bits, rows": (lambda: whole_numbers(4, torchao.PerAxis(0)), "int4 weights", ""),
    "4 bits, asymmetric": (lambda: whole_numbers(4, mapping=ASYMMETRIC), "int8 weights", ""),
    "8 bits, asymmetric": (
        lambda: whole_numbers(8, mapping=ASYMMETRIC),
        "",
        "around its zero points, which eight bits do not hold",
    ),
    "4 bits, int8 inputs": (lambda: dynamic_inputs(4), "int4 weights", "zero point is computed at run time"),
    "8 bits, int8 inputs": (
        lambda: dynamic_inputs(8, torchao.PerAxis(0)),
        "int8 weights",
        "zero point is computed at run time",
    ),
}
"""How to make the configuration, the precision of its product, and what the report says of it."""

ELSEWHERE = {
    "Float8DynamicActivationFloat8WeightConfig": "needs a GPU of compute capability 8.9 to quantise",
    "Float8StaticActivationFloat8WeightConfig": "likewise",
    "Float8DynamicActivationInt4WeightConfig": "needs mslk to quantise",
    "Int4WeightOnlyConfig": "needs mslk or a GPU to quantise",
    "AOPerModuleConfig": "chooses others by module",
    "FqnToConfig": "chooses others by name",
    "ModuleFqnToConfig": "chooses others by name",
    "Float8MMConfig": "is no configuration of a layer",
}
"""Configurations that quantise nothing on a CPU, with the reason."""


@dataclass
class Made:
    """All of them in one model, compiled."""

    model: nn.Module
    compiled: Any
    x: torch.Tensor
    folder: Path

    def row(self, name: str) -> str:
        """The precision of a configuration's product."""
        program, index = self.compiled.report.program, list(READ).index(name)
        nodes = [program.nodes_by_name[row.node] for row in program.ledger if row.module == f"layers.{index}"]
        facts = [annotations_of(node) for node in nodes]
        return next((str(item["precision"]) for item in facts if item.get("precision")), "")


class Layers(nn.Module):
    """Linear layers side by side: x [n, 64] -> [layers, n, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in READ)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([layer(x) for layer in self.layers])


def quantised() -> nn.Module:
    torch.manual_seed(0)
    model = Layers().eval().bfloat16()
    for layer, (make, _, _) in zip(model.layers, READ.values(), strict=True):
        torchao.quantize_(nn.ModuleList([layer]), make())
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    model, x = quantised(), torch.randn(8, 64).bfloat16()
    compiled = tp.compile(model, [x], min_block_size=1, executor="reference", strict=True)
    return Made(model, compiled, x, tmp_path_factory.mktemp("saved"))


def test_all_are_one_engine(made: Made) -> None:
    assert made.compiled.report.coverage == 1
    assert len(made.compiled.report.segments) == 1


@pytest.mark.parametrize("name", READ)
def test_a_configuration_is_read(name: str, made: Made) -> None:
    _, precision, text = READ[name]
    index = list(READ).index(name)
    right, found = made.model(made.x)[index], made.compiled(made.x)[index]
    assert float((found - right).float().norm() / right.float().norm()) < 2e-2
    assert made.row(name) == precision
    assert text in " ".join(made.compiled.report.notes)


def test_a_saved_file_has_them(made: Made) -> None:
    tp.save(made.compiled, made.folder / "all.pt2")
    torch.testing.assert_close(tp.load(made.folder / "all.pt2")(made.x), made.model(made.x), rtol=3e-2, atol=3e-2)


@pytest.mark.long
def test_torch_compile_has_them(made: Made) -> None:
    compiled = tp.compile(made.model, [made.x], ir="torch_compile", min_block_size=1, executor="reference")
    with torch.no_grad():
        torch.testing.assert_close(compiled(made.x), made.model(made.x), rtol=3e-2, atol=3e-2)
    (graph,) = compiled.graphs
    assert graph.report.coverage == 1


def test_no_configuration_is_forgotten() -> None:
    known = {type(make()).__name__ for make, _, _ in READ.values()} | set(ELSEWHERE)
    assert {name for name in dir(torchao) if name.endswith("Config")} <= known


def unreadable() -> dict[str, tuple[torch.Tensor, str]]:
    """Weights that were quantised elsewhere, and what is said of them here."""
    bf16, sizes = torch.bfloat16, ([1, 128], torch.Size([128, 256]))
    scale, bytes_, words = torch.rand(2, 128, dtype=bf16), torch.zeros(128, 128).char(), torch.zeros(128, 32).int()
    tiles = torch.zeros(16, 2, 32, 4, dtype=torch.int32)
    return {
        "Int4Tensor": (torchao.Int4Tensor(bytes_, scale, torch.zeros_like(scale), *sizes), "mslk is not installed"),
        "Int4PlainInt32Tensor": (
            torchao.Int4PlainInt32Tensor(words, scale, torch.zeros(2, 128).char(), *sizes),
            "which only kernels for xpu and npu can read, and it is on cpu",
        ),
        "Int4TilePackedTo4dTensor": (
            torchao.Int4TilePackedTo4dTensor(tiles, torch.rand(2, 128, 2, dtype=bf16), *sizes),
            "which only kernels for cuda can read, and it is on cpu",
        ),
    }


@pytest.mark.parametrize("way", ["dynamo", "torch_compile"])
@pytest.mark.parametrize("name", ["Int4Tensor", "Int4PlainInt32Tensor", "Int4TilePackedTo4dTensor"])
def test_a_weight_that_needs_another_library_is_refused_by_name(name: str, way: str) -> None:
    weight, text = unreadable()[name]
    model = nn.Sequential(nn.Linear(256, 128, bias=False)).eval()
    model[0].weight = nn.Parameter(weight, requires_grad=False)
    with pytest.raises(tp.UserError, match=f"0.weight is torchao's {name}.*{text}.*IntxWeightOnlyConfig"):
        tp.compile(model, [torch.randn(8, 256).bfloat16()], ir=way, min_block_size=1)
