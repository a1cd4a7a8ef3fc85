"""Ways of computing an operator: which is taken by default, by preset and by what was measured; all agree."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.tuning import Measured, Tuning, pattern_of
from trt_passes.compiler.tensorrt.registry import default_registry

HALF = {"min_block_size": 1, "executor": "reference"}


class Call(nn.Module):
    """A function with weights."""

    def __init__(self, function: Callable[..., Any], **weights: torch.Tensor) -> None:
        super().__init__()
        self.function = function
        for name, tensor in weights.items():
            self.register_buffer(name, tensor)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(self, *inputs)


def convolution(channels: int, maps: int, window: int, groups: int = 1, **options: Any) -> Call:
    torch.manual_seed(0)
    weight, bias = torch.randn(maps, channels // groups, window, window) / window, torch.randn(maps)

    def call(self: Any, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias, groups=groups, **options)

    return Call(call, weight=weight, bias=bias)


def linear(rows: int, columns: int) -> Call:
    torch.manual_seed(0)
    return Call(lambda self, x: F.linear(x, self.weight), weight=torch.randn(rows, columns) / columns**0.5)


def resize(**options: Any) -> Call:
    return Call(lambda self, x: F.interpolate(x, **options))


def gated(self: Any, x: torch.Tensor) -> torch.Tensor:
    return F.silu(F.linear(x, self.gate)) * F.linear(x, self.up)


def attention(self: Any, *parts: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(*parts)


def causal(self: Any, *parts: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(*parts, is_causal=True)


torch.manual_seed(0)
IMAGE = torch.randn(2, 3, 32, 32)
MAPS = torch.randn(2, 8, 9, 12)
HEADS = [torch.randn(1, 2, 8, 16) for _ in range(3)]
LONG = [torch.randn(1, 1, 600, 16) for _ in range(3)]
DEFAULTS = [
    (convolution(3, 16, 4, stride=4), [IMAGE], "patches-as-product"),
    (convolution(3, 16, 7, stride=2, padding=3), [IMAGE], "blocks-of-pixels"),
    (convolution(3, 16, 3, padding=1), [IMAGE], "layer"),
    (convolution(8, 16, 1), [MAPS], "layer"),
    (convolution(2048, 8, 1), [torch.randn(1, 2048, 8, 8)], "channels-as-rows"),
    (convolution(2048, 8, 1), [torch.randn(1, 2048, 4, 4)], "layer"),
    (nn.Sequential(nn.Conv2d(2048, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3)), [torch.randn(1, 2048, 8, 8)], "layer"),
    (linear(8, 16), [torch.randn(4, 16)], "transposed-weight"),
    (linear(4100, 8), [torch.randn(4, 8)], "padded-vocabulary"),
    (Call(gated, gate=torch.randn(8, 16) / 4, up=torch.randn(8, 16) / 4), [torch.randn(1, 3, 16)], "flat-rows"),
    (resize(scale_factor=2, mode="bilinear"), [MAPS], "layer"),
    (resize(scale_factor=8, mode="bilinear"), [torch.randn(1, 64, 16, 16)], "products"),
    (resize(scale_factor=8, mode="bicubic"), [torch.randn(1, 64, 16, 16)], "products"),
    (Call(attention), HEADS, "single-layers"),
]


def compiled(model: nn.Module, inputs: list[torch.Tensor], **options: Any) -> Any:
    return tp.compile(model.half().eval(), [x.half() for x in inputs], **{**HALF, **options})


def variants(module: Any) -> dict[str, str]:
    return {row.node: row.variant for row in module.report.ledger if row.variant}


@pytest.mark.parametrize(("model", "inputs", "name"), DEFAULTS)
def test_the_ledger_says_which_variant_was_taken(model: nn.Module, inputs: list[torch.Tensor], name: str) -> None:
    module = compiled(model, inputs)
    assert name in variants(module).values()
    assert name in variants(compiled(model, inputs, dryrun=True)).values()


def test_bfloat16_takes_the_layer_for_long_causal_attention() -> None:
    module = tp.compile(Call(causal).eval(), [x.bfloat16() for x in LONG], **HALF)
    assert variants(module) == {"scaled_dot_product_attention": "causal-layer"}
    assert set(variants(compiled(Call(causal), LONG)).values()) == {"single-layers"}


def tuned(model: nn.Module, inputs: list[torch.Tensor], name: str, cast: Any = torch.Tensor.half) -> Tuning:
    """A tuning in which one variant is the best wherever it is possible."""
    program = tp.trace(model.eval(), [cast(x) for x in inputs])
    program = tp.PassManager("decompose,lower,annotate").run(program).program
    rows = {name: Measured(1.0), "pytorch": Measured(9.0)}
    return Tuning("a GPU", {}, {pattern_of(node, program.constants): rows for node in program.op_nodes})


OTHERS = [
    (convolution(8, 16, 1), [MAPS], "pixels-as-product"),
    (convolution(8, 16, 1), [MAPS], "channels-as-rows"),
    (convolution(8, 16, 3, padding=1), [MAPS], "in-float32"),
    (convolution(8, 8, 3, padding=1, groups=8), [MAPS], "in-float32"),
    (convolution(3, 16, 7, stride=2, padding=3), [IMAGE], "layer"),
    (convolution(3, 16, 4, stride=4), [IMAGE], "layer"),
    (linear(8, 16), [torch.randn(4, 16)], "weight-as-it-is"),
    (linear(8, 16), [torch.randn(4, 16)], "sums-in-halves"),
    (linear(4100, 8), [torch.randn(4, 8)], "transposed-weight"),
    (resize(scale_factor=2, mode="bilinear"), [MAPS], "products"),
    (resize(scale_factor=0.5, mode="bilinear"), [MAPS], "products"),
    (resize(size=(20, 7), mode="bilinear", align_corners=True), [MAPS], "products"),
    (resize(size=(9, 24), mode="bilinear"), [MAPS], "products"),
    (resize(scale_factor=(1.7, 2.3), mode="bilinear"), [MAPS], "products"),
    (resize(size=(17, 5), mode="bicubic"), [MAPS], "products"),
    (resize(scale_factor=3, mode="bicubic", align_corners=True), [MAPS], "products"),
    (resize(scale_factor=2, mode="linear"), [torch.randn(2, 3, 7)], "products"),
    (resize(scale_factor=2, mode="trilinear"), [torch.randn(1, 2, 3, 4, 5)], "products"),
]
TOLERANCES = {torch.float16: 5e-3, torch.bfloat16: 4e-2, torch.float32: 1e-5}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("model", "inputs", "name"), OTHERS)
def test_other_variants_compute_the_same(
    model: nn.Module, inputs: list[torch.Tensor], name: str, dtype: torch.dtype
) -> None:
    cast = {torch.float16: torch.Tensor.half, torch.bfloat16: torch.Tensor.bfloat16}.get(dtype, torch.Tensor.float)
    exact = model.float()(*inputs)
    narrow = model.to(dtype).eval()
    module = tp.compile(narrow, [cast(x) for x in inputs], **HALF, tuning=tuned(narrow, inputs, name, cast))
    if dtype is torch.float16:
        assert name in variants(module).values()
    found = module(*[cast(x) for x in inputs]).float()
    assert float((found - exact).norm() / exact.norm()) < TOLERANCES[dtype]


def test_a_tuning_that_was_made_up_decides_a_partition(tmp_path: Path) -> None:
    layers = nn.Conv2d(8, 8, 3, padding=1), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(8, 4, 1)
    model, x = nn.Sequential(*layers).half().eval(), MAPS.half()
    program = tp.PassManager("decompose,lower,annotate").run(tp.trace(model, [x])).program
    (node,) = (item for item in program.op_nodes if "upsample" in item.name)
    rows = {"layer": {"us": 1100.0}, "products": {"us": 400.0}, "pytorch": {"us": 160.0}}
    patterns = {pattern_of(node, program.constants): rows}
    data = {"schema": 1, "kind": "trt-passes tuning", "gpu": "NVIDIA H200", "patterns": patterns}
    path = tmp_path / "tuning.json"
    path.write_text(json.dumps(data))
    module = tp.compile(model, [x], **HALF, tuning=path)
    row = module.report.ledger[node.name]
    assert (str(row.verdict), row.reasons[0].code) == ("demoted", "TP305")
    assert row.reasons[0].message == "TensorRT takes 0.40 ms here, PyTorch 0.16 ms (tuning.json)."
    assert len(module.report.segments) == 2
    torch.testing.assert_close(module(x), model(x), rtol=2e-2, atol=2e-2)
    assert len(tp.compile(model, [x], **HALF).report.segments) == 1
    del rows["pytorch"]
    path.write_text(json.dumps(data))
    again = tp.compile(model, [x], **HALF, tuning=path)
    assert again.report.ledger[node.name].variant == "products"
    assert len(again.report.segments) == 1


def test_operators_of_one_way_can_stay_in_pytorch_too() -> None:
    model = Call(lambda self, x: F.softmax(torch.relu(x), -1)).eval()
    x = torch.randn(2, 4).half()
    program = tp.PassManager("decompose,lower,annotate").run(tp.trace(model, [x])).program
    (softmax,) = (node for node in program.op_nodes if "softmax" in node.name)
    rows = {"tensorrt": Measured(50.0), "pytorch": Measured(10.0)}
    tuning = Tuning("G", {}, {pattern_of(softmax, program.constants): rows})
    module = tp.compile(model, [x], **HALF, tuning=tuning)
    assert module.report.ledger[softmax.name].reasons[0].code == "TP305"
    assert module.report.ledger["relu"].segment == "segment-00"


def test_presets_without_a_tuning() -> None:
    model = convolution(8, 16, 3, padding=1)
    assert variants(compiled(model, [MAPS], preset="exact")) == {"convolution": "in-float32"}
    assert variants(compiled(linear(8, 16), [torch.randn(4, 16)], preset="fast")) == {"linear": "sums-in-halves"}
    with pytest.raises(tp.UserError, match=r"option 'preset' is 'exat'\. Did you mean 'exact'"):
        tp.Settings(preset="exat")


def test_convolutions_in_float32_do_not_follow_each_other_through_smooth_functions() -> None:
    def stem(between: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), between, nn.Conv2d(8, 8, 3, padding=1))

    for between, second in ((nn.SiLU(), "layer"), (nn.GELU(), "layer"), (nn.ReLU(), "in-float32")):
        found = variants(compiled(stem(between), [IMAGE], preset="exact", dryrun=True))
        assert list(found.values()) == ["in-float32", second]


def test_another_gpu_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = Tuning("NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA L4")
    program = tp.trace(linear(8, 16).eval(), [torch.randn(4, 16)])
    manager = tp.PassManager("decompose,lower,annotate", settings=tp.Settings(tuning=tuning))
    with pytest.warns(RuntimeWarning, match="measured on NVIDIA H200, and this machine has NVIDIA L4"):
        report = manager.run(program)
    assert any("tune again" in note for note in report.notes)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager.run(program)


def test_variants_have_unique_names_and_say_what_they_do() -> None:
    for converter in default_registry().converters.values():
        names = [variant.name for variant in converter.variants]
        assert len(set(names)) == len(names)
        assert all(variant.doc.endswith(".") and len(variant.doc) < 130 for variant in converter.variants)
        assert all(converter.variants[-1].default is True for _ in names)
