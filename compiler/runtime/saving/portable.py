"""A compiled program in the form in which it is saved: for the CPU, which every machine has."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ...errors import UserError
from ...ir.program import copy_graph, rebuild
from ..fallback import move_made_tensors

_CPU = torch.device("cpu")


def on_cpu(exported: ExportedProgram) -> ExportedProgram:
    """The program with its weights, constants, and all that its graph says of devices on the CPU.

    Tensors that are there already are shared. A program exported on a GPU would otherwise only load where one is.
    """
    graph = copy_graph(exported.graph)
    move_made_tensors(graph, lambda _: _CPU)
    for node in graph.nodes:
        if "val" in node.meta:
            node.meta["val"] = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(_CPU), node.meta["val"])
    moved = rebuild(exported, graph)
    for tensors in (moved.state_dict, moved.constants):
        tensors.update({name: _on_cpu(value) for name, value in tensors.items()})
    return moved


def refuse_pickles(exported: ExportedProgram) -> None:
    """Raise UserError if PyTorch would pickle one of the program's tensors or constants: reading a pickle runs code."""
    for name, value in (*exported.state_dict.items(), *exported.constants.items()):
        kind = type(value.data) if isinstance(value, torch.Tensor) else type(value)
        if kind is not torch.Tensor:
            raise UserError(
                f"{name} is a {kind.__name__}, which PyTorch can only pickle, and a saved model holds no pickles: make "
                "it a plain tensor before compiling."
            )


def _on_cpu(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    # PyTorch writes the memory of a tensor, without the note that what it holds is to be conjugated or negated.
    lazy = value.is_conj() or value.is_neg()
    if value.is_meta or (value.device == _CPU and not lazy):
        return value
    moved = value.detach().to(_CPU).resolve_conj().resolve_neg()
    return torch.nn.Parameter(moved, value.requires_grad) if isinstance(value, torch.nn.Parameter) else moved
