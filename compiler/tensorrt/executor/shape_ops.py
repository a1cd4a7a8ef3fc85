"""Layers that make, read or change shapes: constant, shape, shuffle, squeeze, concatenation, padding, fill, …"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dtypes import from_trt
from ..loader import dims_or_none
from .call import Call, Handler


def constant(call: Call) -> tuple[Tensor, ...]:
    shape = dims_or_none(call.handle.shape)
    values = call.stored_weights(call.handle.weights, call.layer.name)
    if values is None:
        values = torch.empty(0, dtype=call.output_dtypes[0], device=call.device)
    if shape is None or values.numel() != torch.Size(shape).numel():
        raise call.error(f"it holds {values.numel()} values, its shape is {shape}")
    return (values.reshape(shape),)


def shape(call: Call) -> tuple[Tensor, ...]:
    return (torch.tensor(call.required(0).shape, dtype=torch.int64, device=call.device),)


def shuffle(call: Call) -> tuple[Tensor, ...]:
    """Transpose, reshape, transpose."""
    handle, x = call.handle, call.required(0)
    # A Permutation has eight entries whatever the rank, the identity behind the rank.
    x = x.permute(tuple(handle.first_transpose)[: x.ndim])
    wanted = dims_or_none(handle.reshape_dims) if call.optional(1) is None else call.ints(1)
    if wanted is not None:
        x = x.reshape(_reshape_dims(call, wanted, x))
    return (x.permute(tuple(handle.second_transpose)[: x.ndim]),)


def _reshape_dims(call: Call, wanted: Sequence[int], x: Tensor) -> list[int]:
    dims = list(wanted)
    if call.handle.zero_is_placeholder:
        for axis, dim in enumerate(dims):
            if dim == 0 and axis >= x.ndim:
                raise call.error(f"reshape dimension {axis} copies an input dimension that does not exist")
            dims[axis] = x.shape[axis] if dim == 0 else dim
    known = torch.Size(dim for dim in dims if dim != -1).numel()
    inferable = dims.count(-1) == 1 and known > 0 and x.numel() % known == 0
    if dims.count(-1) == 0 and known == x.numel():
        return dims
    if not inferable:
        raise call.error(f"a tensor of shape {list(x.shape)} cannot be reshaped to {list(wanted)}")
    return [x.numel() // known if dim == -1 else dim for dim in dims]


def squeeze(call: Call) -> tuple[Tensor, ...]:
    x = call.required(0)
    # From TensorRT-RTX 1.7 on the axes are optional: none means every dimension of size one.
    axes = [dim for dim, size in enumerate(x.shape) if size == 1] if call.optional(1) is None else call.ints(1)
    removed = {axis % x.ndim for axis in axes}
    if any(x.shape[axis] != 1 for axis in removed):
        raise call.error(f"axes {sorted(removed)} of shape {list(x.shape)} are not all of size one")
    return (x.reshape([size for axis, size in enumerate(x.shape) if axis not in removed]),)


def unsqueeze(call: Call) -> tuple[Tensor, ...]:
    x, axes = call.required(0), call.ints(1)
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return (x,)


def concatenation(call: Call) -> tuple[Tensor, ...]:
    parts = [call.required(index) for index in range(len(call.inputs))]
    return (torch.cat(parts, dim=call.handle.axis),)


def padding(call: Call) -> tuple[Tensor, ...]:
    """Zeros around the last two dimensions; a negative amount trims."""
    before, after = tuple(call.handle.pre_padding_nd), tuple(call.handle.post_padding_nd)
    amounts = [amount for pair in reversed(list(zip(before, after, strict=True))) for amount in pair]
    return (F.pad(call.required(0), amounts),)


def fill(call: Call) -> tuple[Tensor, ...]:
    """LINSPACE: alpha + sum over the dimensions of index * beta; the random kinds have no reproducible result."""
    handle = call.handle
    if handle.operation.name != "LINSPACE":
        raise call.error(f"{handle.operation.name} has no reproducible values to compare with")
    static = dims_or_none(handle.shape)
    dims = call.ints(0) if call.optional(0) is not None else list(static or ())
    dtype = call.output_dtypes[0]
    start, delta = call.optional(1), call.optional(2)
    if start is None:
        start = torch.tensor(handle.alpha, dtype=dtype, device=call.device)
    if delta is None:
        delta = torch.tensor([handle.beta], dtype=dtype, device=call.device)
    deltas = delta.reshape(-1)
    if deltas.numel() != len(dims):
        raise call.error(f"it has {deltas.numel()} steps for {len(dims)} dimensions")
    result = start.reshape(()).expand(dims)
    for axis, size in enumerate(dims):
        ramp = torch.arange(size, dtype=dtype, device=call.device) * deltas[axis]
        result = result + ramp.reshape([-1 if dim == axis else 1 for dim in range(len(dims))])
    return (result,)


def assertion(call: Call) -> tuple[Tensor, ...]:
    if not bool(call.required(0).all()):
        raise call.error(f"assertion failed: {call.handle.message}")
    return ()


def kv_cache_update(call: Call) -> tuple[Tensor, ...]:
    """The cache [B, H, S, D] with update [B, H, N, D] written at write_indices [B] of the sequence dimension."""
    cache, update, starts = call.required(0).clone(), call.required(1), call.ints(2)
    form = getattr(call.handle, "update_form", None)
    if form is not None and form.name != "PADDED_BHND":
        raise call.error(f"updates in the form {form.name} are not supported by the reference executor")
    length, capacity = update.shape[2], cache.shape[2]
    for batch, start in enumerate(starts):
        if not 0 <= start <= capacity - length:
            raise call.error(f"{length} tokens written at {start} do not fit a cache of {capacity}")
        cache[batch, :, start : start + length] = update[batch]
    return (cache,)


def one_hot(call: Call) -> tuple[Tensor, ...]:
    indices, values, depth = call.required(0).long(), call.required(1), call.ints(2)[0]
    axis = call.handle.axis % (indices.ndim + 1)
    # As in ONNX: negative indices count from the end, others out of range leave a row of off values.
    wrapped = torch.where(indices < 0, indices + depth, indices).unsqueeze(axis)
    positions = torch.arange(depth, device=call.device)
    positions = positions.reshape([-1 if dim == axis else 1 for dim in range(wrapped.ndim)])
    return (torch.where(wrapped == positions, values[1], values[0]),)


def non_zero(call: Call) -> tuple[Tensor, ...]:
    found = torch.nonzero(call.required(0)).t().contiguous()
    dtype = from_trt(call.handle.indices_type) if hasattr(call.handle, "indices_type") else torch.int32
    return (found.to(dtype),)


HANDLERS: Mapping[str, Handler] = {
    "CONSTANT": constant,
    "SHAPE": shape,
    "SHUFFLE": shuffle,
    "SQUEEZE": squeeze,
    "UNSQUEEZE": unsqueeze,
    "CONCATENATION": concatenation,
    "PADDING": padding,
    "FILL": fill,
    "ASSERTION": assertion,
    "KV_CACHE_UPDATE": kv_cache_update,
    "ONE_HOT": one_hot,
    "NON_ZERO": non_zero,
}
