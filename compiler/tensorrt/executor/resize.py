"""The resize layer: every interpolation is separable, so each resized dimension is a weighted sum of a few taps."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..loader import dims_or_none
from .call import Call, Handler


def resize(call: Call) -> tuple[Tensor, ...]:
    x = call.wide(0)
    sizes = _output_sizes(call, x)
    if 0 in sizes:
        return (x.new_empty(sizes),)
    for axis, size in enumerate(sizes):
        if size != x.shape[axis] or (_has_scales(call) and call.handle.scales[axis] != 1):
            x = _resize_axis(call, x, axis, size)
    return (x,)


def _output_sizes(call: Call, x: Tensor) -> list[int]:
    handle = call.handle
    if call.optional(1) is not None:
        return call.ints(1)
    dims = dims_or_none(handle.shape)
    if dims is not None:
        return list(dims)
    if len(handle.scales) != x.ndim:
        raise call.error("it has neither an output shape, nor scales, nor a shape input")
    return [math.floor(length * scale) for length, scale in zip(x.shape, handle.scales, strict=True)]


def _has_scales(call: Call) -> bool:
    return call.optional(1) is None and dims_or_none(call.handle.shape) is None


def _resize_axis(call: Call, x: Tensor, axis: int, size: int) -> Tensor:
    length, mode = x.shape[axis], call.handle.resize_mode.name
    origin = _original_coordinates(call, axis, length, size)
    if mode == "NEAREST":
        return x.index_select(axis, _nearest(call, origin).clamp(0, length - 1))
    # The fractional weights are in f32 because that is what TensorRT computes coordinates in.
    lower = origin.floor()
    fraction = origin - lower
    taps = _linear_taps(fraction) if mode == "LINEAR" else _cubic_taps(fraction, call.handle.cubic_coeff)
    positions = {offset: lower.long() + offset for offset in taps}
    if call.handle.exclude_outside:
        taps = {o: w * ((positions[o] >= 0) & (positions[o] < length)) for o, w in taps.items()}
        total = torch.stack(list(taps.values())).sum(0)
        taps = {offset: weight / total for offset, weight in taps.items()}
    column = [-1 if dim == axis else 1 for dim in range(x.ndim)]
    parts = [
        x.index_select(axis, positions[offset].clamp(0, length - 1)) * weight.reshape(column)
        for offset, weight in taps.items()
    ]
    return torch.stack(parts).sum(0)


def _original_coordinates(call: Call, axis: int, length: int, size: int) -> Tensor:
    """Where each output element lies in the input.

    With scales given, 1 / scale takes the place of length / size, although the documented formulas name the latter
    only (measured); ALIGN_CORNERS looks at the lengths in both cases.
    """
    ratio = 1 / call.handle.scales[axis] if _has_scales(call) else length / size
    resized = torch.arange(size, dtype=torch.float32, device=call.device)
    transformation = call.handle.coordinate_transformation.name
    if call.handle.selector_for_single_pixel.name == "UPPER" and size < 2:
        return torch.zeros_like(resized)
    if transformation == "ALIGN_CORNERS":
        return resized * ((length - 1) / (size - 1) if size > 1 else 0.0)
    if transformation == "ASYMMETRIC":
        return resized * ratio
    if transformation == "HALF_PIXEL":
        return (resized + 0.5) * ratio - 0.5
    raise call.error(f"coordinate transformation {transformation} is not supported by the reference executor")


def _nearest(call: Call, origin: Tensor) -> Tensor:
    rounding = call.handle.nearest_rounding.name
    rounded = {
        "HALF_UP": lambda: (origin + 0.5).floor(),
        "HALF_DOWN": lambda: (origin - 0.5).ceil(),
        "FLOOR": origin.floor,
        "CEIL": origin.ceil,
    }
    if rounding not in rounded:
        raise call.error(f"rounding {rounding} is not supported by the reference executor")
    return rounded[rounding]().long()


def _linear_taps(fraction: Tensor) -> dict[int, Tensor]:
    return {0: 1 - fraction, 1: fraction}


def _cubic_taps(fraction: Tensor, coefficient: float) -> dict[int, Tensor]:
    """Keys' cubic convolution kernel (IEEE ASSP 1981) with free coefficient a."""
    a = coefficient

    def near(distance: Tensor) -> Tensor:
        return ((a + 2) * distance - (a + 3)) * distance * distance + 1

    def far(distance: Tensor) -> Tensor:
        return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a

    return {-1: far(fraction + 1), 0: near(fraction), 1: near(1 - fraction), 2: far(2 - fraction)}


HANDLERS: Mapping[str, Handler] = {"RESIZE": resize}
