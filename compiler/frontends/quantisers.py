"""Modules that quantise for a library, as torch.export should see them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from .compressed_tensors import CompressedLayer, decompress, is_compressed, plain_parameters
from .other_forward import other_forward
from .reference_quantising import FloatsOnGrids, quantises_by_reference
from .transformers_fp8 import Float8Layer, is_float8_layer


@contextmanager
def exported_quantisers(model: nn.Module) -> Iterator[None]:
    """While entered, the model's quantisers call operators that say what they compute.

    NVIDIA's modelopt has a mode for that, which its users would have to enter. PyTorch's fake quantisers that observe
    too write to their statistics even when they do not; those whose observer is off only quantise. Its reference
    modules make tensors of quantised types.
    """
    with ExitStack() as stack:
        modules = list(model.modules())
        if any(_is_of_modelopt(module) for module in modules):
            stack.enter_context(sys.modules["modelopt.torch.quantization.utils"].export_torch_mode())
        for module in filter(_is_of_modelopt, modules):
            stack.enter_context(_other_method(module, "_fake_quantize", _of_modelopt(module)))
        compressed = [module for module in modules if is_compressed(module)]
        if compressed:
            stack.enter_context(plain_parameters(model))
        for module in compressed:
            stack.enter_context(other_forward(module, CompressedLayer(module)))
        if quantises_by_reference(modules):
            stack.enter_context(FloatsOnGrids())
        for module in filter(is_float8_layer, modules):
            stack.enter_context(other_forward(module, Float8Layer(module)))
        for module in modules:
            if _only_quantises(module):
                stack.enter_context(other_forward(module, _Quantised(module)))
        yield


def unpack_quantised(model: nn.Module) -> None:
    """Do what a model's first call would: layers of compressed-tensors unpack their weights, in place."""
    if any(map(is_compressed, model.modules())):
        decompress(model)


@contextmanager
def _other_method(owner: nn.Module, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """While entered, an object has another method, which its class defines."""
    object.__setattr__(owner, name, method)
    try:
        yield
    finally:
        object.__delattr__(owner, name)


def _of_modelopt(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """What one of modelopt's quantisers computes, without looking at values, as its code for CPUs does."""
    from ..ir.quantized_operators import fake_by_largest

    quantiser: Any = module
    original = quantiser._fake_quantize

    def quantised(inputs: torch.Tensor) -> torch.Tensor:
        bits, blocks = quantiser._num_bits, quantiser.block_sizes or {}
        is_float8, is_whole = bits == (4, 3), isinstance(bits, int) and bits <= 8
        static = blocks.get("type", "static") == "static" and not quantiser.is_mx_format
        if quantiser.backend is not None or not static or not (is_float8 or is_whole):
            result: torch.Tensor = original(inputs)
            return result
        amax, bias = quantiser._get_amax(inputs), quantiser._get_bias(inputs)
        if bias is not None:
            inputs = inputs - bias
        unsigned, narrow = bool(quantiser._unsigned), bool(quantiser._narrow_range)
        result = fake_by_largest(inputs, amax, None if is_float8 else bits, unsigned, narrow)
        return result if bias is None else result + bias

    return quantised


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
