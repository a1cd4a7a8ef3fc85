"""The samples of an `op_db` entry as modules whose inputs are their tensors."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree
from trt_passes.compiler.ir.text import argument_text, type_text

from .catalog import entries

SEED = 0


class SampleModule(torch.nn.Module):
    """Calls an operator with the tensors that it is given in the places of the sample's tensors.

    An engine has inputs, so a call without tensors gets a neighbour that has one.
    """

    def __init__(self, operator: Callable[..., Any], leaves: list[Any], spec: pytree.TreeSpec) -> None:
        super().__init__()
        self.operator, self.leaves, self.spec = operator, leaves, spec
        self.layers = torch.nn.ModuleList(leaf for leaf in leaves if isinstance(leaf, torch.nn.Module))

    def forward(self, *tensors: torch.Tensor) -> Any:
        given = iter(tensors)
        leaves = [next(given) if leaf is _TENSOR else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        result = self.operator(*args, **kwargs)
        anchor = next(given, None)
        return result if anchor is None else (result, anchor + 1)


_TENSOR = object()


@dataclass(frozen=True)
class Sample:
    """One call of an operator.

    Attributes:
        operator: name of the entry.
        dtype: what the sample was made for.
        index: its place among the entry's samples of that dtype.
        module: takes the tensors of the call, in order; everything else is part of it.
        tensors: the tensors of the call; never written to, see `copies`.
        text: the call, for messages.
    """

    operator: str
    dtype: torch.dtype
    index: int
    module: torch.nn.Module = field(repr=False)
    tensors: tuple[torch.Tensor, ...] = field(repr=False)
    text: str

    def copies(self) -> tuple[torch.Tensor, ...]:
        """The tensors, with the same strides, free to be overwritten."""
        return tuple(map(copy_of, self.tensors))


def copy_of(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides."""
    copied = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return copied.copy_(tensor)


def seed(start: int = SEED) -> None:
    """Make what follows draw the same random numbers in every run."""
    torch.manual_seed(start)
    random.seed(start)
    np.random.seed(start)


def samples(operator: str, dtype: torch.dtype, most: int) -> Iterator[Sample]:
    """At most `most` samples of an entry, spread evenly over all that it has."""
    seed()
    entry = entries()[operator]
    found = [item for item in entry.sample_inputs("cpu", dtype, requires_grad=False) if _stays_on_cpu(item.kwargs)]
    for index in spread(len(found), most):
        item = found[index]
        yield sample_of(operator, dtype, index, entry.op, (item.input, *item.args), item.kwargs)


def _stays_on_cpu(kwargs: Mapping[str, Any]) -> bool:
    """Whether a call asks for no other device; where there is a GPU, some samples do."""
    return torch.device(kwargs.get("device") or "cpu").type == "cpu"


def sample_of(
    operator: str, dtype: torch.dtype, index: int, function: Callable[..., Any], args: Any, kwargs: Any
) -> Sample:
    """A call as a sample."""
    leaves, spec = pytree.tree_flatten((tuple(args), dict(kwargs)))
    tensors = tuple(leaf.detach() for leaf in leaves if isinstance(leaf, torch.Tensor))
    baked = [_TENSOR if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    text = [type_text(leaf) if isinstance(leaf, torch.Tensor) else argument_text(leaf) for leaf in leaves]
    names = pytree.tree_unflatten(text, spec)
    shown = [_text(value) for value in names[0]] + [f"{key}={_text(value)}" for key, value in names[1].items()]
    module = SampleModule(function, baked, spec)
    return Sample(operator, dtype, index, module, tensors or (torch.ones(2),), ", ".join(shown))


def _text(value: Any) -> str:
    return f"[{', '.join(map(_text, value))}]" if isinstance(value, list | tuple) else str(value)


def spread(count: int, most: int) -> list[int]:
    """At most `most` of the indices below `count`, the first and the last among them, evenly spaced."""
    if count <= most:
        return list(range(count))
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)}) if most > 1 else [0]
