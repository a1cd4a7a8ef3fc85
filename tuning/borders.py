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

_SIZE = 4096  # elements: so few that only launches count
_KERNELS = 8
_COPIED = 1 << 28  # bytes: more than a cache holds
_COPIED_ON_CPU = 1 << 20


class _Steps(nn.Module):
    """Arithmetic with one operator in the middle that can be kept in PyTorch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(torch.neg(torch.relu(x) + 1.0)) * 2.0


def with_borders(
    tuning: Tuning,
    settings: Settings,
    timer: Callable[[Sequence[Callable[[], Any]]], list[float]],
    device: torch.device,
) -> Tuning:
    """A tuning with `border_us`, `launch_us` and `bandwidth` as they are measured on a device."""
    x = torch.randn(_SIZE, device=device)
    whole, split = _compiled(settings, ()), _compiled(settings, ("aten.neg",))
    whole, split = whole.to(device), split.to(device)
    nbytes = _COPIED if device.type == "cuda" else _COPIED_ON_CPU
    large = torch.empty(nbytes, dtype=torch.uint8, device=device)
    other = torch.empty_like(large)

    def kernels() -> torch.Tensor:
        y = x
        for _ in range(_KERNELS):
            y = torch.neg(y)
        return y

    with torch.no_grad():
        calls = [lambda: whole(x), lambda: split(x), kernels, lambda: other.copy_(large)]
        one, two, several, copy = timer(calls)
    launch = several / _KERNELS
    return replace(
        tuning,
        border_us=max(two - one - launch, 0.0),
        launch_us=launch,
        bandwidth=round(2 * nbytes / copy * 1e6, -9) or 1e9,
    )


def _compiled(settings: Settings, in_pytorch: tuple[str, ...]) -> Any:
    plain = Settings(executor=settings.executor, min_block_size=1, torch_executed_ops=frozenset(in_pytorch))
    program = trace(_Steps().eval(), [torch.randn(_SIZE)])
    return compile_program(program, plain, "decompose,annotate,partition,convert,build,splice")
