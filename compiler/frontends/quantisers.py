"""Modules that quantise for a library, as torch.export should see them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from .other_forward import other_forward


@contextmanager
def exported_quantisers(model: nn.Module) -> Iterator[None]:
    """While entered, the model's quantisers call operators that say what they compute.

    NVIDIA's modelopt has a mode for that, which its users would have to enter. PyTorch's fake quantisers that observe
    too write to their statistics even when they do not; those whose observer is off only quantise.
    """
    with ExitStack() as stack:
        modules = list(model.modules())
        if any(_is_of_modelopt(module) for module in modules):
            stack.enter_context(sys.modules["modelopt.torch.quantization.utils"].export_torch_mode())
        for module in modules:
            if _only_quantises(module):
                stack.enter_context(other_forward(module, _Quantised(module)))
        yield


def _is_of_modelopt(module: nn.Module) -> bool:
    return any(
        kind.__name__ == "TensorQuantizer" and kind.__module__.startswith("modelopt.") for kind in type(module).__mro__
    )


def _only_quantises(module: nn.Module) -> bool:
    """Whether a module is PyTorch's fused observer and quantiser (or torchao's copy) with its observer off."""
    if not any(kind.__name__ == "FusedMovingAvgObsFakeQuantize" for kind in type(module).__mro__):
        return False
    observing: Any = module.observer_enabled
    return not bool(observing[0])


class _Quantised:
    """What such a module computes, without writing anything."""

    def __init__(self, module: nn.Module) -> None:
        self._module: Any = module

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        module = self._module
        if not bool(module.fake_quant_enabled[0]):
            return X
        low, high = module.activation_post_process.quant_min, module.activation_post_process.quant_max
        scale, zero_point = module.scale, module.zero_point
        if module.is_per_channel:
            return torch.fake_quantize_per_channel_affine(X, scale, zero_point, module.ch_axis, low, high)
        return torch.fake_quantize_per_tensor_affine(X, scale, zero_point, low, high)
