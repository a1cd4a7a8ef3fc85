"""The ranges of `Input`s in the form in which `torch.export.export` takes them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import Dim

from .input import Input


def get_dynamic_shapes(input: Input) -> dict[int, Any]:
    """A `torch.export.Dim` for every size of an input that varies, by its place."""
    if not isinstance(input, Input) or not input.is_dynamic:
        return {}
    prefix = input.name if input.name.isidentifier() else f"size_{id(input):x}"
    ranges = zip(input.shape["min_shape"], input.shape["max_shape"], strict=True)
    return {
        place: Dim(f"{prefix}_{place}", min=low, max=high) for place, (low, high) in enumerate(ranges) if low != high
    }


def get_dynamic_shapes_kwargs(inputs: Any) -> Any:
    """The same for inputs in containers, in the same containers."""
    if isinstance(inputs, Mapping):
        return {name: get_dynamic_shapes_kwargs(item) for name, item in inputs.items()}
    if isinstance(inputs, list | tuple):
        return [get_dynamic_shapes_kwargs(item) for item in inputs]
    return get_dynamic_shapes(inputs)


def get_dynamic_shapes_args(mod: torch.nn.Module, inputs: Sequence[Any]) -> dict[str, Any]:
    """The same for positional inputs, by the names that the module's `forward` has for them."""
    names = list(inspect.signature(mod.forward).bind_partial(*inputs).arguments)
    return {name: get_dynamic_shapes_kwargs(item) for name, item in zip(names, inputs, strict=False)}
