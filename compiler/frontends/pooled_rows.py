"""Pooling of rows whose length varies, for which PyTorch's operator on the CPU reads a fixed one while it is traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class PooledRows(TorchFunctionMode):
    """While a model is exported: `max_pool1d` of a length that varies is `max_pool2d` of rows of height 1."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch's, or what takes its place."""
        if func in (functional.max_pool1d, torch.max_pool1d) and args and not isinstance(args[0].shape[-1], int):
            pooled = _pooled(*args, **(kwargs or {}))
            if pooled is not None:
                return pooled
        return func(*args, **(kwargs or {}))


def _pooled(
    rows: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> torch.Tensor | None:
    """The largest of every window; None where places are asked for too."""
    if return_indices:
        return None
    steps = kernel_size if stride is None or stride == [] else stride
    sizes = ([1, _one(kernel_size)], [1, _one(steps)], [0, _one(padding)], [1, _one(dilation)])
    return functional.max_pool2d(rows.unsqueeze(-2), *sizes, ceil_mode=ceil_mode).squeeze(-2)


def _one(value: Any) -> Any:
    """A size that is given as a number, or as a list of one."""
    return value[0] if isinstance(value, list | tuple) else value
