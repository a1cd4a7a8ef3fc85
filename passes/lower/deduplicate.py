"""The pass `lower.deduplicate`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.fx import Node

from ...compiler.ir.aliasing import mutates, reaches_output
from ...compiler.ir.annotations import annotate_node, is_kept_view
from ...compiler.ir.graph import replace_node
from ...compiler.ir.memory import view_key
from ...compiler.ir.program import Program
from ...compiler.pass_base import Context, Pass
from .values import is_pure


@dataclass(frozen=True)
class Deduplicate(Pass):
    """Compute every value once: let equal calls with equal arguments, and tied parameters, share one node.

    The later of two equal nodes goes, so the one that stays keeps its own source line. Random operators draw anew each
    time and stay, and so do two nodes that the caller gets as separate outputs.

    Before:
        %relu = aten.relu(%x) : f32[4]
        %relu_1 = aten.relu(%x) : f32[4]
        %add = aten.add.Tensor(%relu, %relu_1) : f32[4]
    After:
        %relu = aten.relu(%x) : f32[4]
        %add = aten.add.Tensor(%relu, %relu) : f32[4]
    """

    name: ClassVar[str] = "lower.deduplicate"

    def run(self, program: Program, ctx: Context) -> Program:
        """Edit the graph in place."""
        if mutates(program.graph):
            return program
        _tie_constants(program)
        seen: dict[Hashable, Node] = {}
        for node in program.op_nodes:
            if not is_pure(node) or _makes_a_symbol(node):
                continue
            first = seen.setdefault((node.target, _key(node.args), _key(node.kwargs)), node)
            if first is not node and not (reaches_output(first) and reaches_output(node)):
                if is_kept_view(node):
                    annotate_node(first, view=True)
                replace_node(node, first)
        return program


def _makes_a_symbol(node: Node) -> bool:
    """Whether the node's result has a size, or is a number, that only the values of its inputs decide."""
    return bool(
        {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output} & set(getattr(node.target, "tags", ()))
    )


def _tie_constants(program: Program) -> None:
    nodes = program.nodes_by_name
    seen: dict[Hashable, Node] = {}
    for name, tensor in program.constants.items():
        first = seen.setdefault(view_key(tensor), nodes[name])
        if first is not nodes[name]:
            nodes[name].replace_all_uses_with(first)


def _key(argument: Any) -> Hashable:
    """Equal for equal arguments only: 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if isinstance(argument, list | tuple):
        return tuple(_key(item) for item in argument)
    if isinstance(argument, dict):
        return tuple((name, _key(argument[name])) for name in sorted(argument))
    if isinstance(argument, slice):
        return ("slice", _key(argument.start), _key(argument.stop), _key(argument.step))
    if isinstance(argument, float):
        return ("float", argument.hex())
    return argument if isinstance(argument, Node) else (type(argument), argument)
