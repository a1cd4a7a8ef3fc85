"""PyTorch's reference modules: tensors of quantised types that are dequantised at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.ao.nn.quantized.reference as reference
import trt_passes as tp
from torch import nn
from torch.ao.quantization import QConfigMapping, default_dynamic_qconfig, get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_to_reference_fx, prepare_fx

from .judged import agree, products, whole


class Net(nn.Module):
    """A convolution, a pool, and two linear layers with a residual: [n, 3, 8, 8] -> [n, 32]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up, self.down = nn.Conv2d(3, 32, 3, padding=1), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.max_pool2d(torch.relu(self.conv(x)), 2).mean((2, 3))
        return y + self.down(torch.relu(self.up(y)))


def converted(mapping: QConfigMapping) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        prepared = prepare_fx(Net().eval(), mapping, (torch.randn(4, 3, 8, 8),))
        for _ in range(3):
            prepared(torch.randn(4, 3, 8, 8))
        return convert_to_reference_fx(prepared)


def static() -> nn.Module:
    return converted(get_default_qconfig_mapping("x86"))


def dynamic() -> nn.Module:
    return converted(QConfigMapping().set_global(default_dynamic_qconfig))


def weights_only() -> nn.Module:
    torch.manual_seed(0)
    model = Net().eval()
    scale = model.up.weight.detach().abs().amax(1) / 127
    rows = {"qscheme": torch.per_channel_affine, "dtype": torch.qint8, "axis": 0}
    whole = {"qscheme": torch.per_tensor_affine, "dtype": torch.quint8, "scale": 0.01, "zero_point": 117}
    model.up = reference.Linear.from_float(model.up, {**rows, "scale": scale, "zero_point": torch.zeros(64).int()})
    model.conv = reference.Conv2d.from_float(model.conv, whole)
    return model


MADE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "static": (static, "1 of 3 products in int8, 2 of 3 products with int8 weights"),
    "dynamic": (dynamic, "2 of 3 products with int8 weights"),
    "weights only": (weights_only, "2 of 3 products with int8 weights"),
}


@pytest.mark.parametrize("name", MADE)
def test_one_engine_of_any_batch(name: str, tmp_path) -> None:
    make, text = MADE[name]
    model = make()
    declared = [tp.Input(min_shape=(1, 3, 8, 8), opt_shape=(4, 3, 8, 8), max_shape=(8, 3, 8, 8))]
    compiled = whole(model, declared, (torch.randn(4, 3, 8, 8),))
    assert text in products(compiled)
    tp.save(compiled, tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2")
    for rows in (1, 8):
        x = torch.randn(rows, 3, 8, 8)
        agree(compiled, model, (x,), 1e-3)
        agree(loaded, model, (x,), 1e-3)
