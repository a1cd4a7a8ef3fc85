"""TorchScript modules that PyTorch quantised, as a whole: numbers on the same grids as the original's."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tests.marks import some_long

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:`torch.jit"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="PyTorch has no fbgemm here"),
]

quantization: Any = torch.ao.quantization
layers: Any = torch.ao.nn.quantized


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.b(self.norm(torch.relu(self.a(x)))), -1) * 2 + 1


class Cell(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cell, self.head = kind(16, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, h)
        return self.head(h), h


class LongCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(16, 16)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self.cell(x, (h, h * 0.5))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.rnn = kind(16, 8, batch_first=True, **options)
        self.head = nn.Linear(16 if options else 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.head(self.rnn(torch.tanh(x) * 2)[0]), -1)


class Picture(nn.Module):
    """Fused convolutions, a depthwise one, pooling, and a sum of two quantised tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.quantize, self.dequantize = quantization.QuantStub(), quantization.DeQuantStub()
        self.a, self.norm, self.act = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()
        self.b, self.pool = nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.MaxPool2d(2)
        self.sums, self.last = layers.FloatFunctional(), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.pool(self.act(self.norm(self.a(self.quantize(torch.tanh(x) * 2)))))
        y = self.sums.add(self.b(y), y)
        y = nn.functional.adaptive_avg_pool2d(y, 1).flatten(1)
        return self.dequantize(self.last(y))


class Sound(nn.Module):
    """What torch.fx quantises: activations, concatenation, a transposed convolution, numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.up, self.b = nn.Conv1d(4, 8, 3), nn.ConvTranspose1d(8, 8, 2), nn.Linear(8, 6)
        self.norm, self.act = nn.LayerNorm(6), nn.Hardswish()

    def forward(self, x):  # type: ignore[no-untyped-def]  # TorchScript does not read what torch.fx writes of types
        y = self.act(self.a(x))
        y = self.up(torch.cat([y, torch.sigmoid(y)], 2))
        return self.norm(self.b(y.transpose(1, 2))).mean(1) * 2 + 1


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(20, 16), nn.Linear(16, 4)
        self.table.qconfig, self.head.qconfig = quantization.float_qparams_weight_only_qconfig, None

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x).mean(1))


def dynamic(model: nn.Module, dtype: torch.dtype = torch.qint8) -> nn.Module:
    kinds = {nn.Linear, nn.LSTMCell, nn.GRUCell, nn.RNNCell, nn.LSTM, nn.GRU}
    result: nn.Module = quantization.quantize_dynamic(model.eval(), kinds, dtype=dtype)
    return result


def static(model: nn.Module) -> nn.Module:
    model = quantization.fuse_modules(model.eval(), [["a", "norm", "act"]])
    model.qconfig = quantization.get_default_qconfig("fbgemm")
    prepared = quantization.prepare(model)
    prepared(torch.randn(8, 3, 8, 8))
    result: nn.Module = quantization.convert(prepared)
    return result


def by_fx(model: nn.Module) -> nn.Module:
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    examples = torch.randn(8, 4, 9)
    prepared = prepare_fx(model.eval(), quantization.get_default_qconfig_mapping("fbgemm"), (examples,))
    prepared(examples)
    return convert_fx(prepared)


MODELS: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, ...]]]] = {
    "dense": (lambda: dynamic(Dense()), [(16,)]),
    "dense in halves": (lambda: dynamic(Dense(), torch.float16), [(16,)]),
    "gru cell": (lambda: dynamic(Cell(nn.GRUCell)), [(16,), (16,)]),
    "rnn cell": (lambda: dynamic(Cell(nn.RNNCell)), [(16,), (16,)]),
    "lstm cell": (lambda: dynamic(LongCell()), [(16,), (16,)]),
    "lstm": (lambda: dynamic(Recurrent(nn.LSTM)), [(3, 16)]),
    "lstm both ways": (lambda: dynamic(Recurrent(nn.LSTM, num_layers=2, bidirectional=True)), [(3, 16)]),
    "lstm in halves": (lambda: dynamic(Recurrent(nn.LSTM), torch.float16), [(3, 16)]),
    "gru": (lambda: dynamic(Recurrent(nn.GRU)), [(3, 16)]),
    "gru in halves": (lambda: dynamic(Recurrent(nn.GRU), torch.float16), [(3, 16)]),
    "picture": (lambda: static(Picture()), [(3, 8, 8)]),
    "sound": (lambda: by_fx(Sound()), [(4, 9)]),
    "words": (lambda: quantization.convert(quantization.prepare(Words().eval())), [(5,)]),
}
SHORT = {"dense": "traced", "rnn cell": "scripted", "picture": "traced", "sound": "scripted"}


def example(name: str, count: int) -> tuple[Tensor, ...]:
    _, sizes = MODELS[name]
    if name == "words":
        return (torch.randint(0, 20, (count, *sizes[0])),)
    return tuple(torch.randn(count, *size) for size in sizes)


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    torch.backends.quantized.engine = "fbgemm"
    return MODELS[name][0]()


def declared(name: str, *counts: int) -> list[Any]:
    tensors = [example(name, count) for count in counts]
    return [
        tp.Input(min_shape=low.shape, opt_shape=usual.shape, max_shape=high.shape, dtype=low.dtype)
        for low, usual, high in zip(*tensors, strict=True)
    ]


@torch.no_grad()
@pytest.mark.parametrize("name", some_long(MODELS, SHORT))
def test_quantised_models_are_one_graph(name: str) -> None:
    model = made(name)
    ways = {"scripted": torch.jit.script, "traced": lambda model: torch.jit.trace(model, example(name, 3))}
    for way, make in ways.items():
        if SHORT.get(name, way) != way:
            continue
        script = make(model)
        compiled = tp.compile(script, declared(name, 1, 3, 6), executor="pytorch", min_block_size=1)
        assert not hasattr(compiled.report, "whole")
        assert compiled.report.coverage > 0.95
        for count in (3, 1, 6):
            given = example(name, count)
            found, expected = (pytree.tree_leaves(each(*given)) for each in (compiled, script))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_products_are_computed_in_eight_bits() -> None:
    model = quantization.QuantWrapper(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))).eval()
    symmetric = quantization.MinMaxObserver.with_args(qscheme=torch.per_tensor_symmetric, dtype=torch.quint8)
    weights = quantization.default_weight_observer
    torch.backends.quantized.engine = "fbgemm"
    model.qconfig = quantization.QConfig(activation=symmetric, weight=weights)
    prepared = quantization.prepare(model)
    x = torch.randn(8, 64)
    prepared(x)
    script = torch.jit.script(quantization.convert(prepared))
    compiled = tp.compile(script, [x], executor="reference", min_block_size=1)
    assert any("2 of 2 products in int8" in note for note in compiled.report.notes)
    torch.testing.assert_close(compiled(x), script(x), rtol=0.05, atol=0.05)


class Endless(nn.Module):
    """With state, so that it is no whole, and with a quantised layer in a block."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.calls = nn.Linear(16, 16), nn.Linear(16, 16), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = torch.relu(self.a(x)) + 1
        print("")
        return torch.softmax(self.b(y) * self.calls, -1)


@torch.no_grad()
def test_quantised_layers_in_blocks() -> None:
    script = torch.jit.script(dynamic(Endless()))
    x = torch.randn(3, 16)
    compiled = tp.compile(script, [x], executor="pytorch", min_block_size=1)
    assert not any(row.op.startswith("quantized.") for row in compiled.report.stayed)
    buffer = io.BytesIO()
    torch.jit.save(compiled, buffer)
    buffer.seek(0)
    original = [copy.deepcopy(script)(x)]
    for result in (compiled, torch.jit.load(buffer)):
        torch.testing.assert_close([result(x)], original, rtol=1e-4, atol=1e-4)


class Kept(nn.Module):
    """Whose result is quantised, which no graph has."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x)) * 2 + 1
        return torch.quantize_per_tensor(y, 0.1, 10, torch.quint8)


@torch.no_grad()
def test_a_quantised_result_stays_torchscript() -> None:
    script, x = torch.jit.script(Kept().eval()), torch.randn(3, 8)
    compiled = tp.compile(script, [x], executor="pytorch", min_block_size=1)
    assert compiled.report.verdicts["trt"]
    assert [row.op for row in compiled.report.stayed] == ["aten.quantize_per_tensor"]
    assert torch.equal(compiled(x).int_repr(), script(x).int_repr())
