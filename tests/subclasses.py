"""Tensor subclasses that wrap others, as those of quantized weights do."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import return_and_correct_aliasing

aten = torch.ops.aten


class Quantized(torch.Tensor):
    """Whole numbers `q` int8[n, k] times a scale per row `s` f32[n, 1]; it computes with the product of both."""

    q: torch.Tensor
    s: torch.Tensor

    @staticmethod
    def __new__(cls, q: torch.Tensor, s: torch.Tensor) -> Quantized:
        wrapper: Any = torch.Tensor._make_wrapper_subclass(cls, q.shape, dtype=s.dtype, device=q.device)
        return wrapper

    def __init__(self, q: torch.Tensor, s: torch.Tensor) -> None:
        self.q, self.s = q, s

    @classmethod
    def of(cls, values: torch.Tensor) -> Quantized:
        """The nearest numbers to those of a matrix."""
        scale = values.abs().amax(1, keepdim=True) / 127
        return cls((values / scale).round().to(torch.int8), scale)

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["q", "s"], None

    @classmethod
    def __tensor_unflatten__(cls, inner: dict[str, torch.Tensor], meta: None, size: Any, stride: Any) -> Quantized:
        return cls(inner["q"], inner["s"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (aten.detach.default, aten.alias.default, aten.clone.default):
            return return_and_correct_aliasing(func, args, kwargs, cls(func(args[0].q), func(args[0].s)))
        if func is aten._to_copy.default and kwargs.get("dtype", args[0].dtype) == args[0].dtype:
            moved = {name: value for name, value in kwargs.items() if name != "dtype"}
            parts = (func(part, **moved) for part in (args[0].q, args[0].s))
            return return_and_correct_aliasing(func, args, kwargs, cls(*parts))
        plain = pytree.tree_map_only(Quantized, lambda item: item.q.to(item.s.dtype) * item.s, args)
        return func(*plain, **(kwargs or {}))


class Named(torch.Tensor):
    """A tensor that computes as others do, and whose results are of its class."""


class Summed(torch.Tensor):
    """The sum of two tensors of one shape, `high` and `low`, which it computes whenever it is read."""

    high: torch.Tensor
    low: torch.Tensor

    @staticmethod
    def __new__(cls, high: torch.Tensor, low: torch.Tensor) -> Summed:
        wrapper: Any = torch.Tensor._make_wrapper_subclass(cls, high.shape, dtype=high.dtype, device=high.device)
        return wrapper

    def __init__(self, high: torch.Tensor, low: torch.Tensor) -> None:
        self.high, self.low = high, low

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["high", "low"], None

    @classmethod
    def __tensor_unflatten__(cls, inner: dict[str, torch.Tensor], meta: None, size: Any, stride: Any) -> Summed:
        return cls(inner["high"], inner["low"])

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (aten.detach.default, aten.alias.default, aten.clone.default, aten._to_copy.default):
            parts = (func(part, *args[1:], **(kwargs or {})) for part in (args[0].high, args[0].low))
            return return_and_correct_aliasing(func, args, kwargs, cls(*parts))
        plain = pytree.tree_map_only(Summed, lambda item: item.high + item.low, args)
        return func(*plain, **(kwargs or {}))


def quantized(model: nn.Module) -> nn.Module:
    """The model, with quantized weights in its linear layers."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(Quantized.of(module.weight.detach()), requires_grad=False)
    return model
