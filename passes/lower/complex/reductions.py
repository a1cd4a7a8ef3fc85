"""Reductions of complex tensors that are not linear: products, norms, variances, and whether any or all are not 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from .arithmetic import absolute, mul, nonzero, sub
from .moves import on_parts
from .pair import Pair, as_pair, typed

aten = torch.ops.aten

_LONGEST = 1024
"""How many numbers are multiplied with each other in one reduction at most, in log2 of that many steps."""


def prod(dtype: torch.dtype, self: Any, /, dim: int | None = None, keepdim: bool = False, **options: Any) -> Any:
    """The product along a dimension, or of all numbers: halves are multiplied until one number is left."""
    value = as_pair(dtype, self)
    if dim is None:
        value, dim = on_parts(aten.reshape.default)(dtype, value, [-1]), 0
    value = on_parts(torch.movedim)(dtype, value, dim, 0) if value.real.dim() else _on_top(value)
    length = value.real.shape[0]
    if not isinstance(length, int) or length > _LONGEST:
        return NotImplemented
    if length == 0:
        ones = torch.ones_like(value.real.sum(0, keepdim=True))
        value, length = Pair(ones, torch.zeros_like(ones)), 1
    while length > 1:
        half = length // 2
        head = Pair(value.real[:half], value.imag[:half])
        product = mul(dtype, head, Pair(value.real[half : 2 * half], value.imag[half : 2 * half]))
        odd = length % 2
        real = torch.cat([product.real, value.real[2 * half :]]) if odd else product.real
        imag = torch.cat([product.imag, value.imag[2 * half :]]) if odd else product.imag
        value, length = Pair(real, imag), half + odd
    result = Pair(value.real[0], value.imag[0])
    return on_parts(torch.unsqueeze)(dtype, result, dim) if keepdim else result


def cumprod(dtype: torch.dtype, self: Any, /, dim: int, **options: Any) -> Any:
    """The products of the numbers up to each place: of 1, 2, 4, … numbers (W. Hillis, G. Steele, 1986)."""
    value = as_pair(dtype, self)
    if not value.real.dim():
        return value
    length = value.real.shape[dim]
    if not isinstance(length, int) or length > _LONGEST:
        return NotImplemented
    step = 1
    while step < length:
        head = on_parts(torch.narrow)(dtype, value, dim, 0, step)
        late = on_parts(torch.narrow)(dtype, value, dim, step, length - step)
        early = on_parts(torch.narrow)(dtype, value, dim, 0, length - step)
        product = mul(dtype, late, early)
        value = Pair(torch.cat([head.real, product.real], dim), torch.cat([head.imag, product.imag], dim))
        step *= 2
    return value


def vector_norm(dtype: torch.dtype, self: Pair, /, *args: Any, **options: Any) -> Tensor:
    """The norm of the absolute values."""
    given = {name: value for name, value in options.items() if name != "dtype"}
    norm: Tensor = torch.linalg.vector_norm(absolute(dtype, typed(dtype, self)), *args, **given)
    return norm


def dist(dtype: torch.dtype, self: Any, other: Any, p: Any = 2) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(absolute(dtype, sub(dtype, self, other)).flatten(), p)
    return norm


def var(dtype: torch.dtype, self: Pair, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> Tensor:
    """The mean square of the distances from the mean: that of the real parts and that of the imaginary ones."""
    dims = _dims(self, dim)
    correction = 1 if correction is None else correction
    both = [aten.var.correction(part, dims, correction=correction, keepdim=keepdim) for part in _both(self)]
    total: Tensor = both[0] + both[1]
    return total


def var_mean(dtype: torch.dtype, self: Pair, /, dim: Any = None, **options: Any) -> tuple[Tensor, Pair]:
    mean = on_parts(aten.mean.dim)(dtype, self, _dims(self, dim), options.get("keepdim", False))
    return var(dtype, self, dim, **options), mean


def std(dtype: torch.dtype, self: Pair, /, dim: Any = None, **options: Any) -> Tensor:
    return torch.sqrt(var(dtype, self, dim, **options))


def std_mean(dtype: torch.dtype, self: Pair, /, dim: Any = None, **options: Any) -> tuple[Tensor, Pair]:
    variance, mean = var_mean(dtype, self, dim, **options)
    return torch.sqrt(variance), mean


def _std_dim(dtype: torch.dtype, self: Pair, dim: Any, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    return std(dtype, self, dim, correction=int(unbiased), keepdim=keepdim)


def _dims(value: Pair, dim: Any) -> Sequence[int]:
    if dim is None or dim == []:
        return list(range(value.real.dim()))
    return [dim] if isinstance(dim, int) else dim


def _both(value: Pair) -> tuple[Tensor, Tensor]:
    return value.real, value.imag


def _on_top(value: Pair) -> Pair:
    return Pair(value.real.unsqueeze(0), value.imag.unsqueeze(0))


def _of_nonzero(target: Any) -> Callable[..., Any]:
    return lambda dtype, self, /, *args, **options: target(nonzero(self), *args, **options)


RULES: Mapping[Any, Callable[..., Any]] = MappingProxyType(
    {
        aten.prod.default: lambda dtype, self, /, **options: prod(dtype, self),
        aten.prod.dim_int: prod,
        aten.cumprod.default: cumprod,
        aten.linalg_vector_norm.default: vector_norm,
        aten.dist.default: dist,
        aten.var.correction: var,
        aten.var_mean.correction: var_mean,
        aten.std.correction: std,
        aten.std_mean.correction: std_mean,
        aten.std.dim: _std_dim,
        **{
            target: _of_nonzero(target)
            for target in (
                *(aten.any.default, aten.any.dim, aten.any.dims, aten.all.default, aten.all.dim, aten.all.dims),
                *(aten.nonzero.default, aten.count_nonzero.default, aten.count_nonzero.dim_IntList),
            )
        },
    }
)
"""The rule of each operator."""
