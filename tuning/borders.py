"""What a GPU takes for leaving an engine and coming back, for a kernel of PyTorch, and for moving bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..compiler.frontends.exported_program import trace
from ..compiler.ir.tuning import Tuning
from ..compiler.manager import compile_program
from ..compiler.settings import Settings

_ROWS, _WIDTH, _LAYERS = 1024, 512, 6  # of the layers between which engines are cut
_KERNELS = 8
_COPIED = 1 << 28  # bytes: more than a cache holds
_COPIED_ON_CPU = 1 << 20
_PIPELINE = "decompose,annotate,partition{{min-block-size=1,max-segment-nodes={}}},convert,build,splice"


def with_borders(
    tuning: Tuning,
    settings: Settings,
    timer: Callable[[Sequence[Callable[[], Any]]], list[float]],
    device: torch.device,
) -> Tuning:
    """A tuning with `border_us`, `launch_us` and `bandwidth` as they are measured on a device.

    What a border costs is what layers take longer in an engine each than in one of all, with what is not fused then.
    """
    layers = [layer for _ in range(_LAYERS) for layer in (nn.Linear(_WIDTH, _WIDTH), nn.GELU())]
    model, x = nn.Sequential(*layers).half().eval(), torch.randn(_ROWS, _WIDTH, device=device).half()
    # Both are compiled before either is moved: they share the model's weights.
    both = [_compiled(model, x, settings, nodes) for nodes in (2 * _LAYERS, 2)]
    whole, cut = (compiled.to(device) for compiled in both)
    nbytes = _COPIED if device.type == "cuda" else _COPIED_ON_CPU
    large = torch.empty(nbytes, dtype=torch.uint8, device=device)
    other = torch.empty_like(large)
    small = x[0].clone()

    def kernels() -> torch.Tensor:
        y = small
        for _ in range(_KERNELS):
            y = torch.neg(y)
        return y

    with torch.no_grad():
        calls = [lambda: whole(x), lambda: cut(x), kernels, lambda: other.copy_(large)]
        one, many, several, copy = timer(calls)
    return replace(
        tuning,
        border_us=max((many - one) / (_LAYERS - 1), 0.0),
        launch_us=several / _KERNELS,
        bandwidth=round(2 * nbytes / copy * 1e6, -9) or 1e9,
    )


def _compiled(model: nn.Module, x: torch.Tensor, settings: Settings, nodes: int) -> Any:
    """A model in engines of at most so many op nodes."""
    plain = Settings(executor=settings.executor, min_block_size=1)
    return compile_program(trace(model, [x.cpu()]), plain, _PIPELINE.format(nodes))
