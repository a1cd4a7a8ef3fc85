"""TorchScript modules that PyTorch quantized: what is quantized stays, the rest runs in engines."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:`torch.jit"),
    pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="PyTorch has no fbgemm here"),
]

quantization: Any = torch.ao.quantization


class Dynamic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.lstm = nn.Linear(16, 16), nn.Linear(16, 8), nn.LSTM(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(torch.relu(self.a(x)) + 1)
        return torch.softmax(self.b(y), -1) * 2 + 1


class Static(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quantize, self.dequantize = quantization.QuantStub(), quantization.DeQuantStub()
        self.a, self.b = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(self.quantize(torch.tanh(x) * 2))).mean((2, 3))
        return torch.softmax(self.dequantize(self.b(y)), -1) * 3 + 1


def quantized(kind: str) -> tuple[nn.Module, list[int]]:
    torch.manual_seed(0)
    torch.backends.quantized.engine = "fbgemm"
    if kind == "static":
        model = Static().eval()
        model.qconfig = quantization.get_default_qconfig("fbgemm")
        prepared = quantization.prepare(model)
        prepared(torch.randn(4, 3, 8, 8))
        return quantization.convert(prepared), [3, 8, 8]
    dtype = torch.qint8 if kind == "dynamic" else torch.float16
    return quantization.quantize_dynamic(Dynamic().eval(), {nn.Linear, nn.LSTM}, dtype=dtype), [2, 16]


@torch.no_grad()
@pytest.mark.parametrize("made", ["scripted", "traced"])
@pytest.mark.parametrize("kind", ["dynamic", "dynamic half", "static"])
def test_what_is_quantized_stays(kind: str, made: str) -> None:
    model, sizes = quantized(kind)
    script = torch.jit.script(model) if made == "scripted" else torch.jit.trace(model, torch.randn(3, *sizes))
    rows = tp.Input(min_shape=(1, *sizes), opt_shape=(3, *sizes), max_shape=(6, *sizes))
    compiled = tp.compile(script, [rows], executor="pytorch", min_block_size=1)
    assert compiled.report.verdicts["trt"] >= 4
    assert any(row.op.startswith("quantized.") for row in compiled.report.stayed)
    buffer = io.BytesIO()
    torch.jit.save(compiled, buffer)
    buffer.seek(0)
    for result in (compiled, torch.jit.load(buffer)):
        for count in (3, 1, 6, 3):
            x = torch.randn(count, *sizes)
            torch.testing.assert_close(result(x), copy.deepcopy(script)(x), rtol=1e-4, atol=1e-4)
