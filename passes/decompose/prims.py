"""`prims` operators, which PyTorch's own decompositions leave behind, as the ATen operators that they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

_SAME = (
    "abs acos acosh asin asinh atan atanh bitwise_not ceil cos cosh digamma erf erfc exp exp2 expm1 floor isfinite "
    "lgamma log log10 log1p log2 neg reciprocal round rsqrt sign signbit sin sinh sqrt tan tanh trunc add sub "
    "mul atan2 bitwise_and bitwise_or bitwise_xor eq ne lt le gt ge fmax fmin fmod hypot "
    "maximum minimum pow remainder where"
)
"""Operators that PyTorch's function of the same name computes: their operands have one dtype, which stays."""


def rules() -> Mapping[Any, Callable[..., Any]]:
    """The rule of each operator that has one here, by its default overload."""
    found: dict[str, Callable[..., Any]] = {name: getattr(torch, name) for name in _SAME.split()}
    found |= {
        "amax": _reduction(torch.amax),
        "amin": _reduction(torch.amin),
        "broadcast_in_dim": _broadcast_in_dim,
        "cat": lambda tensors, dim: torch.cat(list(tensors), dim),
        "cbrt": lambda a: torch.sign(a) * torch.abs(a) ** (1 / 3),
        "clone": lambda a, *, memory_format=None: torch.clone(a, memory_format=memory_format or torch.preserve_format),
        "collapse": _collapse,
        "collapse_view": _collapse,
        "convert_element_type": lambda a, dtype: a.to(dtype),
        "device_put": _device_put,
        "div": _div,
        "full": lambda shape, value, *, dtype, device, requires_grad: torch.full(
            shape, value, dtype=dtype, device=device
        ),
        "full_like": lambda a, value, *, dtype, device, requires_grad: torch.full_like(
            a, value, dtype=dtype, device=device
        ),
        "iota": _iota,
        "prod": _prod,
        "reshape": lambda a, shape: a.reshape(shape),
        "rev": torch.flip,
        "shift_left": torch.bitwise_left_shift,
        "shift_right_arithmetic": torch.bitwise_right_shift,
        "split_dim": lambda a, dim, outer: a.reshape(*a.shape[:dim], outer, a.shape[dim] // outer, *a.shape[dim + 1 :]),
        "squeeze": lambda a, dims: a.squeeze(tuple(dims)),
        "sum": _sum,
        "transpose": lambda a, order: a.permute(order),
        "var": _var,
        "view_of": lambda a: a.view(a.shape),
    }
    return {getattr(torch.ops.prims, name).default: rule for name, rule in found.items()}


def _reduced(a: Tensor, dims: Sequence[int] | None) -> list[int]:
    return list(range(a.dim())) if dims is None else list(dims)


def _reduction(function: Callable[..., Tensor]) -> Callable[..., Any]:
    def rule(a: Tensor, dims: Sequence[int] | None, *, output_dtype: torch.dtype | None = None) -> Any:
        found = _reduced(a, dims)
        if not found:
            return NotImplemented
        result = function(a, found)
        return result if output_dtype is None else result.to(output_dtype)

    return rule


def _sum(a: Tensor, dims: Sequence[int] | None, *, output_dtype: torch.dtype | None = None) -> Any:
    found = _reduced(a, dims)
    if _is_ambiguous(a, found, output_dtype):
        return NotImplemented
    return torch.sum(a, found, dtype=output_dtype or a.dtype)


def _is_ambiguous(a: Tensor, dims: Sequence[int], output_dtype: torch.dtype | None) -> bool:
    """Whether PyTorch computes something else than it says: integers become int64, and no dimensions are all."""
    return not dims or (output_dtype is None and not a.dtype.is_floating_point)


def _prod(a: Tensor, dims: Sequence[int] | None, *, output_dtype: torch.dtype | None = None) -> Any:
    if _is_ambiguous(a, _reduced(a, dims), output_dtype):
        return NotImplemented
    for dim in sorted(_reduced(a, dims), reverse=True):
        a = torch.prod(a, dim, dtype=output_dtype or a.dtype)
    return a if output_dtype is None else a.to(output_dtype)


def _var(
    a: Tensor, dims: Sequence[int] | None, correction: float = 1, *, output_dtype: torch.dtype | None = None
) -> Any:
    found = _reduced(a, dims)
    if not found:
        return NotImplemented
    result = torch.var(a, found, correction=correction)
    return result if output_dtype is None else result.to(output_dtype)


def _div(a: Tensor, b: Tensor) -> Tensor:
    """Of integers the quotient rounded toward zero."""
    if a.dtype.is_floating_point or a.dtype.is_complex:
        return torch.div(a, b)
    return torch.div(a, b, rounding_mode="trunc")


def _broadcast_in_dim(a: Tensor, shape: Sequence[Any], dims: Sequence[int]) -> Tensor:
    """Dimension i of `a` becomes dimension dims[i] of the result; the others are new."""
    sizes: list[Any] = [1] * len(shape)
    for size, dim in zip(a.shape, dims, strict=True):
        sizes[dim] = size
    return a.reshape(sizes).expand(list(shape))


def _collapse(a: Tensor, start: int, end: int) -> Tensor:
    """Dimensions `start` to `end`, that one too, as one; of a 0-d tensor a vector."""
    return a.reshape(1) if not a.dim() else torch.flatten(a, start, end)


def _device_put(a: Tensor, device: Any, non_blocking: bool = False) -> Any:
    return a.clone() if torch.device(device) == a.device else NotImplemented


def _iota(length: Any, *, start: Any, step: Any, dtype: torch.dtype, device: Any, requires_grad: bool) -> Tensor:
    return torch.arange(start, start + length * step, step, dtype=dtype, device=device)
