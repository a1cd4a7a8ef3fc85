"""Operators on halves computed in float32 between casts, which is what PyTorch does inside of its own operators.

A converter makes several layers of one operator. Halves between them would be rounded after each, and what is large on
the way (the variance before its root, a product before its scale) would overflow.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch.utils import _pytree as pytree

from ..ir.call import Call
from ..ir.dtypes import HALVES
from . import arithmetic as ar
from .tensor import Tensor

if TYPE_CHECKING:
    from .context import ConverterContext

Convert = TypeVar("Convert", bound="Callable[[ConverterContext, Call], Any]")


@dataclass(frozen=True, eq=False)
class _WideCall(Call):
    """A call as it would be if its halves were float32: the fake tensors that it takes and yields."""

    def value(self, name: str) -> Any:
        return _widened(super().value(name))

    @property
    def out(self) -> Any:
        return _widened(super().out)


def _widened(value: Any) -> Any:
    return pytree.tree_map_only(torch.Tensor, lambda item: item.float() if item.dtype in HALVES else item, value)


def in_float32(convert: Convert) -> Convert:
    """A converter that computes halves in float32: its operands are cast before, and its results after.

    It sees the call, and through the context the operands, as if they were float32 all along. Calls without halves are
    left to it as they are.
    """

    @functools.wraps(convert)
    def wide(ctx: ConverterContext, call: Call) -> Any:
        outs = call.out if isinstance(call.out, tuple | list) else (call.out,)
        halves = [node for node in call.node.all_input_nodes if _is_half(node.meta.get("val"))]
        if not halves and not any(map(_is_half, outs)):
            return convert(ctx, call)
        with ctx.widened(halves):
            results = convert(ctx, _WideCall(call.node))
        if not isinstance(results, tuple):
            return _narrowed(ctx, results, outs[0])
        return tuple(_narrowed(ctx, result, out) for result, out in zip(results, outs, strict=True))

    return cast(Convert, wide)


def _is_half(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype in HALVES


def _narrowed(ctx: ConverterContext, result: Tensor | None, out: Any) -> Tensor | None:
    return ar.cast(ctx, result, out.dtype, "narrow") if result is not None and _is_half(out) else result
