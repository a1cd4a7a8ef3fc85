"""Values limited from both sides, of which TensorRT-RTX would lose the upper limit between two convolutions."""

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.tensorrt.layers import iter_layers

from tests.marks import gpu
from tests.oracle import check


class Gated(nn.Module):
    """Two convolutions, one of them limited, multiplied and read by a third, as in StarNet."""

    def __init__(self, limit):
        super().__init__()
        torch.manual_seed(0)
        self.value, self.gate, self.last = nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1)
        self.limit = limit

    def forward(self, x):
        return self.last(self.limit(self.value(x) * 9) * self.gate(x))


LIMITS = {
    "relu6": nn.functional.relu6,
    "clamp": lambda x: x.clamp(-1, 2),
    "hardtanh": nn.functional.hardtanh,
    "in two steps": lambda x: x.relu().clamp(max=6),
    "minimum": lambda x: torch.minimum(torch.maximum(x, torch.tensor(0.0)), torch.tensor(6.0)),
    "low above high": lambda x: x.clamp(3, 1),
    "twice": lambda x: x.clamp(0, 6).clamp(max=0.4).clamp(-1, 0.3),
    "below twice": lambda x: x.clamp(min=0.2).relu().clamp(max=0.7).clamp(min=0.1).clamp(max=0.6),
}


def _operations(built):
    """The name of each elementwise operation, and those of the operations that it reads."""
    layers = [layer for layer in iter_layers(built.trt, built.network) if layer.kind == "ELEMENTWISE"]
    names = {tensor.name: layer.handle.op.name for layer in layers for tensor in layer.outputs}
    return [(layer.handle.op.name, [names.get(tensor.name) for tensor in layer.inputs]) for layer in layers]


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_upper_limit_comes_first(name, dtype):
    built = check(Gated(LIMITS[name]).to(dtype), [torch.randn(2, 8, 4, 4).to(dtype)]).built
    operations = _operations(built)
    assert ("MAX", ["MIN", None]) in operations
    assert not any(name == "MIN" and "MAX" in read for name, read in operations)


@pytest.mark.parametrize("name", LIMITS)
def test_of_any_sizes_and_as_a_result(name):
    class Limited(nn.Module):
        def forward(self, x):
            y = LIMITS[name](x)
            return y, y * 2, (x * 9).long().clamp(-3, 4)

    x = torch.randn(3, 4) * 9
    x[0, 0] = float("nan")
    compiled = tp.compile(Limited(), ["1..3..5x4"], min_block_size=1, executor="reference")
    torch.testing.assert_close(compiled(x[1:]), Limited()(x[1:]))
    torch.testing.assert_close(compiled(x)[0], Limited()(x)[0], equal_nan=True)


@gpu
@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("rows", [2, (1, 2, 4)], ids=["fixed", "ranges"])
def test_engines_are_right(name, dtype, rows):
    model = Gated(LIMITS[name]).to("cuda", dtype)
    x = torch.randn(2, 8, 14, 14, device="cuda", dtype=dtype)
    shapes = [(size, 8, 14, 14) for size in (rows if isinstance(rows, tuple) else (rows,) * 3)]
    inputs = [tp.Input(min_shape=shapes[0], opt_shape=shapes[1], max_shape=shapes[2], dtype=dtype)]
    compiled = tp.compile(model, inputs, min_block_size=1, executor="tensorrt")
    torch.testing.assert_close(compiled(x), model(x), rtol=2e-2, atol=2e-2)
