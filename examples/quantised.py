"""A small encoder in few bits: quantised by one call, then compiled.

trt-passes run examples/quantised.py:model --quantize int8-weights --dump-dir dump
python examples/quantised.py int8-weights
"""

from __future__ import annotations

import sys

import torch
import trt_passes as tp
from torch import nn


class Block(nn.Module):
    """A gated MLP with a norm before it and the input added: x [n, 256] -> [n, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(256)
        self.gate, self.up, self.down = nn.Linear(256, 512), nn.Linear(256, 512), nn.Linear(512, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))


def model() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Two blocks, and an input of eight rows."""
    torch.manual_seed(0)
    return nn.Sequential(Block(), Block()).eval(), (torch.randn(8, 256),)


def main(mode: str = "int8-weights", executor: str = "auto") -> float:
    """Quantise, compile and compare; the relative error of the results."""
    floats, inputs = model()
    batches = [torch.randn(8, 256) for _ in range(4)]
    quantised = tp.quantize(floats, mode, batches, max_error=0.05)
    compiled = tp.compile(quantised, inputs, executor=executor)
    for note in compiled.report.notes:
        print(note)
    with torch.no_grad():
        right, found = floats(*inputs), compiled(*inputs)
    return float((found - right).norm() / right.norm())


if __name__ == "__main__":
    print(f"relative error {main(*sys.argv[1:]):.2g}")
