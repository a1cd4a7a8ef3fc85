"""Attention with few keys or small heads stays in float32 where halves are asked for."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.marks import gpu


class Attention(nn.Module):
    """Queries attend to `keys` others, as one operator or in steps: [b, q, d], [b, k, d] -> [b, q, d]."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.form == "one":
            return nn.functional.scaled_dot_product_attention(x, y, y * 2)
        scores = (x @ y.transpose(-1, -2)) / x.shape[-1] ** 0.5
        if self.form == "masked":
            scores = torch.where(x.sum(-1, keepdim=True) > 0, scores, scores - 1)
        return nn.functional.dropout(scores.softmax(-1), 0.1, self.training) @ (y * 2)


def compiled_for(form: str, keys: int, head: int, device: str, executor: str) -> tuple[tp.CompiledModule, float]:
    torch.manual_seed(0)
    inputs = torch.randn(2, 64, head, device=device), torch.randn(2, keys, head, device=device)
    model = Attention(form).eval()
    compiled = tp.compile(model, list(inputs), enabled_precisions={torch.float16}, min_block_size=1, executor=executor)
    right = model(*inputs)
    return compiled, float((compiled(*inputs) - right).norm() / right.norm())


@pytest.mark.parametrize("form", ["one", "steps", "masked"])
@pytest.mark.parametrize(("keys", "head", "narrow"), [(6, 32, 0), (32, 8, 0), (16, 16, 1)])
def test_which_stays_in_float32(form: str, keys: int, head: int, narrow: int) -> None:
    compiled, error = compiled_for(form, keys, head, "cpu", "reference")
    products = [
        node
        for node in compiled.report.program.op_nodes
        if any(name in str(node.target) for name in ("matmul", "bmm", "scaled_dot_product"))
    ]
    assert products
    assert {node.meta["val"].dtype for node in products} == {torch.float16 if narrow else torch.float32}
    assert error < 2e-3
    assert ("attention with fewer than 16 keys" in str(compiled.report.notes)) == (not narrow)


@gpu
@pytest.mark.parametrize("form", ["one", "steps", "masked"])
@pytest.mark.parametrize(("keys", "head"), [(6, 4), (8, 4), (6, 8), (6, 32), (32, 8), (16, 16), (16, 32), (17, 16)])
def test_engines_are_right(form: str, keys: int, head: int) -> None:
    assert compiled_for(form, keys, head, "cuda", "tensorrt")[1] < 5e-3
