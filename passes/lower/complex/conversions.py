"""Between complex and real tensors: views, casts, parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from .arithmetic import nonzero
from .pair import Pair, interleaved, joined, parts_dtype

aten = torch.ops.aten


def view_as_complex(dtype: torch.dtype, self: Tensor) -> Pair:
    return Pair(self.select(-1, 0), self.select(-1, 1))


def view_as_real(dtype: torch.dtype, self: Pair) -> Tensor:
    return interleaved(self)


def view_dtype(dtype: torch.dtype, self: Any, target: torch.dtype) -> Any:
    """The same bytes as another type: both parts in turn, or every two numbers as one."""
    if isinstance(self, Pair):
        if target.is_complex:
            return self if target is self.real.dtype.to_complex() else NotImplemented
        return interleaved(self).flatten(-2) if target is self.real.dtype else NotImplemented
    size = self.shape[-1] // 2
    return view_as_complex(dtype, self.reshape(*self.shape[:-1], size, 2)) if target.is_complex else NotImplemented


def to_copy(dtype: torch.dtype, self: Any, /, **options: Any) -> Any:
    """A cast: the real part where the type is real, and whether there is anything but 0 where it is bool."""
    target = options.pop("dtype", None)
    if isinstance(self, Tensor):
        return joined(_cast(self, parts_dtype(target), options), 0)
    if target is None or target.is_complex:
        wanted = None if target is None else parts_dtype(target)
        return Pair(_cast(self.real, wanted, options), _cast(self.imag, wanted, options))
    return _cast(nonzero(self), target, options) if target is torch.bool else _cast(self.real, target, options)


def _cast(part: Tensor, dtype: torch.dtype | None, options: Mapping[str, Any]) -> Tensor:
    given = {name: value for name, value in options.items() if value is not None and name != "layout"}
    result: Tensor = aten._to_copy.default(part, dtype=dtype or part.dtype, **given)
    return result


RULES: Mapping[Any, Callable[..., Any]] = MappingProxyType(
    {
        aten.view_as_complex.default: view_as_complex,
        aten.view_as_complex_copy.default: view_as_complex,
        aten.view_as_real.default: view_as_real,
        aten.view_as_real_copy.default: view_as_real,
        aten.view.dtype: view_dtype,
        aten._to_copy.default: to_copy,
        aten.real.default: lambda dtype, self: self.real,
        aten.imag.default: lambda dtype, self: self.imag,
    }
)
"""The rule of each operator."""
