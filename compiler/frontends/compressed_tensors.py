"""Layers that compressed-tensors quantised, as llm-compressor does and transformers loads, as export sees them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..errors import UserError
from ..ir.operators import DEQUANTIZE, QUANTIZE


def is_compressed(module: nn.Module) -> bool:
    """Whether a layer has a scheme of compressed-tensors by which it quantises."""
    scheme = getattr(module, "quantization_scheme", None)
    return type(scheme).__module__.startswith("compressed_tensors.") and hasattr(module, "quantization_status")


def decompress(model: nn.Module) -> None:
    """Do what the model's first call would: bring packed weights back into floats, in place."""
    hook = getattr(model, "ct_decompress_hook", None)
    found = None if hook is None else model._forward_pre_hooks.get(hook.id)
    if found is not None:
        found(model, ())


@contextmanager
def plain_parameters(model: nn.Module) -> Iterator[None]:
    """While entered, modules whose parameters the library keeps in a store of its own have them in a dictionary."""
    stores = [(module, vars(module)["_parameters"]) for module in model.modules()]
    others = [(module, store) for module, store in stores if type(store) is not dict]
    for module, store in others:
        vars(module)["_parameters"] = {name: store[name] for name in store}
    try:
        yield
    finally:
        for module, store in others:
            vars(module)["_parameters"] = store


class CompressedLayer:
    """What a linear layer or table of words with a scheme computes, its weight on the grid of its scales.

    Raises:
        UserError: the scheme has a format that is not read.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module: Any = module
        scheme = self._module.quantization_scheme
        for part in ("input_activations", "weights", "output_activations"):
            args = getattr(scheme, part, None)
            if args is not None:
                _limits(args)

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        module, scheme = self._module, self._module.quantization_scheme
        weight = module.weight
        if getattr(module, "quantization_enabled", True):
            if scheme.input_activations is not None:
                input = self._quantised(input, "input", scheme.input_activations)
            if scheme.weights is not None:
                weight = self._quantised(weight, "weight", scheme.weights)
        if isinstance(module, nn.Embedding):
            return nn.functional.embedding(input, weight)
        output = nn.functional.linear(input, weight, module.bias)
        if getattr(module, "quantization_enabled", True) and scheme.output_activations is not None:
            output = self._quantised(output, "output", scheme.output_activations)
        return output

    def _quantised(self, x: torch.Tensor, name: str, args: Any) -> torch.Tensor:
        low, high, dtype = _limits(args)
        if args.dynamic:
            helpers: Any = importlib.import_module("compressed_tensors.quantization.utils.helpers")
            scale, zero_point = helpers.compute_dynamic_scales_and_zp(value=x, args=args, module=self._module)
        else:
            scale, zero_point = (
                getattr(self._module, f"{name}_scale"),
                getattr(self._module, f"{name}_zero_point", None),
            )
        scale = _shaped(scale.float(), x)
        shift = None if args.symmetric or zero_point is None else _shaped(zero_point, x).to(torch.int32)
        data = QUANTIZE(x, scale, shift, low, high, dtype)
        result: torch.Tensor = DEQUANTIZE(data, scale, shift, x.dtype)
        return result


def _limits(args: Any) -> tuple[int, int, torch.dtype]:
    """The smallest and largest number of a format, and the type that holds them."""
    kind, bits, strategy = _text(args.type), int(args.num_bits), _text(args.strategy)
    dynamic = args.dynamic if isinstance(args.dynamic, bool) else _text(args.dynamic)
    if kind == "float" and bits == 8 and strategy != "tensor_group" and dynamic in (True, False):
        return -448, 448, torch.float8_e4m3fn
    if kind == "int" and bits <= 8 and strategy != "tensor_group" and dynamic in (True, False):
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1, torch.int8
    raise UserError(
        f"compressed-tensors has {bits} bits of type {kind} with one scale per {strategy} for a layer, of which only "
        "whole numbers of up to 8 bits and float8 are read: decompress the model, or quantise it in another format."
    )


def _text(value: Any) -> str:
    return str(getattr(value, "value", value))


def _shaped(scale: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A scale with the rank of what it scales; one number is 0-d."""
    if scale.numel() == 1:
        return scale.reshape(())
    return scale.reshape(*scale.shape, *[1] * (x.dim() - scale.dim()))
