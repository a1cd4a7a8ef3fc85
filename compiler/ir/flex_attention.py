"""`flex_attention` as operators that a graph can hold: scores and masks are computed for all places at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..errors import UserError

_NAMES = {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "invert": "bitwise_not"}
_NAMES |= {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder", "lshift": "bitwise_left_shift"}
_NAMES |= {"rshift": "bitwise_right_shift", "bool": "to"}
"""What PyTorch calls operators of Python's."""

_CONSTANTS = frozenset({"full", "ones", "zeros", "scalar_tensor", "tensor", "new_full", "new_ones", "new_zeros"})
"""What makes a number that is the same at every place."""

_OF_TYPES = frozenset({"to", "type", "type_as", "float", "double", "half", "bfloat16", "int", "long", "get", "device"})
"""What changes the type of a tensor, or asks for what is the same at every place."""


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    score_mod: Callable[..., torch.Tensor],
    block_mask: tuple[Any, ...],
    scale: float,
    kernel_options: Mapping[str, Any],
    score_buffers: tuple[Any, ...] = (),
    mask_buffers: tuple[Any, ...] = (),
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `flex_attention` computes, by operators.

    Queries are f[B,H,L,E]; there are f[B',G,S,E] keys and f[B',G,S,V] values, of which every group has H / G heads.

    Returns:
        f[B,H,L,V], and for every query the base-2 logarithm of the sum of its weights, and its largest score over the
        logarithm of 2.
    """
    from torch.nn.attention import flex_attention as module

    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (torch.repeat_interleave(item, groups, dim=1) for item in (key, value))
    exact = torch.float64 if query.dtype is torch.float64 else torch.float32
    scores = query.to(exact) @ key.to(exact).transpose(-2, -1) * scale
    places = [
        torch.arange(scores.shape[dim], device=scores.device).reshape(*(-1 if each == dim else 1 for each in range(4)))
        for dim in range(4)
    ]
    if score_mod is not module._identity:
        with _EveryPlaceAlone("score_mod"):
            changed = score_mod(scores, *places, *score_buffers)
        scores = changed.to(exact).expand(scores.shape)
    mask = block_mask[-1]
    if mask is not None and mask is not module.noop_mask:
        with _EveryPlaceAlone("mask_mod"):
            allowed = mask(*places, *mask_buffers)
        scores = torch.where(allowed, scores, -math.inf)
    weights = torch._safe_softmax(scores, -1)
    result = weights.to(query.dtype) @ value.to(query.dtype)
    return _laid_out_like(result, query), scores.logsumexp(-1) / math.log(2), scores.amax(-1) / math.log(2)


def _laid_out_like(result: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
    """A contiguous result with its dimensions in memory in the order in which the query has them."""
    if query.is_contiguous():
        return result
    order = sorted(range(4), key=lambda dim: (-query.stride()[dim], dim))
    back = [order.index(dim) for dim in range(4)]
    return result.permute(order).contiguous().permute(back)


class _EveryPlaceAlone(TorchFunctionMode):
    """Refuses what would see more than one place of the scores: the functions are written for one number at a time."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch's that computes every number by itself; UserError for others."""
        name = str(getattr(func, "__name__", func)).partition(".")[0]
        if name in ("__getitem__", "getitem", "index"):
            indices = args[1] if isinstance(args[1], tuple | list) else (args[1],)
            alone = len(indices) == args[0].dim() and not any(item is None or item is ... for item in indices)
            alone = alone and not any(isinstance(item, slice) for item in indices)
        else:
            alone = _is_pointwise(name)
        if name in _CONSTANTS:
            made = func(*args, **(kwargs or {}))
            if made.dim() == 0:
                return made
            alone = False
        if not alone:
            raise UserError(
                f"flex_attention's {self._name} calls {name.strip('_')}, which is not known to compute every score by "
                "itself: write it with arithmetic, comparisons, torch.where, and tensors that are indexed in all their "
                "dimensions."
            )
        return func(*args, **(kwargs or {}))


def _is_pointwise(name: str) -> bool:
    """Whether a function of PyTorch's, or an operator of Python's, computes every number by itself."""
    dunder = name.startswith("__")
    short = name.strip("_") if dunder else name
    for form in (short, short.removeprefix("r") if dunder else short):
        form = _NAMES.get(form, form)
        if form in _OF_TYPES:
            return True
        packet = getattr(torch.ops.aten, form, None) if not form.endswith("_") else None
        overloads = packet.overloads() if packet is not None else ()
        if any(torch.Tag.pointwise in getattr(packet, item).tags for item in overloads):
            return True
    return False
