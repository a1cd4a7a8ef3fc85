"""Models that torchao quantised: one engine, with weights in few bits, by every way in."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch import nn

from .judged import agree, plan_bytes, products, whole

torchao = pytest.importorskip("torchao", reason="torchao is in the extra 'quantisation'")
from torchao.quantization import (  # noqa: E402
    Float8WeightOnlyConfig,
    Int8DynamicActivationInt8WeightConfig,
    Int8DynamicActivationIntxWeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    PerAxis,
    PerGroup,
    quantize_,
)

CONFIGS = {
    "int8 weights": (Int8WeightOnlyConfig, {}, "2 of 2 products with int8 weights"),
    "int8": (Int8DynamicActivationInt8WeightConfig, {}, "2 of 2 products in int8"),
    "fp8 weights": (Float8WeightOnlyConfig, {}, "2 of 2 products with fp8 weights"),
    "int4 groups": (
        IntxWeightOnlyConfig,
        {"weight_dtype": torch.int4, "granularity": PerGroup(32)},
        "2 of 2 products with int4 weights",
    ),
    "int8 rows": (
        IntxWeightOnlyConfig,
        {"weight_dtype": torch.int8, "granularity": PerAxis(0)},
        "2 of 2 products with int8 weights",
    ),
    "int4 groups, asymmetric inputs": (
        Int8DynamicActivationIntxWeightConfig,
        {"weight_dtype": torch.int4, "weight_granularity": PerGroup(32)},
        "2 of 2 products with int4 weights",
    ),
}


def quantised(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256)).eval().to(dtype)
    config, arguments, _ = CONFIGS[name]
    quantize_(model, config(**arguments))
    return model


# test_torchao_configs.py has bfloat16.
@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=pytest.mark.long), torch.float16])
@pytest.mark.parametrize("name", CONFIGS)
def test_one_engine(name: str, dtype: torch.dtype) -> None:
    x = torch.randn(2, 5, 256).to(dtype)
    compiled = whole(quantised(name, dtype), [x], (x,), within=1e-3 if dtype == torch.float32 else 2e-2)
    text = CONFIGS[name][2]
    # There are no kernels for float32 times four bits.
    assert (text.replace("int4", "int8") if dtype == torch.float32 else text) in products(compiled)


@pytest.mark.parametrize(
    "name", ["int8", pytest.param("int8 weights", marks=pytest.mark.long), "int4 groups, asymmetric inputs"]
)
def test_rows_that_vary(name: str) -> None:
    declared = [tp.Input(min_shape=(1, 256), opt_shape=(8, 256), max_shape=(32, 256))]
    model = quantised(name)
    compiled = whole(model, declared, (torch.randn(1, 256),))
    for rows in (8, 32):
        agree(compiled, model, (torch.randn(rows, 256),), 1e-3)


@pytest.mark.parametrize("way", ["exported", "decomposed", "torch_compile", "fx", "ts"])
def test_every_way_in(way: str) -> None:
    model, x = quantised("int8 weights"), torch.randn(8, 256)
    options = {"min_block_size": 1, "executor": "reference"}
    if way in ("exported", "decomposed"):
        program = torch.export.export(model, (x,))
        compiled = tp.compile(program.run_decompositions() if way == "decomposed" else program, **options)
    else:
        compiled = tp.compile(model, [x], ir=way, **options)
    report = compiled.graphs[0].report if way == "torch_compile" else compiled.report
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    assert len(report.segments) == 1
    assert report.coverage == 1
    assert report.segments[0].engine_bytes < 4 * 2 * 256 * 512


def test_torch_compile_sees_weights_that_change() -> None:
    model, x = quantised("int8 weights"), torch.randn(8, 256)
    compiled = tp.compile(model, [x], ir="torch_compile", min_block_size=1, executor="reference")
    with torch.no_grad():
        before = compiled(x)
        model[0].weight.scale.mul_(2)
        after = compiled(x)
        torch.testing.assert_close(after, model(x), rtol=1e-4, atol=1e-5)
    assert (after - before).abs().max() > 1e-2


def test_the_file_is_small_too(tmp_path) -> None:
    x = torch.randn(8, 256)
    tp.save(tp.compile(quantised("int8 weights"), [x], min_block_size=1), tmp_path / "few.pt2")
    floats = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256)).eval()
    tp.save(tp.compile(floats, [x], min_block_size=1), tmp_path / "many.pt2")
    assert (tmp_path / "few.pt2").stat().st_size < 0.6 * (tmp_path / "many.pt2").stat().st_size
    torch.testing.assert_close(tp.load(tmp_path / "few.pt2")(x), quantised("int8 weights")(x), rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_plans_are_smaller_than_those_of_halves() -> None:
    x = torch.randn(8, 1024).half()
    ratios = {}
    for name in ("int8 weights", "int4 groups"):
        config, arguments, _ = CONFIGS[name]
        models = [nn.Sequential(nn.Linear(1024, 4096), nn.ReLU(), nn.Linear(4096, 1024)).eval().half() for _ in "ab"]
        quantize_(models[0], config(**arguments))
        few, many = (tp.compile(model, [x], min_block_size=1, executor="reference") for model in models)
        ratios[name] = plan_bytes(few) / plan_bytes(many)
    assert ratios["int8 weights"] <= 0.6
    assert ratios["int4 groups"] <= 0.35
