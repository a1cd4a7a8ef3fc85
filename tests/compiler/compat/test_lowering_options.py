"""Options that say what graphs are made of before they are converted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.torch_tensorrt.dynamo.lowering import get_decompositions

ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
Q = torch.randn(2, 4, 5, 8)
MASK = torch.ones(5, 5).tril().bool() & (torch.arange(5) != 0)


class Attention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, m: torch.Tensor | None = None) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v, m, **self.options)


@pytest.mark.parametrize(
    ("options", "inputs"),
    [({"is_causal": True}, (Q, Q, Q)), ({"enable_gqa": True, "scale": 0.3}, (Q, Q[:, :2], Q[:, :2], MASK))],
)
def test_attention_of_products(options: dict[str, Any], inputs: tuple[torch.Tensor, ...]) -> None:
    model = Attention(**options).eval()
    compiled = torch_tensorrt.compile(
        model, inputs=list(inputs), decompose_attention=True, min_block_size=1, executor="reference"
    )
    assert {row.verdict for row in compiled.report.ledger} == {"trt"}
    assert not any("attention" in row.op for row in compiled.report.ledger)
    # Of a mask, the first row attends to nothing.
    torch.testing.assert_close(compiled(*inputs), model(*inputs))


def test_tables_of_decompositions_with_attention() -> None:
    assert ATTENTION not in get_decompositions()
    assert ATTENTION in get_decompositions(decompose_attention=True)
