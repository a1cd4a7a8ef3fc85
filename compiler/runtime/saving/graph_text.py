"""An fx graph of operator calls as JSON text and back: the graph alone, without weights, values or code.

Graphs that are arguments of operators (branches, bodies of loops) are part of the text. Reading a text calls nothing
but the operators it names: those of PyTorch's libraries, and arithmetic on sizes.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from ...errors import UserError

_OPERATOR_NAMES = (
    *("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg", "pos", "abs", "getitem"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_"),
)
_FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        **{f"operator.{name}": getattr(operator, name) for name in _OPERATOR_NAMES},
        **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
        **{
            f"torch.{name}": getattr(torch, name)
            for name in ("sym_int", "sym_float", "sym_max", "sym_min", "sym_not", "sym_ite", "sym_sum")
        },
    }
)
_NAME_OF = MappingProxyType({function: name for name, function in _FUNCTIONS.items()})


def dumps(graph: Graph) -> str:
    """The text of a graph of placeholders, operator calls, graphs as arguments of them, and an output.

    Raises:
        ValueError: a node or an argument is of another kind.
    """
    return json.dumps(_graph_data(graph), separators=(",", ":"))


def _graph_data(graph: Graph) -> dict[str, Any]:
    rows: list[list[Any]] = []
    for node in graph.nodes:
        if node.op == "placeholder":
            rows.append([node.name])
        elif node.op == "call_function":
            args = [_encoded(argument) for argument in node.args]
            kwargs = {name: _encoded(argument) for name, argument in node.kwargs.items()}
            rows.append([node.name, _target_name(node), args, kwargs])
        elif node.op == "get_attr" and isinstance(_attribute(node), GraphModule):
            rows.append([node.name, _graph_data(_attribute(node).graph)])
        elif node.op != "output":
            raise ValueError(f"node {node.name} is a {node.op}, which a segment cannot have")
    return {"nodes": rows, "outputs": _encoded(graph.output_node().args[0])}


def _attribute(node: Node) -> Any:
    root = node.graph.owning_module
    return None if root is None else getattr(root, str(node.target), None)


def loads(text: str | bytes, name: str = "Segment") -> GraphModule:
    """The module whose graph `dumps` wrote; it has no state, and returns a tuple.

    Raises:
        UserError: the text is damaged, or names an operator that this PyTorch does not have.
    """
    try:
        return _module(json.loads(text), name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"the PyTorch graph of a segment cannot be read by PyTorch {torch.__version__} "
            f"({type(error).__name__}: {error}): compile again with this version."
        ) from error


def _module(data: Mapping[str, Any], name: str) -> GraphModule:
    root = torch.nn.Module()
    graph, nodes = Graph(), {}
    for label, *call in data["nodes"]:
        if not call:
            nodes[label] = graph.placeholder(label)
        elif len(call) == 1:
            root.add_module(label, _module(call[0], label))
            nodes[label] = graph.create_node("get_attr", label, name=label)
        else:
            target, args, kwargs = call
            nodes[label] = graph.create_node(
                "call_function",
                _target(target),
                tuple(_decoded(argument, nodes) for argument in args),
                {key: _decoded(argument, nodes) for key, argument in kwargs.items()},
                name=label,
            )
    results = _decoded(data["outputs"], nodes)
    graph.output(tuple(results) if isinstance(results, list) else results)
    return GraphModule(root, graph, class_name=name)


def _target_name(node: Node) -> str:
    if isinstance(node.target, torch._ops.OpOverload):
        packet, overload = node.target._schema.name, node.target._overloadname
        return f"{packet}.{overload}"
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        return f"higher_order::{node.target._name}"
    if node.target in _NAME_OF:
        return _NAME_OF[node.target]  # type: ignore[index]
    raise ValueError(f"node {node.name} calls {node.target}, which a segment cannot hold")


def _target(name: str) -> Callable[..., Any]:
    if "::" not in name:
        return _FUNCTIONS[name]
    if name.startswith("higher_order::"):
        found = getattr(torch.ops.higher_order, name.removeprefix("higher_order::"))
        if not isinstance(found, torch._ops.HigherOrderOperator):
            raise ValueError(f"{name!r} is no operator")
        return found
    packet, _, overload = name.rpartition(".")
    namespace, _, operation = packet.partition("::")
    found = getattr(getattr(getattr(torch.ops, namespace), operation), overload)
    if not isinstance(found, torch._ops.OpOverload):
        raise ValueError(f"{name!r} is no operator")
    return found


def _encoded(value: Any) -> Any:
    if isinstance(value, Node):
        return {"node": value.name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    for kind, cls in (("dtype", torch.dtype), ("layout", torch.layout), ("memory_format", torch.memory_format)):
        if isinstance(value, cls):
            return {kind: str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    raise ValueError(f"an argument is {value!r}, which has no text form")


def _decoded(value: Any, nodes: Mapping[str, Node]) -> Any:
    if isinstance(value, list):
        return [_decoded(item, nodes) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "node":
        return nodes[content]
    if kind == "device":
        return torch.device(content)
    if kind == "complex":
        return complex(*content)
    found = getattr(torch, content)
    if not isinstance(found, torch.dtype | torch.layout | torch.memory_format):
        raise ValueError(f"{content!r} is no {kind}")
    return found
