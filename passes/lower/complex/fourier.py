"""Fourier transforms as products with constant matrices, split into shorter ones where they are long.

A transform of n = a b numbers is b transforms of a numbers, a factor for each, and a transforms of b numbers
(J. Cooley, J. Tukey, 1965). All factors are computed in float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ....compiler.ir.expanded_call import NotExpandable
from .arithmetic import mul
from .constants import Constants
from .moves import on_parts
from .pair import Pair

aten = torch.ops.aten

TRANSFORMS = frozenset({aten._fft_c2c.default, aten._fft_r2c.default, aten._fft_c2r.default})

_OPERATIONS = 8
"""Additions and multiplications of a product of complex numbers and the sum that it goes to."""

_STEP = 1500
"""What moving a complex number through memory once more, for a further step, costs in such operations on a GPU."""

_LONGEST = 4096
"""The longest transform that is one product: its matrix of float32 takes 128 MiB."""


@functools.cache
def factors_of(length: int) -> tuple[int, int] | None:
    """How to split a transform of that length in two: the factors, the smaller one first; None for one product.

    One product takes 8 n operations per number; two take 8 (a + b), and the numbers move once more.
    """
    small = next((a for a in range(math.isqrt(length), 1, -1) if length % a == 0), None)
    if small is None:
        return None
    split = _cost(small) + _cost(length // small) + _STEP
    return (small, length // small) if split < _OPERATIONS * length or length > _LONGEST else None


def _cost(length: int) -> int:
    factors = factors_of(length)
    return _OPERATIONS * length if factors is None else sum(map(_cost, factors)) + _STEP


def check_length(length: Any) -> int:
    """A length as a number.

    Raises:
        NotExpandable: it varies, or it is so long that the matrix of one of its prime factors takes too much memory.
    """
    if not isinstance(length, int):
        raise NotExpandable(f"the length {length} of the Fourier transform varies")
    factors = factors_of(length)
    if factors is None and length > _LONGEST:
        raise NotExpandable(f"a Fourier transform of prime length {length} would need too large a matrix")
    for factor in factors or ():
        check_length(factor)
    return length


@dataclass(frozen=True)
class Fourier:
    """The rules of one program's transforms, whose matrices are constants of the program."""

    constants: Constants

    def rules(self) -> Mapping[Any, Callable[..., Any]]:
        """The rule of each operator."""
        return MappingProxyType(
            {aten._fft_c2c.default: self.c2c, aten._fft_r2c.default: self.r2c, aten._fft_c2r.default: self.c2r}
        )

    def c2c(self, dtype: torch.dtype, input: Pair, dim: Sequence[int], normalization: int, forward: bool) -> Pair:
        """Complex to complex along dimensions."""
        lengths = [check_length(input.real.shape[axis]) for axis in dim]
        scale, value = _scale(lengths, normalization), input
        for axis, length in zip(dim, lengths, strict=True):
            value, scale = self._along(dtype, value, axis, length, -1 if forward else 1, scale), 1.0
        return value

    def r2c(self, dtype: torch.dtype, input: Tensor, dim: Sequence[int], normalization: int, onesided: bool) -> Pair:
        """Real to complex; of the last dimension in the list, half is computed if `onesided`."""
        lengths = [check_length(input.shape[axis]) for axis in dim]
        last = lengths[-1]
        moved = input.movedim(dim[-1], -1)
        kept = last // 2 + 1 if onesided else last
        result = self._forward_real(dtype, moved, last, kept, _scale(lengths, normalization))
        result = on_parts(torch.movedim)(dtype, result, -1, dim[-1])
        return self.c2c(dtype, result, dim[:-1], 0, True) if len(dim) > 1 else result

    def c2r(
        self, dtype: torch.dtype, input: Pair, dim: Sequence[int], normalization: int, last_dim_size: int
    ) -> Tensor:
        """The inverse: complex to real; the last dimension in the list holds half of the numbers."""
        last = check_length(last_dim_size)
        lengths = [*(check_length(input.real.shape[axis]) for axis in dim[:-1]), last]
        value = self.c2c(dtype, input, dim[:-1], 0, False) if len(dim) > 1 else input
        moved = on_parts(torch.movedim)(dtype, value, dim[-1], -1)
        result = self._inverse_real(dtype, moved, last, _scale(lengths, normalization))
        return result.movedim(-1, dim[-1])

    # --- one dimension ---------------------------------------------------------------------------------------------
    def _along(self, dtype: torch.dtype, value: Pair, axis: int, length: int, sign: int, scale: float) -> Pair:
        moved = on_parts(torch.movedim)(dtype, value, axis, -1)
        result: Pair = on_parts(torch.movedim)(dtype, self._last(dtype, moved, length, sign, scale), -1, axis)
        return result

    def _last(self, dtype: torch.dtype, value: Pair, length: int, sign: int, scale: float = 1.0) -> Pair:
        """A transform along the last dimension."""
        factors = factors_of(length)
        if factors is None:
            return _times(dtype, value, self._matrix(dtype, length, length, sign, scale))
        a, b = factors
        turned = self._first_step(dtype, value, a, b, sign)
        return _flat(self._second_step(dtype, turned, b, b, sign, scale))

    def _first_step(self, dtype: torch.dtype, value: Any, a: int, b: int, sign: int) -> Pair:
        """Transforms over the a numbers at distance b, times a factor each: [..., a b] becomes [..., b, a]."""
        rows = _both(value, lambda part: part.reshape(*part.shape[:-1], a, b).transpose(-1, -2))
        if isinstance(rows, Pair):
            rows = self._last(dtype, rows, a, sign)
        else:
            rows = self._forward_real(dtype, rows, a, a, 1.0, sign)
        return mul(dtype, rows, self._turns(dtype, a, b, sign))

    def _second_step(self, dtype: torch.dtype, value: Pair, b: int, kept: int, sign: int, scale: float) -> Pair:
        """Transforms over the second last dimension, of which the first results are kept."""
        if factors_of(b) is None:
            matrix = self._matrix(dtype, b, kept, sign, scale)
            return _times(dtype, value, _both(matrix, lambda part: part.transpose(0, 1)), left=True)
        turned = _both(value, lambda part: part.transpose(-1, -2))
        full = self._last(dtype, turned, b, sign, scale)
        return Pair(*(part.transpose(-1, -2)[..., :kept, :] for part in (full.real, full.imag)))

    def _forward_real(
        self, dtype: torch.dtype, value: Tensor, length: int, kept: int, scale: float, sign: int = -1
    ) -> Pair:
        """The first numbers of the transform of real ones along the last dimension."""
        factors = factors_of(length)
        if factors is None:
            matrix = self._matrix(dtype, length, kept, sign, scale)
            return Pair(value @ matrix.real, value @ matrix.imag)
        a, b = factors
        turned = self._first_step(dtype, value, a, b, sign)
        flat = _flat(self._second_step(dtype, turned, b, -(-kept // a), sign, scale))
        return Pair(flat.real[..., :kept], flat.imag[..., :kept])

    def _inverse_real(self, dtype: torch.dtype, value: Pair, length: int, scale: float) -> Tensor:
        """Real numbers of the first half of their transform; imaginary parts of what is real are ignored."""
        kept = length // 2 + 1
        value = _both(value, lambda part: part[..., :kept])
        factors = factors_of(length)
        if factors is None:
            matrix = self._half_matrix(dtype, length, scale)
            return value.real @ matrix.real + value.imag @ matrix.imag
        a, b = factors
        mirrored = _both(value, lambda part: part[..., 1 : (length + 1) // 2].flip(-1))
        full = Pair(torch.cat([value.real, mirrored.real], -1), torch.cat([value.imag, -mirrored.imag], -1))
        turned = self._first_step(dtype, full, a, b, 1)
        if factors_of(b) is not None:
            return _flat(self._second_step(dtype, turned, b, b, 1, scale)).real
        matrix = self._matrix(dtype, b, b, 1, scale)
        return (matrix.real @ turned.real - matrix.imag @ turned.imag).flatten(-2)

    # --- constants -------------------------------------------------------------------------------------------------
    def _matrix(self, dtype: torch.dtype, length: int, kept: int, sign: int, scale: float) -> Pair:
        """exp(sign 2 pi i j k / length) times a scale, at [j, k], for the first numbers k."""
        return self._constant(
            "dft", (dtype, length, kept, sign, scale), lambda: _roots(length, length, kept, sign), scale
        )

    def _turns(self, dtype: torch.dtype, a: int, b: int, sign: int) -> Pair:
        """exp(sign 2 pi i j k / (a b)) at [j, k], for b numbers j and a numbers k."""
        return self._constant("twiddle", (dtype, a, b, sign), lambda: _roots(a * b, b, a, sign), 1.0)

    def _half_matrix(self, dtype: torch.dtype, length: int, scale: float) -> Pair:
        """What the real parts and the imaginary parts of half a transform are multiplied by to get real numbers."""

        def make() -> Tensor:
            half = _roots(length, length // 2 + 1, length, 1)
            weights = torch.full((length // 2 + 1, 1), 2.0, dtype=torch.float64)
            weights[0] = 1.0
            if length % 2 == 0:
                weights[-1] = 1.0
            return torch.complex(half.real * weights, -half.imag * weights)

        return self._constant("inverse_dft", (dtype, length, scale), make, scale)

    def _constant(self, name: str, key: tuple[Any, ...], make: Callable[[], Tensor], scale: float) -> Pair:
        dtype = key[0]
        return Pair(
            self.constants.tensor(f"{name}_real", (name, 0, *key), lambda: (make().real * scale).to(dtype)),
            self.constants.tensor(f"{name}_imag", (name, 1, *key), lambda: (make().imag * scale).to(dtype)),
        )


def _roots(length: int, rows: int, columns: int, sign: int) -> Tensor:
    """exp(sign 2 pi i j k / length) in complex128, with exact zeros and ones at quarters of a turn."""
    places = torch.outer(torch.arange(rows), torch.arange(columns)) % length
    angles = places.to(torch.float64) * (2 * math.pi / length)
    cosine, sine = torch.cos(angles), torch.sin(angles)
    quarters = places * 4 % length == 0
    return torch.complex(
        torch.where(quarters, cosine.round(), cosine), sign * torch.where(quarters, sine.round(), sine)
    )


def _times(dtype: torch.dtype, value: Pair, matrix: Pair, left: bool = False) -> Pair:
    """The product of a value and a matrix, which stands left or right of it."""
    product: Callable[[Tensor, Tensor], Tensor] = (lambda x, m: m @ x) if left else (lambda x, m: x @ m)
    real = product(value.real, matrix.real) - product(value.imag, matrix.imag)
    return Pair(real, product(value.real, matrix.imag) + product(value.imag, matrix.real))


def _both(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return Pair(change(value.real), change(value.imag)) if isinstance(value, Pair) else change(value)


def _flat(value: Pair) -> Pair:
    return Pair(value.real.flatten(-2), value.imag.flatten(-2))


def _scale(lengths: Sequence[int], normalization: int) -> float:
    """What PyTorch's kernels multiply by: 1, 1 / sqrt(n) or 1 / n, for n numbers."""
    count = math.prod(lengths)
    return (1.0, 1 / math.sqrt(count), 1 / count)[normalization]
