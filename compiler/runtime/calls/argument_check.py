"""What engines do not check of the arguments of a call, before it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.fx import GraphModule, Node

from ...errors import UserError
from ...ir.engine_operator import OPERATOR
from ...ir.engine_spec import Binding, EngineSpec
from ...ir.left_out import LeftOut, check_unchanged
from ...ir.program import is_symbolic
from ...ir.shape_rule import ShapeRule
from ...ir.symbols import dims_of, finite
from .argument_order import ArgumentOrder
from .layout import Layout
from .shared_memory import SharedMemory

_IMPLIED = 2
"""The smallest size that torch.export assumes where nobody declared one."""


@dataclass(frozen=True)
class ArgumentCheck:
    """A forward pre-hook that refuses arguments for which the graph is not right.

    Numbers, text and None are part of the graph. Tensors that do not all enter the engine that runs first must have the
    types and sizes that the model was exported for, and arguments must be nested as they were.

    Attributes:
        order: of the graph's placeholders.
        fixed: position, name and value of every argument that is part of the graph.
        tensors: position and expected type and sizes of all tensors; none if engines check them all.
        rule: checks their sizes.
        memory: checks that they do not share memory which is written to; None if nothing is.
        layouts: checks how those lie in memory for which it matters.
    """

    order: ArgumentOrder
    fixed: tuple[tuple[int, str, Any], ...]
    tensors: tuple[tuple[int, Binding], ...]
    rule: ShapeRule
    memory: SharedMemory | None
    layouts: tuple[Layout, ...]

    @classmethod
    def of(cls, module: GraphModule, exported: ExportedProgram) -> ArgumentCheck | None:
        """That of a compiled module, made of a spliced program; None if there is nothing to check."""
        order = ArgumentOrder.of(module)
        if order is None:
            return None
        arguments = [spec.arg for spec in exported.graph_signature.input_specs if spec.kind is InputKind.USER_INPUT]
        fixed = [(i, arg.name, arg.value) for i, arg in enumerate(arguments) if isinstance(arg, ConstantArgument)]
        nodes = {node.name: node for node in exported.graph.find_nodes(op="placeholder")}
        inputs = [(i, nodes[arg.name]) for i, arg in enumerate(arguments) if arg.name in nodes]
        tensors = [(i, node) for i, node in inputs if isinstance(node.meta.get("val"), torch.Tensor)]
        if all(_enters_the_first_engine(node) for _, node in tensors):
            tensors = []
        memory = SharedMemory.of(module)
        layouts = tuple(layout for i, node in inputs if (layout := Layout.of(i, node)) is not None)
        if not fixed and not tensors and order.is_flat and memory is None and not layouts:
            return None
        bindings = tuple((i, _binding(node, exported.range_constraints)) for i, node in tensors)
        spec = EngineSpec("the model", "", "", tuple(binding for _, binding in bindings), ())
        return cls(order, tuple(fixed), bindings, ShapeRule(spec, "the compiled model"), memory, layouts)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Check the arguments of a call.

        Raises:
            UserError: one does not fit.
        """
        left_out: LeftOut | None = getattr(module, "left_out", None)
        if left_out is not None and left_out.concerns(args, kwargs):
            args, kwargs = left_out.removed(args, kwargs)
        leaves = self.order.leaves(args, kwargs)
        if leaves is None:
            return
        for index, name, value in self.fixed:
            check_unchanged(name, value, leaves[index])
        if self.tensors:
            self._check_tensors(leaves)
        for layout in self.layouts:
            layout.check(leaves)
        if self.memory is not None:
            self.memory.check(module, leaves)

    def _check_tensors(self, leaves: list[Any]) -> None:
        shapes = []
        for index, binding in self.tensors:
            given = leaves[index]
            if not isinstance(given, torch.Tensor):
                raise UserError(f"input {binding.name!r} is a {type(given).__name__}: give a tensor.")
            if given.dtype != binding.dtype:
                raise UserError(
                    f"input {binding.name!r} is {given.dtype}, but the model was compiled for {binding.dtype}: give a "
                    "tensor of that dtype."
                )
            shapes.append(tuple(given.shape))
        # Sizes that are traced are checked when they are known.
        if all(isinstance(size, int) for shape in shapes for size in shape):
            self.rule.check(shapes)


def _enters_the_first_engine(node: Node) -> bool:
    """Whether an engine takes the tensor before anything else computes."""
    first = next((other for other in node.graph.nodes if other.op == "call_function" and not is_symbolic(other)), None)
    return first is not None and first.target is OPERATOR and node in first.args[0]


def _binding(node: Node, limits: Mapping[Any, Any]) -> Binding:
    value = node.meta["val"]
    dims = dims_of(value.shape)
    low, high = zip(*(_range(dim, limits) for dim in dims), strict=True) if dims else ((), ())
    shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in dims)
    return Binding(node.name, value.dtype, shape, low, low, high)


def _range(dim: Any, limits: Mapping[Any, Any]) -> tuple[int, int]:
    if isinstance(dim, int):
        return dim, dim
    known = limits.get(dim) if isinstance(dim, sympy.Symbol) else None
    if known is None:
        return 0, sys.maxsize
    high = finite(known.upper)
    return 0 if known.lower == _IMPLIED else int(known.lower), sys.maxsize if high is None else high
