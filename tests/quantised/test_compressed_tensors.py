"""Layers that compressed-tensors quantised, frozen or packed as transformers loads them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

from .judged import products, whole

library = pytest.importorskip("compressed_tensors.quantization", reason="compressed-tensors is not installed")

INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
FLOAT8 = {"num_bits": 8, "type": "float", "symmetric": True}
FORMATS: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str]] = {
    "w8a16": ({**INT8, "strategy": "channel"}, None, "2 of 2 products with int8 weights"),
    "w8a8": ({**INT8, "strategy": "channel"}, {**INT8, "strategy": "token", "dynamic": True}, "in int8"),
    "fp8": ({**FLOAT8, "strategy": "tensor"}, {**FLOAT8, "strategy": "tensor"}, "2 of 2 products in fp8"),
    "fp8 rows": ({**FLOAT8, "strategy": "channel"}, {**FLOAT8, "strategy": "token", "dynamic": True}, "in fp8"),
    "w4a16": (
        {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128},
        None,
        "2 of 2 products with int8 weights",  # float32 has no kernels for four bits
    ),
}


def quantised(weights: dict[str, Any], inputs: dict[str, Any] | None, packed: bool) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256)).eval()
    scheme = library.QuantizationScheme(
        targets=["Linear"],
        weights=library.QuantizationArgs(**weights),
        input_activations=None if inputs is None else library.QuantizationArgs(**inputs),
    )
    config = library.QuantizationConfig(config_groups={"all": scheme}, quantization_status="initialized")
    library.apply_quantization_config(model, config)
    limit = 448.0 if weights["type"] == "float" else 2.0 ** (weights["num_bits"] - 1) - 1
    for layer in (model[0], model[2]):
        blocks = layer.weight.data.reshape(*(layer.weight_scale.shape if layer.weight_scale.dim() > 1 else (1, 1)), -1)
        layer.weight_scale.data.copy_((blocks.abs().amax(2) / limit).reshape(layer.weight_scale.shape))
        if hasattr(layer, "input_scale"):
            layer.input_scale.data.fill_(0.01)
        layer.quantization_status = library.QuantizationStatus.FROZEN
    if packed:
        from compressed_tensors.compressors import ModelCompressor

        ModelCompressor(quantization_config=config).compress_model(model)
    return model


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_one_engine(name: str, packed: bool) -> None:
    weights, inputs, text = FORMATS[name]
    model, x = quantised(weights, inputs, packed), torch.randn(8, 256)
    assert text in products(whole(model, [x], (x,), within=1e-3))


def test_other_formats_are_refused_by_name() -> None:
    weights = {"num_bits": 4, "type": "float", "symmetric": True, "strategy": "tensor_group", "group_size": 16}
    model = nn.Sequential(nn.Linear(256, 256)).eval()
    scheme = library.QuantizationScheme(targets=["Linear"], weights=library.QuantizationArgs(**weights))
    config = library.QuantizationConfig(config_groups={"all": scheme}, quantization_status="initialized")
    library.apply_quantization_config(model, config)
    with pytest.raises(tp.UserError, match="4 bits of type float with one scale per tensor_group"):
        tp.compile(model, [torch.randn(8, 256)], min_block_size=1)
