"""Where the elements of a view lie in the memory of the tensor that it is a view of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from ...compiler.ir.symbols import same_size


@dataclass(frozen=True)
class Mode:
    """`size` steps of `stride` elements each."""

    size: Any
    stride: Any


@dataclass(frozen=True)
class Layout:
    """A view: every dimension is a sequence of modes, of which the last moves first; plus an offset in elements.

    Unlike strides, this holds for dimensions that were merged though their elements are not evenly apart. Sizes may be
    symbolic. Methods return None for what they cannot tell.
    """

    dims: tuple[tuple[Mode, ...], ...]
    offset: Any = 0

    @classmethod
    def contiguous(cls, shape: Sequence[Any]) -> Layout:
        """The layout of a tensor itself."""
        strides = [prod(shape[dim + 1 :]) for dim in range(len(shape))]
        return cls(tuple(_modes(size, stride) for size, stride in zip(shape, strides, strict=True)))

    @property
    def shape(self) -> tuple[Any, ...]:
        """The size of every dimension."""
        return tuple(prod(mode.size for mode in dim) for dim in self.dims)

    def permute(self, order: Sequence[int]) -> Layout:
        """Dimensions in another order."""
        return replace(self, dims=tuple(self.dims[dim] for dim in order))

    def transpose(self, first: int, second: int) -> Layout:
        """Two dimensions exchanged."""
        order = list(range(len(self.dims)))
        order[first], order[second] = order[second], order[first]
        return self.permute(order)

    def narrow(self, dim: int, start: Any, size: Any) -> Layout | None:
        """`size` elements of a dimension, from `start`."""
        if len(self.dims[dim]) > 1:
            return None
        if not self.dims[dim]:
            return self if same_size(size, 1) else None
        (mode,) = self.dims[dim]
        place = dim % len(self.dims)
        dims = (*self.dims[:place], _modes(size, mode.stride), *self.dims[place + 1 :])
        return Layout(dims, self.offset + start * mode.stride)

    def select(self, dim: int, index: int) -> Layout | None:
        """One element of a dimension, without the dimension."""
        part, place = self.narrow(dim, index, 1), dim % len(self.dims)
        return None if part is None else replace(part, dims=(*part.dims[:place], *part.dims[place + 1 :]))

    def view(self, shape: Sequence[Any]) -> Layout | None:
        """The elements in order in another shape."""
        if _is_empty(shape) or _is_empty(self.shape):
            return Layout.contiguous(shape) if _is_empty(shape) and _is_empty(self.shape) else None
        left = [mode for dim in self.dims for mode in dim]
        dims = []
        for size in shape:
            taken = _take(left, size)
            if taken is None:
                return None
            dims.append(taken)
        return None if left else replace(self, dims=tuple(dims))


def _is_empty(shape: Sequence[Any]) -> bool:
    return any(isinstance(size, int) and size == 0 for size in shape)


def _modes(size: Any, stride: Any) -> tuple[Mode, ...]:
    return () if same_size(size, 1) else (Mode(size, stride),)


def _take(left: list[Mode], size: Any) -> tuple[Mode, ...] | None:
    """Remove modes of `size` elements in all from the front, the last of them split if need be."""
    taken: list[Mode] = []
    missing = size
    while not same_size(missing, 1):
        if not left:
            return None
        mode = left.pop(0)
        if _divides(missing, mode.size):
            inner = mode.size // missing
            taken.append(Mode(missing, mode.stride * inner))
            left[:0] = _modes(inner, mode.stride)
            break
        if not _divides(mode.size, missing):
            return None
        taken.append(mode)
        missing = missing // mode.size
    return tuple(taken)


def _divides(divisor: Any, size: Any) -> bool:
    """Whether a size is known to be a multiple of another, for all values of their symbols."""
    return same_size((size // divisor) * divisor, size)
