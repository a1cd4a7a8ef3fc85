"""Saving programs without their weights: small archives that `torch.export.load` reads like any other."""

from __future__ import annotations

import io
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from .collector import collector_paused
from .containers import with_tuples

MAX_EXAMPLE_BYTES = 1 << 16
"""Example inputs above this size are saved without their values, as weights are."""


def weightless(exported: ExportedProgram, names: Collection[str] | None = None) -> ExportedProgram:
    """The same program with all weights zero, each a view of one element: shape, dtype and kind are kept.

    All tensors of a kind and dtype share that element, so the archive does not grow with the weights. With `names`
    only these parameters and buffers are so.
    """
    hollow = _Hollow()
    if names is not None:
        kept = dict(exported.state_dict)
        kept.update({name: hollow.like(kept[name]) for name in names})
        return ExportedProgram(
            root=exported.graph_module,
            graph=exported.graph_module.graph,
            graph_signature=exported.graph_signature,
            state_dict=kept,
            range_constraints=exported.range_constraints,
            module_call_graph=exported.module_call_graph,
            example_inputs=exported.example_inputs,
            constants=exported.constants,
            verifiers=exported.verifiers,
        )
    return ExportedProgram(
        root=exported.graph_module,
        graph=exported.graph_module.graph,
        graph_signature=exported.graph_signature,
        state_dict={name: hollow.like(tensor) for name, tensor in exported.state_dict.items()},
        range_constraints=exported.range_constraints,
        module_call_graph=exported.module_call_graph,
        example_inputs=pytree.tree_map(hollow.example_like, exported.example_inputs),
        constants={name: hollow.like(value) for name, value in exported.constants.items()},
        verifiers=exported.verifiers,
    )


def is_weightless(exported: ExportedProgram) -> bool:
    """Whether a program was saved by way of `weightless`: each of its parameters is a view of one element."""
    weights = [t for t in exported.state_dict.values() if isinstance(t, torch.nn.Parameter) and t.numel() > 1]
    return bool(weights) and not any(any(weight.stride()) for weight in weights)


class _Hollow:
    """Makes zeros of any shape out of one element per dtype and kind of tensor.

    Parameters and buffers do not share theirs: loading takes `requires_grad` from the first tensor of a storage.
    """

    def __init__(self) -> None:
        self._elements: dict[tuple[torch.dtype, type, bool], torch.Tensor] = {}

    def like(self, value: Any) -> Any:
        if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.layout is not torch.strided:
            return value
        if value.is_quantized:
            return value
        key = (value.dtype, type(value), value.requires_grad)
        element = self._elements.get(key)
        if element is None:
            element = self._elements[key] = torch.zeros(1, dtype=value.dtype)
        zeros = element.as_strided(value.shape, (0,) * value.dim())
        return torch.nn.Parameter(zeros, value.requires_grad) if isinstance(value, torch.nn.Parameter) else zeros

    def example_like(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.numel() * value.element_size() > MAX_EXAMPLE_BYTES:
            return self.like(value)
        return value


def save_without_rehearsal() -> None:
    """Take two steps out of PyTorch's serializer, in the whole process and for good: for copies made for saving only.

    It brings every program into a canonical form only to see that it can, and prints it for a log that nobody reads:
    together two thirds of its time and half of its memory. What it writes is the same, byte for byte.
    """
    from torch._export.serde import serialize

    for owner, name in ((serialize, "canonicalize"), (torch.fx.GraphModule, "print_readable")):
        if hasattr(owner, name):
            setattr(owner, name, _nothing)


def _nothing(*_: Any, **__: Any) -> str:
    return ""


def archive(exported: ExportedProgram, extra_files: Mapping[str, str] | None = None) -> bytes:
    """What `torch.export.save` writes, without its warnings about PyTorch's own code and about views of one element.

    There are tuples in the place of containers that it cannot write.
    """
    buffer = io.BytesIO()
    before = exported.module_call_graph
    with_tuples(exported)
    # Saving makes some hundred thousand small objects and no cycles; looking for cycles takes as long as saving itself.
    with warnings.catch_warnings(), collector_paused():
        warnings.simplefilter("ignore")
        try:
            torch.export.save(exported, buffer, extra_files=dict(extra_files or {}))
        finally:
            exported._module_call_graph = before
    return buffer.getvalue()
