"""Operators that do the same to both parts: views, copies, choices, sums; and those that fill tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from .pair import Pair, as_pair, parts_dtype

aten = torch.ops.aten

Rule = Callable[..., Any]


def on_parts(target: Any) -> Rule:
    """The rule of an operator that is done to both parts alike; types among the arguments become real."""

    def rule(dtype: torch.dtype, /, *args: Any, **kwargs: Any) -> Any:
        real, imag = (target(*_part(args, index), **_part(kwargs, index)) for index in (0, 1))
        return paired(real, imag)

    return rule


def paired(real: Any, imag: Any) -> Any:
    """A pair, or as many as there are results."""
    if isinstance(real, Tensor):
        return Pair(real, imag)
    return [paired(*both) for both in zip(real, imag, strict=True)]


def filled(target: Any, name: str, default: Any = 0) -> Rule:
    """The rule of an operator that writes a number, its argument of that name, into both parts: 0 into the second."""
    names = [argument.name for argument in target._schema.arguments]

    def rule(dtype: torch.dtype, /, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(names, args, strict=False)) | kwargs
        number = complex(default if given.get(name) is None else given[name])
        plain = [
            target(**_part(given, index) | {name: value}) for index, value in enumerate((number.real, number.imag))
        ]
        return Pair(*plain)

    return rule


def merged(target: Any, *positions: int) -> Rule:
    """The rule of an operator with operands at these positions that may be real, alone or in a list."""

    def rule(dtype: torch.dtype, /, *args: Any, **kwargs: Any) -> Any:
        given = [_pairs(dtype, value) if index in positions else value for index, value in enumerate(args)]
        return on_parts(target)(dtype, *given, **kwargs)

    return rule


def _pairs(dtype: torch.dtype, value: Any) -> Any:
    return [as_pair(dtype, item) for item in value] if isinstance(value, list | tuple) else as_pair(dtype, value)


def _part(arguments: Any, index: int) -> Any:
    """Arguments with one part in the place of every pair, and real types for complex ones."""

    def pick(value: Any) -> Any:
        if isinstance(value, Pair):
            return value.imag if index else value.real
        return parts_dtype(value) if isinstance(value, torch.dtype) else value

    return pytree.tree_map(pick, arguments, is_leaf=lambda value: isinstance(value, Pair))


def masked_fill(dtype: torch.dtype, self: Any, mask: Tensor, value: Any) -> Pair:
    """Numbers, or tensors of no dimension, in the places of a mask."""
    if not isinstance(value, Tensor | Pair):
        result: Pair = filled(aten.masked_fill.Scalar, "value")(dtype, as_pair(dtype, self), mask, value)
        return result
    self, value = as_pair(dtype, self), as_pair(dtype, value)
    return Pair(torch.where(mask, value.real, self.real), torch.where(mask, value.imag, self.imag))


def copy(dtype: torch.dtype, self: Any, src: Any, non_blocking: bool = False) -> Any:
    """The second argument in the shape and type of the first, which alone may be complex."""
    if not isinstance(self, Pair):
        source = src.real if isinstance(src, Pair) else src
        return aten.copy.default(self, source)
    return on_parts(aten.copy.default)(dtype, self, as_pair(dtype, src))


_ALIKE = (
    "alias.default alias_copy.default chunk.default clone.default contiguous.default "
    "cumsum.default detach.default detach_copy.default diagonal.default diagonal_copy.default "
    "diagonal_scatter.default expand.default "
    "expand_copy.default flip.default gather.default index.Tensor _unsafe_index.Tensor index_select.default "
    "index_add.default index_put.default _unsafe_index_put.default lift_fresh_copy.default "
    "mean.default mean.dim narrow.default narrow_copy.default permute.default permute_copy.default "
    "pixel_shuffle.default pixel_unshuffle.default repeat.default repeat_interleave.self_int "
    "repeat_interleave.self_Tensor reshape.default roll.default scatter.src scatter_add.default "
    "select.int select_copy.int select_scatter.default slice.Tensor slice_copy.Tensor slice_scatter.default "
    "split.Tensor split_with_sizes.default split_with_sizes_copy.default squeeze.default squeeze.dim squeeze.dims "
    "sum.default sum.dim_IntList t.default take.default trace.default transpose.int transpose_copy.int tril.default "
    "triu.default unbind.int unbind_copy.int unflatten.int unfold.default unfold_copy.default unsafe_chunk.default "
    "unsafe_split.Tensor unsqueeze.default unsqueeze_copy.default view.default view_copy.default "
    "_unsafe_view.default zeros_like.default empty_like.default empty.memory_format empty_strided.default "
    "empty_permuted.default new_empty.default new_empty_strided.default new_zeros.default zeros.default "
    "reflection_pad1d.default reflection_pad2d.default reflection_pad3d.default replication_pad1d.default "
    "replication_pad2d.default replication_pad3d.default movedim.int"
)

_FILLING = {
    "constant_pad_nd.default": "value",
    "fill.Scalar": "value",
    "full.default": "fill_value",
    "full_like.default": "fill_value",
    "new_full.default": "fill_value",
    "nonzero_static.default": "fill_value",
    "pad.default": "value",
    "scalar_tensor.default": "s",
    "scatter.value": "value",
}


def _overload(name: str) -> Any:
    packet, overload = name.split(".")
    return getattr(getattr(aten, packet), overload)


READ_MEMORY = frozenset({aten.as_strided.default, aten.as_strided_copy.default})
"""Operators that count in the memory of their tensor, which for both parts of numbers is alike if it is in order."""


def _in_memory(target: Any) -> Rule:
    def rule(dtype: torch.dtype, /, self: Pair, *where: Any) -> Any:
        return Pair(*(target(part.contiguous(), *where) for part in (self.real, self.imag)))

    return rule


RULES: Mapping[Any, Rule] = MappingProxyType(
    {
        **{target: _in_memory(target) for target in READ_MEMORY},
        **{_overload(name): on_parts(_overload(name)) for name in _ALIKE.split()},
        **{_overload(name): filled(_overload(name), number) for name, number in _FILLING.items()},
        aten.ones_like.default: lambda dtype, self, /, **options: filled(aten.full_like.default, "fill_value")(
            dtype, self, 1, **options
        ),
        aten.cat.default: merged(aten.cat.default, 0),
        aten.stack.default: merged(aten.stack.default, 0),
        aten.where.self: merged(aten.where.self, 1, 2),
        aten.masked_fill.Scalar: masked_fill,
        aten.masked_fill.Tensor: masked_fill,
        aten.copy.default: copy,
    }
)
"""The rule of each operator."""
