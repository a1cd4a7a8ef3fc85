"""Compile a function and compare its results with eager PyTorch's, networks evaluated on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import trt_passes as tp
from torch import nn


class Function(nn.Module):
    """A module that calls a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


BORDERS = ("aten.view_as_real", "aten.view_as_complex")


def compiled(model: Any, inputs: Sequence[Any], **settings: Any) -> Any:
    """A model or function compiled with the reference executor; a pass that fails raises."""
    module = model if isinstance(model, nn.Module) else Function(model)
    chosen = {"executor": "reference", "min_block_size": 1, "strict": True} | settings
    return tp.compile(module.eval(), list(inputs), **chosen)


def check(
    model: Any, inputs: Sequence[torch.Tensor], *, segments: int | None = 1, tolerance: float = 1e-5, **settings: Any
) -> Any:
    """Assert that a model is that many engines, with views of complex numbers beside them only, and right."""
    module = model if isinstance(model, nn.Module) else Function(model)
    result = compiled(module, inputs, **settings)
    with torch.no_grad():
        torch.testing.assert_close(result(*inputs), module(*inputs), rtol=tolerance, atol=tolerance, equal_nan=True)
    if segments is not None:
        outside = [(row.op, row.reasons) for row in result.report.ledger if str(row.verdict) != "trt"]
        assert all(op in BORDERS for op, _ in outside), outside
        assert len(result.report.segments) == segments
    return result
