"""The text form of nodes, operators and values: one line per node, the same words in dumps, errors and docs."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch.fx import Node

from .dtypes import short_name


def op_name(target: Any) -> str:
    """The operator's name as users write it: "aten.addmm", "aten.mean.dim", "aten.sym_size.int", "getitem"."""
    if isinstance(target, torch._ops.OpOverload):
        return _overload_name(target)
    if isinstance(target, torch._ops.HigherOrderOperator):
        return f"higher_order.{target.__name__}"
    if target is operator.getitem:
        return "getitem"
    return str(getattr(target, "__name__", target))


@functools.lru_cache(maxsize=1024)  # a model has thousands of nodes of a few dozen operators
def _overload_name(target: torch._ops.OpOverload) -> str:
    name = f"{target.namespace}.{target._schema.name.split('::')[1]}"
    return name if target._overloadname == "default" else f"{name}.{target._overloadname}"


def type_text(value: Any) -> str:
    """The type of a node's value: "f32[2,16,s0]", "i64" for a size, a comma list in parentheses for several."""
    if isinstance(value, torch.Tensor):
        return f"{short_name(value.dtype)}[{','.join(map(str, value.shape))}]"
    if isinstance(value, bool | torch.SymBool):
        return "bool"
    if isinstance(value, int | torch.SymInt):
        return "i64"
    if isinstance(value, float | torch.SymFloat):
        return "f64"
    if isinstance(value, tuple | list):
        return f"({', '.join(type_text(item) for item in value)})"
    return "none" if value is None else type(value).__name__


def argument_text(argument: Any) -> str:
    """An argument of a node: "%name" for another node, Python literals, dtypes as short names."""
    if isinstance(argument, Node):
        return f"%{argument.name}"
    if isinstance(argument, torch.dtype):
        return short_name(argument)
    if isinstance(argument, list | tuple):
        return f"[{', '.join(argument_text(item) for item in argument)}]"
    if isinstance(argument, torch.device | torch.layout | torch.memory_format):
        return str(argument).removeprefix("torch.")
    return repr(argument)


def node_text(node: Node, notes: Iterable[str] = ()) -> str:
    """One line for a node: `%addmm = aten.addmm(%bias, %x, %w) : f32[2,16,192]  # note | note`."""
    arguments = [argument_text(argument) for argument in node.args]
    arguments += [f"{name}={argument_text(argument)}" for name, argument in node.kwargs.items()]
    if node.op == "output":
        line = f"return {argument_text(node.args[0])}"
    elif node.op == "placeholder":
        line = f"%{node.name} = input : {type_text(node.meta.get('val'))}"
    elif node.op == "get_attr":
        line = f"%{node.name} = get_attr({node.target})"
    else:
        line = f"%{node.name} = {op_name(node.target)}({', '.join(arguments)}) : {type_text(node.meta.get('val'))}"
    remarks = [note for note in notes if note]
    return f"{line}  # {' | '.join(remarks)}" if remarks else line
