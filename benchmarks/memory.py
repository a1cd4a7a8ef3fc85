"""Peak memory of compiling, saving and loading a model of large weights, as a multiple of the weights.

Run: `python -m trt_passes.benchmarks.memory [--mib 512] [--mutable]`.

Each step is measured from a process that has imported everything: the model's own weights count, so that nothing can be
below 1. What a process shares with its copies, which build engines, counts once.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import trt_passes as tp
from torch import nn

from .dump import Measured, family, proportional_bytes

WIDTH = 2048
"""A layer of this width has 16 MiB of weights."""


class Layers(nn.Module):
    """As many linear layers as take some bytes, each with an activation."""

    def __init__(self, mib: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()) for _ in range(mib // 16)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def measured(work: Callable[[], Any], before: int) -> tuple[Any, int, int]:
    """What some work gives, the peak of memory meanwhile, and the memory afterwards, both above `before`."""
    results: list[Any] = []
    found = Measured(lambda: results.append(work()))
    gc.collect()
    return results[0], found.peak - before, _now() - before


def _now() -> int:
    return sum(map(proportional_bytes, family()))


def main() -> None:
    """Print a line for every step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="MiB of weights")
    parser.add_argument("--mutable", action="store_true", help="with the option mutable_weights")
    parser.add_argument("--budget", type=int, default=None, help="the option cpu_memory_budget, in MiB")
    chosen = parser.parse_args()
    x = torch.randn(8, WIDTH)
    options: dict[str, Any] = {"mutable_weights": chosen.mutable, "executor": "pytorch"}
    if chosen.budget is not None:
        options["cpu_memory_budget"] = chosen.budget << 20
    tp.compile(Layers(16).eval(), [x], min_block_size=1, **options)  # everything is imported now
    gc.collect()
    before = _now()
    with torch.no_grad():
        model = Layers(chosen.mib).eval()
    weights = sum(item.nbytes for item in model.parameters())
    print(f"{weights >> 20} MiB of weights; multiples of them: the peak, and what is held afterwards")

    def row(step: str, peak: int, held: int, more: str = "") -> None:
        print(f"{step:8}{peak / weights:8.2f}{held / weights:8.2f}{more}", flush=True)

    row("model", 0, _now() - before)
    compiled, peak, held = measured(lambda: tp.compile(model, [x], min_block_size=1, **options), before)
    row("compile", peak, held, f"   {len(compiled.segments)} engines")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = Path(folder) / "model.pt2"
        _, peak, held = measured(lambda: tp.save(compiled, path), before)
        row("save", peak, held, f"   a file of {path.stat().st_size / weights:.2f}")
        model = compiled = None
        gc.collect()
        _, peak, held = measured(lambda: tp.load(path, executor="pytorch"), before)
        row("load", peak, held)


if __name__ == "__main__":
    main()
