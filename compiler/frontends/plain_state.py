"""Weights, buffers and constants of a program as tensors whose memory holds their numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ..errors import UserError
from ..ir.program import copy_graph, rebuild
from ..ir.retraced import retraced


def with_plain_state(exported: ExportedProgram) -> ExportedProgram:
    """The program, from torch.export, with plain tensors only in its state; the same one if it has no others.

    Subclasses that wrap tensors, such as those of quantized weights, are taken apart: the tensors inside are the
    program's state, and its graph computes with them. What is marked as conjugated or negated is computed, unless the
    program writes to it.

    Raises:
        UserError: a subclass has no memory and does not tell what it is made of.
    """
    if any(map(is_traceable_wrapper_subclass, _tensors(exported).values())):
        exported = retraced(exported)
    tensors = _tensors(exported)
    for name, tensor in tensors.items():
        if _has_no_memory(tensor):
            raise UserError(
                f"the model's tensor {name!r} is a {type(tensor).__name__}, which wraps other tensors and cannot be "
                "taken apart: make it a parameter or buffer, of a class with __tensor_flatten__ and "
                "__tensor_unflatten__."
            )
    written = set(exported.graph_signature.buffers_to_mutate.values())
    lazy = {name for name, tensor in tensors.items() if tensor.is_conj() or tensor.is_neg()} - written
    if not lazy:
        return exported
    plain = rebuild(exported, copy_graph(exported.graph))
    for stored in (plain.state_dict, plain.constants):
        stored.update({name: _computed(stored[name]) for name in lazy & set(stored)})
    return plain


def _tensors(exported: ExportedProgram) -> dict[str, torch.Tensor]:
    state: dict[str, Any] = {**exported.state_dict, **exported.constants}
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def _has_no_memory(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a subclass that wraps others, which has sizes and a type, but no address."""
    if type(tensor) in _PLAIN or tensor.layout is not torch.strided or tensor.is_meta:
        return False
    return is_traceable_wrapper_subclass(tensor) or (bool(tensor.numel()) and not tensor.data_ptr())


_PLAIN = frozenset({torch.Tensor, torch.nn.Parameter, torch.nn.Buffer})


def _computed(tensor: torch.Tensor) -> torch.Tensor:
    computed = tensor.detach().resolve_conj().resolve_neg()
    return torch.nn.Parameter(computed, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else computed
