"""Loops: a body that TensorRT repeats, however many iterations there are, so that networks stay small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..ir.symbols import Dim
from .shapes import reshape
from .tensor import Tensor

if TYPE_CHECKING:
    from .context import ConverterContext


class Loop:
    """A loop under construction: layers that depend on `carried` or `element` values run once per iteration.

    Args:
        ctx: the context of the network.
        count: the number of iterations, a number or an expression; None for a loop that `continues_while` ends.
    """

    def __init__(self, ctx: ConverterContext, count: Dim | None = None) -> None:
        self._ctx, self._trt = ctx, ctx.trt
        self._loop: Any = ctx.network.add_loop()
        self._count: Dim | None = count
        self._limit = None if count is None else _scalar(ctx, count)
        self._recurrences: dict[str, Any] = {}
        if self._limit is not None:
            ctx.enter(self._loop.add_trip_limit(self._limit.trt, self._trt.TripLimit.COUNT), "count")

    def continues_while(self, condition: Tensor) -> None:
        """Make an iteration run only while a 0-d bool, computed from carried values, is True."""
        self._ctx.enter(self._loop.add_trip_limit(condition.trt, self._trt.TripLimit.WHILE), "while")

    def carried(self, initial: Tensor, role: str = "state") -> Tensor:
        """A value that goes from one iteration to the next: before the first one it is `initial`."""
        layer = self._loop.add_recurrence(initial.trt)
        state = self._ctx.emit(layer, initial.shape, role)
        self._recurrences[state.trt.name] = layer
        return state

    def carry(self, state: Tensor, following: Tensor) -> None:
        """Set what a carried value is in the next iteration: a tensor of the same dtype and shape."""
        self._recurrences[state.trt.name].set_input(1, following.trt)

    def element(self, x: Tensor, axis: int = 0, *, reverse: bool = False, role: str = "element") -> Tensor:
        """The iteration's slice of a tensor, without the dimension `axis`; the last one first if `reverse`."""
        layer = self._loop.add_iterator(x.trt, axis, reverse)
        return self._ctx.emit(layer, (*x.shape[:axis], *x.shape[axis + 1 :]), role)

    def last(self, state: Tensor, role: str = "last") -> Tensor:
        """A carried value after the last iteration."""
        layer = self._loop.add_loop_output(state.trt, self._trt.LoopOutput.LAST_VALUE, 0)
        return self._ctx.emit(layer, state.shape, role)

    def collected(self, x: Tensor, axis: int = 0, *, reverse: bool = False, role: str = "all") -> Tensor:
        """The values of all iterations of a counted loop, along a new dimension; the last one first if `reverse`."""
        assert self._limit is not None, "only a counted loop knows how many values there are"
        kinds = self._trt.LoopOutput
        layer = self._loop.add_loop_output(x.trt, kinds.REVERSE if reverse else kinds.CONCATENATE, axis)
        layer.set_input(1, self._limit.trt)
        return self._ctx.emit(layer, (*x.shape[:axis], self._count, *x.shape[axis:]), role)


def _scalar(ctx: ConverterContext, count: Dim) -> Tensor:
    """A number of iterations as TensorRT takes it, a 0-d int32."""
    if isinstance(count, int):
        return ctx.scalar(count, torch.int32)
    size = reshape(ctx, ctx.sizes.tensor(count), (), "count")
    return ctx.emit(ctx.network.add_cast(size.trt, ctx.data_type(torch.int32)), (), "count")


def stacked(ctx: ConverterContext, parts: Sequence[Tensor], role: str = "stack") -> Tensor:
    """Tensors of one shape along a new first dimension."""
    from .shapes import concatenate, unsqueeze

    return concatenate(ctx, [unsqueeze(ctx, part, 0, "row") for part in parts], 0, role)
