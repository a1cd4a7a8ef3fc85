"""Layers that read or write elements at computed places: slice, gather, scatter, reverse sequence, grid sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..loader import dims_or_none
from .call import Call, Handler


def _slice_values(call: Call, index: int, dims: object, name: str) -> list[int]:
    """Start, size or stride: from the input where it is set, else from the layer."""
    if call.optional(index) is not None:
        return call.ints(index)
    static = dims_or_none(dims)
    if static is None:
        raise call.error(f"its {name} is neither set nor an input")
    return list(static)


def slice_(call: Call) -> tuple[Tensor, ...]:
    handle, x = call.handle, call.required(0)
    starts = _slice_values(call, 1, handle.start, "start")
    sizes = _slice_values(call, 2, handle.shape, "size")
    strides = _slice_values(call, 3, handle.stride, "stride")
    axes = call.ints(5) if call.optional(5) is not None else list(dims_or_none(handle.axes) or range(x.ndim))
    if not len(starts) == len(sizes) == len(strides) == len(axes):
        raise call.error(f"start {starts}, size {sizes} and stride {strides} do not match the axes {axes}")
    mode = handle.mode.name
    outside = torch.zeros((), dtype=torch.bool, device=x.device)
    for axis, start, size, stride in zip(axes, starts, sizes, strides, strict=True):
        axis %= x.ndim
        length = x.shape[axis]
        if start == 0 and stride == 1 and size == length:
            continue
        last = start + (size - 1) * stride
        if size == 0:
            x = x.narrow(axis, 0, 0)
        elif stride >= 0 and start >= 0 and last < length:
            x = _strided(x, axis, start, size, stride)
        else:
            positions = start + stride * torch.arange(size, device=x.device)
            positions, missing = _bounded(call, positions, length, mode, axis)
            x = x.index_select(axis, positions) if length else _all_missing(x, axis, size)
            outside = outside | missing.reshape([-1 if dim == axis else 1 for dim in range(x.ndim)])
    if mode == "FILL" and bool(outside.any()):
        value = call.optional(4)
        x = torch.where(outside, torch.zeros((), dtype=x.dtype, device=x.device) if value is None else value, x)
    return (x,)


def _strided(x: Tensor, axis: int, start: int, size: int, stride: int) -> Tensor:
    """A view of elements that all exist; stride 0 repeats one."""
    if stride == 0:
        return x.narrow(axis, start, 1).expand([size if dim == axis else -1 for dim in range(x.ndim)])
    x = x.narrow(axis, start, (size - 1) * stride + 1)
    return x[(*[slice(None)] * axis, slice(None, None, stride))]


def _all_missing(x: Tensor, axis: int, size: int) -> Tensor:
    return x.new_zeros([size if dim == axis else length for dim, length in enumerate(x.shape)])


def _bounded(call: Call, positions: Tensor, length: int, mode: str, axis: int) -> tuple[Tensor, Tensor]:
    """Positions brought into range as the sample mode says, and which of them are outside (FILL only)."""
    outside = (positions < 0) | (positions >= length)
    none = torch.zeros_like(outside)
    if not bool(outside.any()):
        return positions, none
    if mode == "STRICT_BOUNDS":
        first = int(positions[outside][0])
        raise call.error(f"element {first} of dimension {axis}, which has {length}, is out of bounds")
    if mode == "FILL":
        return torch.where(outside, 0, positions), outside
    if length == 0:
        raise call.error(f"dimension {axis} is empty, so sample mode {mode} has nothing to read")
    if mode == "WRAP":
        return positions % length, none
    if mode == "CLAMP":
        return positions.clamp(0, length - 1), none
    if mode == "REFLECT":
        # The axis of reflection is the middle of the edge element, which is therefore not repeated.
        period = max(2 * (length - 1), 1)
        folded = positions % period
        return torch.where(folded < length, folded, period - folded), none
    raise call.error(f"sample mode {mode} is not supported by the reference executor")


def _wrapped(call: Call, indices: Tensor, length: int) -> Tensor:
    """Indices as int64, negative ones counted from the end as in ONNX (measured for gather and scatter in all modes).

    TensorRT leaves indices out of range undefined; here they are an error.
    """
    indices = indices.long()
    if indices.numel():
        low, high = int(indices.min()), int(indices.max())
        if low < -length or high >= length:
            raise call.error(f"index {low if low < -length else high} is out of range for a dimension of {length}")
        if low < 0:
            indices = torch.where(indices < 0, indices + length, indices)
    return indices


def gather(call: Call) -> tuple[Tensor, ...]:
    data, indices = call.required(0), call.required(1)
    mode, batch_dims = call.handle.mode.name, call.handle.num_elementwise_dims
    if mode == "ND":
        return (_gather_nd(call, data, indices, batch_dims),)
    axis = call.handle.axis % data.ndim
    indices = _wrapped(call, indices, data.shape[axis])
    if mode == "ELEMENT":
        return (torch.gather(data, axis, indices),)
    if mode != "DEFAULT":
        raise call.error(f"gather mode {mode} is not supported by the reference executor")
    if batch_dims == 0:
        taken = data.index_select(axis, indices.reshape(-1))
        return (taken.reshape((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])),)
    rows = [
        row.index_select(axis - 1, index.reshape(-1)).reshape(*row.shape[: axis - 1], *index.shape, *row.shape[axis:])
        for row, index in zip(data, indices.expand(data.shape[0], *indices.shape[1:]), strict=True)
    ]
    return (torch.stack(rows),)


def _positions(call: Call, shape: Sequence[int], indices: Tensor) -> tuple[Tensor, ...]:
    """The last dimension of ND indices as one index tensor per leading dimension of `shape`."""
    columns = indices.unbind(-1)
    return tuple(_wrapped(call, column, length) for column, length in zip(columns, shape, strict=False))


def _gather_nd(call: Call, data: Tensor, indices: Tensor, batch_dims: int) -> Tensor:
    batch = data.shape[:batch_dims]
    grids = [
        torch.arange(size, device=data.device).reshape([-1 if dim == axis else 1 for dim in range(indices.ndim - 1)])
        for axis, size in enumerate(batch)
    ]
    inner = _positions(call, data.shape[batch_dims:], indices)
    return data[(*grids, *inner)]


def scatter(call: Call) -> tuple[Tensor, ...]:
    """The data with updates written; several updates of one element leave an undefined one of them, as in TensorRT."""
    data, indices, updates = call.required(0), call.required(1), call.required(2)
    mode = call.handle.mode.name
    if mode == "ELEMENT":
        axis = call.handle.axis % data.ndim
        return (torch.scatter(data, axis, _wrapped(call, indices, data.shape[axis]), updates),)
    if mode != "ND":
        raise call.error(f"scatter mode {mode} is not supported by the reference executor")
    return (data.index_put(_positions(call, data.shape, indices), updates),)


def reverse_sequence(call: Call) -> tuple[Tensor, ...]:
    x, lengths = call.required(0), call.ints(1)
    batch_axis, axis = call.handle.batch_axis % x.ndim, call.handle.sequence_axis % x.ndim
    result = x.clone()
    for batch, length in enumerate(lengths):
        head = x.select(batch_axis, batch).unsqueeze(batch_axis).narrow(axis, 0, length)
        result.narrow(batch_axis, batch, 1).narrow(axis, 0, length).copy_(head.flip(axis))
    return (result,)


_GRID_MODES = {"NEAREST": "nearest", "LINEAR": "bilinear", "CUBIC": "bicubic"}
_GRID_PADDING = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}


def grid_sample(call: Call) -> tuple[Tensor, ...]:
    handle = call.handle
    mode, sample = _GRID_MODES[handle.interpolation_mode.name], _GRID_PADDING.get(handle.sample_mode.name)
    if sample is None:
        raise call.error(f"sample mode {handle.sample_mode.name} is not defined for grid sampling")
    return (F.grid_sample(call.wide(0), call.wide(1), mode, sample, handle.align_corners),)


HANDLERS: Mapping[str, Handler] = {
    "SLICE": slice_,
    "GATHER": gather,
    "SCATTER": scatter,
    "REVERSE_SEQUENCE": reverse_sequence,
    "GRID_SAMPLE": grid_sample,
}
