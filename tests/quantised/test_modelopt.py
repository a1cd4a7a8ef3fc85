"""Models that NVIDIA's modelopt quantised, exported without its context manager."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from .judged import products, whole

mtq = pytest.importorskip("modelopt.torch.quantization", reason="nvidia-modelopt is not installed")

CONFIGS = {
    "INT8_DEFAULT_CFG": "2 of 2 products in int8",
    "INT8_SMOOTHQUANT_CFG": "2 of 2 products in int8",
    "INT8_WEIGHT_ONLY_CFG": "2 of 2 products with int8 weights",
    "FP8_DEFAULT_CFG": "2 of 2 products in fp8",
    "FP8_PER_CHANNEL_PER_TOKEN_CFG": "2 of 2 products in fp8",
    "INT4_AWQ_CFG": "2 of 2 products with int4 weights",
    "INT4_BLOCKWISE_WEIGHT_ONLY_CFG": "2 of 2 products with int4 weights",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_one_engine(name: str) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 64)).eval(), torch.randn(8, 128)
    model = mtq.quantize(model, getattr(mtq, name), lambda each: each(torch.randn(8, 128)))
    within = 1e-2 if "INT4" in name else 1e-5
    precisions = {torch.float32, torch.float16} if "INT4" in name else {torch.float32}
    assert CONFIGS[name] in products(whole(model, [x], (x,), within=within, enabled_precisions=precisions))


def test_convolutions_of_float8() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3)).eval(), torch.randn(2, 3, 9, 9)
    model = mtq.quantize(model, mtq.FP8_DEFAULT_CFG, lambda each: each(torch.randn(2, 3, 9, 9)))
    assert "2 of 2 products in fp8" in products(whole(model, [x], (x,), within=1e-5))
