"""Normalization (layer, instance, batch-axis and group kinds, both versions of the layer) and local response."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .call import Call, Handler, axes_of_mask


def normalization(call: Call) -> tuple[Tensor, ...]:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, statistics over the axes of the mask, in f32."""
    handle, x = call.handle, call.wide(0)
    scale, bias = call.wide(1), call.wide(2)
    axes, groups = axes_of_mask(handle.axes), handle.num_groups
    if groups == 1:
        return (_standardized(x, axes, handle.epsilon) * scale + bias,)
    # A group's channels become a dimension of their own, over which the statistics are always taken.
    split = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    grouped_axes = [2, *(axis + 1 for axis in axes if axis > 1)]
    result = _standardized(split, grouped_axes, handle.epsilon)
    if getattr(handle, "is_v2", False):
        return (result.reshape(x.shape) * scale + bias,)
    # The first version has one scale and bias per group, [1, G, 1, …].
    return ((result * scale.unsqueeze(2) + bias.unsqueeze(2)).reshape(x.shape),)


def _standardized(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon)


def lrn(call: Call) -> tuple[Tensor, ...]:
    """x / (k + alpha / window * sum of squares over the window of channels) ** beta."""
    handle = call.handle
    return (F.local_response_norm(call.wide(0), handle.window_size, handle.alpha, handle.beta, handle.k),)


HANDLERS: Mapping[str, Handler] = {"NORMALIZATION": normalization, "LRN": lrn}
