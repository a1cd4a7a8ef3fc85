"""Layers that multiply and add along dimensions: matrix multiplication, einsum, convolution, deconvolution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .call import Call, Handler, widen
from .windows import Window, read_window


def matrix_multiply(call: Call) -> tuple[Tensor, ...]:
    left, right = call.wide(0), call.wide(1)
    left_op, right_op = call.handle.op0.name, call.handle.op1.name
    if left_op == "TRANSPOSE":
        left = left.transpose(-1, -2)
    if right_op == "TRANSPOSE":
        right = right.transpose(-1, -2)
    if left_op == "VECTOR":
        left = left.unsqueeze(-2)
    if right_op == "VECTOR":
        right = right.unsqueeze(-1)
    if left.ndim != right.ndim:
        raise call.error(f"both inputs need the same batch rank, they have {left.ndim - 2} and {right.ndim - 2}")
    result = torch.matmul(left, right)
    if right_op == "VECTOR":
        result = result.squeeze(-1)
    if left_op == "VECTOR":
        result = result.squeeze(-1 if right_op == "VECTOR" else -2)
    return (result,)


def einsum(call: Call) -> tuple[Tensor, ...]:
    operands = [call.wide(index) for index in range(len(call.inputs))]
    return (torch.einsum(call.handle.equation, *operands),)


def _kernel_and_bias(call: Call, kernel_shape: Sequence[int], channels: int) -> tuple[Tensor, Tensor | None]:
    """Kernel and bias, from the layer's own weights or from its second and third input, widened."""
    kernel = call.optional(1)
    if kernel is None:
        stored = call.stored_weights(call.handle.kernel, f"{call.layer.name}.kernel")
        if stored is None:
            raise call.error("it has no kernel: neither weights nor a second input")
        if stored.numel() != torch.Size(kernel_shape).numel():
            raise call.error(f"its kernel has {stored.numel()} values for the shape {list(kernel_shape)}")
        kernel = stored.reshape(tuple(kernel_shape))
    bias = call.optional(2)
    if bias is None:
        bias = call.stored_weights(call.handle.bias, f"{call.layer.name}.bias")
    return widen(kernel), None if bias is None else widen(bias).reshape(channels)


def convolution(call: Call) -> tuple[Tensor, ...]:
    handle, x = call.handle, call.wide(0)
    dilation = tuple(handle.dilation_nd)
    window = read_window(call, handle.kernel_size_nd, dilation, x.shape[2:])
    channels, groups = handle.num_output_maps, handle.num_groups
    kernel, bias = _kernel_and_bias(call, (channels, x.shape[1] // groups, *window.size), channels)
    if window.before == window.after:
        padding = window.before
    else:
        x, padding = F.pad(x, window.pad_amounts()), (0,) * len(window.size)
    function = F.conv2d if len(window.size) == 2 else F.conv3d
    return (function(x, kernel, bias, window.stride, padding, dilation, groups),)


def deconvolution(call: Call) -> tuple[Tensor, ...]:
    handle, x = call.handle, call.wide(0)
    channels, groups = handle.num_output_maps, handle.num_groups
    size, stride = tuple(handle.kernel_size_nd), tuple(handle.stride_nd)
    dilation = tuple(handle.dilation_nd)
    kernel, bias = _kernel_and_bias(call, (x.shape[1], channels // groups, *size), channels)
    function = F.conv_transpose2d if len(size) == 2 else F.conv_transpose3d
    full = function(x, kernel, bias, stride, 0, 0, groups, dilation)
    before, after = _deconvolution_crop(call, x.shape[2:], full.shape[2:], stride)
    for axis, (start, end) in enumerate(zip(before, after, strict=True), start=2):
        full = full.narrow(axis, start, full.shape[axis] - start - end)
    return (full,)


def _deconvolution_crop(
    call: Call, inputs: Sequence[int], full: Sequence[int], stride: Sequence[int]
) -> tuple[Sequence[int], Sequence[int]]:
    """How much padding takes away from the start and the end of each dimension of the unpadded result."""
    mode = call.handle.padding_mode.name
    if mode.startswith("EXPLICIT"):
        return tuple(call.handle.pre_padding), tuple(call.handle.post_padding)
    # SAME_*: the result has input * stride elements.
    totals = [whole - size * step for whole, size, step in zip(full, inputs, stride, strict=True)]
    if min(totals) < 0:
        raise call.error(f"padding mode {mode} with a kernel smaller than the stride is not supported")
    smaller = [total // 2 for total in totals]
    larger = [total - half for total, half in zip(totals, smaller, strict=True)]
    return (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)


def pooling(call: Call) -> tuple[Tensor, ...]:
    handle, x = call.handle, call.wide(0)
    window = read_window(call, handle.window_size_nd, (1,) * len(tuple(handle.window_size_nd)), x.shape[2:])
    # IPoolingLayer.type is the pooling; ILayer.type is hidden behind it.
    kind = handle.type.name
    if kind == "MAX":
        return (_max_pool(x, window),)
    if kind == "AVERAGE":
        return (_average_pool(call, x, window),)
    if kind == "MAX_AVERAGE_BLEND":
        blend = handle.blend_factor
        return ((1 - blend) * _max_pool(x, window) + blend * _average_pool(call, x, window),)
    raise call.error(f"pooling {kind} is not supported by the reference executor")


def _max_pool(x: Tensor, window: Window) -> Tensor:
    """The greatest of each window; a NaN shows, although TensorRT-RTX 1.6 was measured to pass over it."""
    function = F.max_pool2d if len(window.size) == 2 else F.max_pool3d
    return function(F.pad(x, window.pad_amounts(), value=float("-inf")), window.size, window.stride)


def _average_pool(call: Call, x: Tensor, window: Window) -> Tensor:
    """The sum over each window, divided by the elements counted: the input's own, or the explicit padding's too.

    What ROUND_UP adds beyond the explicit padding is never counted.
    """
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    padding_counts = 0.0 if call.handle.average_count_excludes_padding else 1.0
    counted = F.pad(ones, window.explicit_pad_amounts(), value=padding_counts)
    counted = F.pad(counted, window.overhang_amounts())
    function = F.avg_pool2d if len(window.size) == 2 else F.avg_pool3d
    sums = function(F.pad(x, window.pad_amounts()), window.size, window.stride)
    return sums / function(counted, window.size, window.stride)


HANDLERS: Mapping[str, Handler] = {
    "MATRIX_MULTIPLY": matrix_multiply,
    "EINSUM": einsum,
    "CONVOLUTION": convolution,
    "DECONVOLUTION": deconvolution,
    "POOLING": pooling,
}
