"""Operators that return the very tensor they are given, made views of it before writes are replaced."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from .call import Call
from .program import Program, copy_graph, rebuild

aten = torch.ops.aten

_DROPOUTS = (
    aten.dropout.default,
    aten.alpha_dropout.default,
    aten.feature_dropout.default,
    aten.feature_alpha_dropout.default,
)


def with_views_of_returned_inputs(exported: ExportedProgram) -> ExportedProgram:
    """The program, from torch.export, with `alias` in place of dropout that drops nothing.

    PyTorch returns the input itself then, so that a later write to one is a write to both. Its operators' schemas do
    not say so, and `run_decompositions` takes the result for memory of its own.
    """
    if not any(map(_returns_input, exported.graph.nodes)):
        return exported
    changed = rebuild(exported, copy_graph(exported.graph))
    for node in filter(_returns_input, Program(changed).graph.nodes):
        node.args, node.kwargs = (Call(node).arg("input"),), {}
        node.target = aten.alias.default
    return changed


def _returns_input(node: Node) -> bool:
    if node.target not in _DROPOUTS:
        return False
    call = Call(node)
    return call.arg("train") is False or call.arg("p") == 0
