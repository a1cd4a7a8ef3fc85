"""How operators behave in half precision: which gain from it, which take what they get, and which must not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch.fx import Node

from ...compiler.ir.operators import GRU, LSTM, RNN_RELU, RNN_TANH


def _overloads(names: str) -> frozenset[Any]:
    """All overloads of the ATen operators in a list of names."""
    packets = [getattr(torch.ops.aten, name) for name in names.split()]
    return frozenset(getattr(packet, overload) for packet in packets for overload in packet.overloads())


COMPUTE_NARROW = _overloads(
    "linear addmm mm bmm baddbmm addbmm matmul mv addmv dot convolution conv1d conv2d conv3d conv_transpose1d "
    "conv_transpose2d conv_transpose3d scaled_dot_product_attention embedding"
)
"""Matrix products, convolutions and attention (which add up in float32 inside), and reading rows of a weight."""

_ELSEWHERE = frozenset({"transformers.grouped_mm_fallback.default"})
"""Products that other packages register, by name."""


def computes_narrow(target: Any) -> bool:
    """Whether an operator is a product that gains from half precision."""
    return target in COMPUTE_NARROW or str(target) in _ELSEWHERE


OTHER_PRODUCTS = frozenset(
    {*_overloads("lstm gru rnn_tanh rnn_relu _trilinear _cdist_forward"), LSTM, GRU, RNN_TANH, RNN_RELU}
)
"""Operators that multiply matrices too, but stay in float32: a state carries its roundings from step to step."""

MOVE = _overloads(
    "view reshape _unsafe_view permute transpose t expand slice select unsqueeze squeeze cat stack split "
    "split_with_sizes unbind chunk clone alias detach contiguous flip roll repeat index index_select gather scatter "
    "index_put slice_scatter select_scatter reflection_pad1d reflection_pad2d replication_pad2d "
    "pixel_shuffle pixel_unshuffle upsample_nearest1d upsample_nearest2d upsample_nearest3d"
)
"""Operators that move values and compute nothing: they take the type of what they read."""

FOLLOW = _overloads(
    "add sub mul div neg abs clamp clamp_min clamp_max maximum minimum where masked_fill relu relu6 leaky_relu prelu "
    "elu gelu silu hardtanh hardswish hardsigmoid sigmoid tanh erf sign floor ceil round trunc max_pool1d max_pool2d "
    "max_pool3d max_pool2d_with_indices max_pool3d_with_indices amax amin constant_pad_nd upsample_bilinear2d "
    "eq ne lt le gt ge"
)
"""Operators that are about as exact in half precision as their inputs are, if the numbers in their arguments fit."""

BOUNDED = _overloads(
    "softmax _softmax layer_norm native_layer_norm group_norm native_group_norm instance_norm rms_norm batch_norm "
    "_native_batch_norm_legit_no_training sigmoid tanh erf sin cos hardsigmoid"
)
"""Operators whose results are small whatever they read, so that half precision can hold them."""

ANGLES = _overloads("sin cos tan")
"""Operators whose argument is an angle, which must be exact to a fraction of a turn, however many turns it has."""

# Everything else computes in float32: norms, softmax, sums and means add up many numbers; exp, pow, rsqrt and division
# by a tensor leave the range of float16 easily.
_DIVISION = _overloads("div")


def follows(node: Node, narrow: torch.dtype) -> bool:
    """Whether the node can compute in whatever type its inputs have: its operator can, and its numbers fit the type."""
    if node.target in MOVE:
        return True
    if node.target in _DIVISION and isinstance(node.args[1], Node):
        return False
    return node.target in FOLLOW and fits((*node.args, *node.kwargs.values()), narrow)


def fits(arguments: Iterable[Any], narrow: torch.dtype) -> bool:
    """Whether the type holds the finite numbers among the arguments: none is too large, or so small that it is lost."""
    numbers = [item for item in arguments if isinstance(item, int | float) and not isinstance(item, bool)]
    return all(not math.isfinite(number) or holds(number, narrow) for number in numbers)


def holds(number: float, narrow: torch.dtype) -> bool:
    """Whether a finite number is zero or one of the type's normal numbers."""
    limits = torch.finfo(narrow)
    return number == 0 or limits.smallest_normal <= abs(number) <= limits.max


def holds_tensor(tensor: torch.Tensor, narrow: torch.dtype) -> bool:
    """Whether the type holds the largest finite number of a tensor, beside which smaller ones may be lost."""
    if not tensor.numel():
        return True
    low, high = (item.item() for item in tensor.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = (item.item() for item in tensor.detach().nan_to_num(0.0, 0.0, 0.0).aminmax())
    return holds(max(abs(low), abs(high)), narrow)
