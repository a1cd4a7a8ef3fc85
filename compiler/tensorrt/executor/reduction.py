"""Layers that combine or order the elements along axes: reduce, top-k, softmax, cumulative."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .call import Call, Handler, axes_of_mask


def reduce(call: Call) -> tuple[Tensor, ...]:
    x, operation = call.wide(0), call.handle.op.name
    axes, keep = axes_of_mask(call.handle.axes), call.handle.keep_dims
    if operation == "SUM":
        return (torch.sum(x, axes, keepdim=keep, dtype=x.dtype),)
    if operation == "AVG":
        return (_average(x, axes, keep),)
    if operation == "PROD":
        for axis in reversed(axes):
            x = torch.prod(x, axis, keepdim=keep, dtype=x.dtype)
        return (x,)
    if operation in ("MAX", "MIN"):
        return (_extreme(x, axes, keep, largest=operation == "MAX"),)
    raise call.error(f"the reduction {operation} is not supported by the reference executor")


def _average(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return torch.mean(x, axes, keepdim=keep)
    # NvInfer.h gives 0 for the average of no integers; quotients truncate like those of DIV (measured).
    count = torch.Size(x.shape[axis] for axis in axes).numel()
    total = torch.sum(x, axes, keepdim=keep, dtype=x.dtype)
    return total if count == 0 else torch.div(total, count, rounding_mode="trunc")


def _extreme(x: Tensor, axes: list[int], keep: bool, largest: bool) -> Tensor:
    """The greatest or least element; a NaN shows, although TensorRT-RTX 1.6 was measured to pass over it."""
    if all(x.shape[axis] for axis in axes):
        return torch.amax(x, axes, keepdim=keep) if largest else torch.amin(x, axes, keepdim=keep)
    # The extreme of nothing is the least (greatest) value of the type.
    if x.is_floating_point():
        value: float = float("-inf") if largest else float("inf")
    else:
        value = torch.iinfo(x.dtype).min if largest else torch.iinfo(x.dtype).max
    kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    shape = kept if keep else [size for axis, size in enumerate(x.shape) if axis not in axes]
    return torch.full(shape, value, dtype=x.dtype, device=x.device)


def topk(call: Call) -> tuple[Tensor, ...]:
    """Values and indices; of equal values the one with the lower index first, as ONNX requires.

    TensorRT documents no order among equals; TensorRT-RTX 1.6 was measured to use this one. It has none for a NaN,
    which its kernels replace by an infinity.
    """
    x, axis = call.required(0), call.single_axis(call.handle.axes)
    k = call.handle.k if call.optional(1) is None else call.ints(1)[0]
    if not 0 <= k <= x.shape[axis]:
        raise call.error(f"k is {k}, the axis has {x.shape[axis]} elements")
    if x.is_floating_point() and bool(x.isnan().any()):
        raise call.error("the input contains NaN, which has no place in TensorRT's order")
    values, indices = torch.sort(x, dim=axis, descending=call.handle.op.name == "MAX", stable=True)
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k).to(call.output_dtypes[1])


def softmax(call: Call) -> tuple[Tensor, ...]:
    return (torch.softmax(call.wide(0), call.single_axis(call.handle.axes)),)


def ragged_softmax(call: Call) -> tuple[Tensor, ...]:
    """Softmax over the first `bounds` elements of each row; zero behind them."""
    x, bounds = call.wide(0), call.required(1)
    valid = torch.arange(x.shape[-1], device=x.device) < bounds
    masked = torch.softmax(x.masked_fill(~valid, float("-inf")), -1)
    return (masked.masked_fill(~valid, 0.0),)


def cumulative(call: Call) -> tuple[Tensor, ...]:
    handle, x, axis = call.handle, call.wide(0), call.ints(1)[0]
    if handle.op.name != "SUM":
        raise call.error(f"the cumulative operation {handle.op.name} is not supported by the reference executor")
    if handle.reverse:
        x = x.flip(axis)
    total = torch.cumsum(x, axis, dtype=x.dtype)
    if handle.exclusive:
        shifted = total.roll(1, axis)
        total = (
            shifted.index_fill(axis, torch.zeros(1, dtype=torch.long, device=x.device), 0) if total.numel() else total
        )
    return (total.flip(axis) if handle.reverse else total,)


HANDLERS: Mapping[str, Handler] = {
    "REDUCE": reduce,
    "TOPK": topk,
    "SOFTMAX": softmax,
    "RAGGED_SOFTMAX": ragged_softmax,
    "CUMULATIVE": cumulative,
}
