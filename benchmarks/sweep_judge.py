"""Whether a compiled model answers as the model does, and whether the model's own answer hangs on its last digits.

Detectors pick the best 300 of 1,000 queries, routers the best 2 of 4 experts: with random weights many scores differ by
less than float32 resolves, and whoever rounds otherwise picks in another order. So an output that differs is held
against the model's own, with weights that differ in their last digit only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

TOLERANCE = 1e-3
"""Relative L2 error of each output in float32. Random weights of small models give 1e-7 to 1e-5."""

TIMES_OWN = 4
"""How much more than by changes of its own in the last digit an output may differ that hangs on them."""

TRIALS = 3
INFINITE = 1e30
"""Larger numbers are marks of what is masked (the largest number of float32), which an error must not be divided by."""


@dataclass(frozen=True)
class Answer:
    """The largest error of the outputs that do not hang on last digits; of those that do, the largest and the model's.

    It is right if every error is within the tolerance, or not beyond what the model's own last digits make of it.
    """

    error: float
    unstable_error: float = 0.0
    own_error: float = 0.0
    is_right: bool = True


def judged(
    model: nn.Module,
    compiled: Callable[..., Any],
    inputs: Mapping[str, torch.Tensor],
    also: Sequence[Callable[..., Any]] = (),
) -> Answer:
    """What a compiled model answers, compared with the model.

    Of `also`, other ways to call the model, the answers count as its own, such as those in TF32.
    """
    expected, found = outputs(model, inputs), outputs(compiled, inputs)
    if len(expected) != len(found):
        return Answer(float("inf"), is_right=False)
    errors = differences(expected, found)
    if all(error <= TOLERANCE for error in errors):
        return Answer(max(errors, default=0.0))
    others = [outputs(each, inputs) for each in (*also, *(_nudged(model, seed) for seed in range(TRIALS)))]
    own = _worst(expected, others)
    right = [error <= _limit(limit) for error, limit in zip(errors, own, strict=True)]
    # Whatever the order, it is the same numbers that are put in one.
    ordered = [_ordered(tensors) for tensors in (expected, found, *others)]
    limits = _worst(ordered[0], ordered[2:])
    errors_in_order = differences(ordered[0], ordered[1])
    right += [error <= _limit(limit) for error, limit in zip(errors_in_order, limits, strict=True)]
    stable = [error for error, limit in zip(errors, own, strict=True) if limit <= TOLERANCE]
    unstable = [error for error, limit in zip(errors, own, strict=True) if not limit <= TOLERANCE]
    return Answer(max(stable, default=0.0), max(unstable, default=0.0), max(own), all(right))


def in_tf32(model: Callable[..., Any]) -> Callable[..., Any]:
    """The model on a GPU with products and convolutions of float32 in TF32, as TensorRT-RTX has them."""

    def call(*args: Any, **kwargs: Any) -> Any:
        kinds = (torch.backends.cuda.matmul, torch.backends.cudnn)
        before = [kind.allow_tf32 for kind in kinds]
        try:
            for kind in kinds:
                kind.allow_tf32 = True
            return model(*args, **kwargs)
        finally:
            for kind, value in zip(kinds, before, strict=True):
                kind.allow_tf32 = value

    return call


def in_truncated_tf32(model: nn.Module) -> nn.Module:
    """A copy whose convolutions and linear layers read operands of TF32's 10 bits, the rest of the digits cut off.

    So do TensorRT-RTX's kernels for some convolutions on an H200: alone, such a convolution is off by 7.6e-4, as if
    its operands were cut, and 3.0e-4 if they are rounded, as PyTorch rounds them.
    """
    copied = copy.deepcopy(model)
    for module in copied.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            with torch.no_grad():
                module.weight.copy_(_truncated(module.weight))
            module.register_forward_pre_hook(lambda _, args: tuple(map(_truncated, args)))
    return copied


def _truncated(x: torch.Tensor) -> torch.Tensor:
    if x.dtype != torch.float32:
        return x
    return (x.detach().contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


def outputs(model: Callable[..., Any], inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """The tensors that a model returns; what is random in it is the same in every call."""
    torch.manual_seed(1)
    with torch.no_grad():
        leaves = pytree.tree_leaves(model(**{name: value.clone() for name, value in inputs.items()}))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def differences(expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> list[float]:
    """The relative L2 error of each tensor."""
    from trt_passes.compiler.instruments.numerics import distance

    return [
        0.0 if want.dtype == have.dtype and torch.equal(want, have) else distance(_marked(want), _marked(have))[1]
        for want, have in zip(expected, found, strict=True)
    ]


def _marked(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    return torch.where(tensor.abs() > INFINITE, torch.copysign(torch.full_like(tensor, torch.inf), tensor), tensor)


def _limit(own: float) -> float:
    return max(TOLERANCE, TIMES_OWN * own)


def _worst(expected: Sequence[torch.Tensor], others: Sequence[Sequence[torch.Tensor]]) -> list[float]:
    return [max(errors) for errors in zip(*(differences(expected, other) for other in others), strict=True)]


def _ordered(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor if tensor.is_complex() else tensor.flatten().sort().values for tensor in tensors]


def _nudged(model: nn.Module, seed: int) -> nn.Module:
    """A copy of which every weight is the next larger or smaller number."""
    nudged = copy.deepcopy(model)
    chance = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in nudged.parameters():
            if parameter.is_floating_point():
                up = torch.rand(parameter.shape, generator=chance).to(parameter.device) < 0.5
                towards = torch.where(up, torch.inf, -torch.inf).to(parameter.dtype)
                parameter.copy_(torch.nextafter(parameter, towards))
    return nudged
