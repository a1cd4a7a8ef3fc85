"""Complex tensors as pairs of real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..values import same_sizes

Number: TypeAlias = int | float | complex | bool


@dataclass(frozen=True)
class Pair:
    """A complex tensor as its real and imaginary parts: two real tensors of one shape and type.

    Two tensors rather than a last dimension of two: dimensions keep their numbers, so that most operators are done to
    both parts as they are, and no kernel reduces over two elements or reads every second one.
    """

    real: Tensor
    imag: Tensor

    def to(self, dtype: torch.dtype) -> Pair:
        """Both parts in another real type."""
        return self if self.real.dtype is dtype else Pair(self.real.to(dtype), self.imag.to(dtype))


Operand: TypeAlias = Pair | Tensor | Number
"""What arithmetic takes: complex or real, a tensor or a number. `Any` for what PyTorch's operators give."""


def parts(value: Any) -> tuple[Any, Any]:
    """The real and imaginary part of an operand: tensors or numbers, or None for a part that it has not."""
    if isinstance(value, Pair):
        return value.real, value.imag
    if isinstance(value, complex):
        return (None, value.imag) if value.real == 0 and value.imag != 0 else (value.real, value.imag or None)
    return value, None


def typed(dtype: torch.dtype, value: Any) -> Any:
    """An operand with its tensors in a real type."""
    return value.to(dtype) if isinstance(value, Pair | Tensor) and _dtype(value) is not dtype else value


def _dtype(value: Pair | Tensor) -> torch.dtype:
    return value.real.dtype if isinstance(value, Pair) else value.dtype


def joined(real: Any, imag: Any) -> Pair:
    """A pair of two parts, of which one may be a number or None, both with the shape that they broadcast to."""
    if not isinstance(real, Tensor):
        return Pair(torch.full_like(imag, float(real or 0)), imag)
    if not isinstance(imag, Tensor):
        return Pair(real, torch.full_like(real, float(imag or 0)))
    if same_sizes(real.shape, imag.shape):
        return Pair(real, imag)
    shape: Any = torch.broadcast_shapes(real.shape, imag.shape)  # type: ignore[no-untyped-call]
    return Pair(*(part if same_sizes(part.shape, shape) else part.expand(shape) for part in (real, imag)))


def as_pair(dtype: torch.dtype, value: Any) -> Pair:
    """A real or complex tensor as a pair of parts of a real type."""
    value = typed(dtype, value)
    return value if isinstance(value, Pair) else joined(value, None)


def parts_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type of a complex type's parts; any other type as it is."""
    return dtype.to_real() if dtype.is_complex else dtype


def interleaved(value: Pair) -> Tensor:
    """The parts in a last dimension of two, as `view_as_real` gives them."""
    return torch.cat([value.real.unsqueeze(-1), value.imag.unsqueeze(-1)], -1)
