"""What a TorchScript method is called with, to see what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ...inputs import as_input, declares_input
from ..exported_program import device_of, example_arguments
from ..given_arguments import is_declared
from .conversion import Script


def example_calls(script: Script, declared: Mapping[str, Any], fill: int | None) -> Iterator[list[Any]]:
    """All arguments, in order: with the smallest inputs, the largest, and the usual ones.

    Whole numbers in the smallest ones are `fill`, if it is not None.
    """
    _, usual = example_arguments(script.owner, (), declared)
    device = device_of(script.owner)
    defaults = {item.name: item.default_value for item in script.arguments if item.has_default_value()}
    for corner in ("min_shape", "max_shape"):

        def example(leaf: Any, corner: str = corner) -> Any:
            if isinstance(leaf, torch.Tensor) or not declares_input(leaf):
                return leaf
            item = as_input(leaf)
            made = item.example(device, getattr(item, corner))
            is_whole = not (item.dtype.is_floating_point or item.dtype.is_complex or item.dtype == torch.bool)
            return torch.full_like(made, fill) if fill is not None and is_whole and corner == "min_shape" else made

        other = pytree.tree_map(example, dict(declared), is_leaf=is_declared)
        yield [{**defaults, **other}[item.name] for item in script.arguments]
    yield [{**defaults, **usual}[item.name] for item in script.arguments]
