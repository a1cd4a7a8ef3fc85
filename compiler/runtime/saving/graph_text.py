"""An fx graph of operator calls as JSON text and back: the graph alone, without weights, values or code.

Graphs that are arguments of operators (branches, bodies of loops) are part of the text. Reading a text calls nothing
but the operators it names: those of PyTorch's libraries, and arithmetic on sizes.
"""

from __future__ import annotations

import json
import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from ...errors import UserError, on_one_line
from ...ir.strict_json import strict_json
from .allowed import FUNCTIONS, Allowed, NotAllowed

_KINDS: Mapping[str, type] = MappingProxyType(
    {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}
)
_NAME_OF = MappingProxyType({function: name for name, function in FUNCTIONS.items()})


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


def loads(text: str | bytes, name: str = "Segment", allowed: Allowed | None = None) -> GraphModule:
    """The module whose graph `dumps` wrote; it has no state, and returns a tuple.

    Nothing of the text gets into the module's code but names that are identifiers, values, and operators that
    `allowed` lets a file call; by default those of PyTorch.

    Raises:
        UserError: the text is damaged, or names an operator that a file may not call, or that this PyTorch lacks.
    """
    with _as_user_error():
        return _module(strict_json(text), name, allowed or Allowed())


def check(text: str | bytes, allowed: Allowed | None = None) -> None:
    """Raise UserError unless `loads` can read a text; makes no code."""
    with _as_user_error():
        _check(strict_json(text), allowed or Allowed())


@contextmanager
def _as_user_error() -> Iterator[None]:
    try:
        yield
    except NotAllowed as error:
        raise UserError(f"the PyTorch graph of a segment cannot be used: {on_one_line(error)}.") from error
    except Exception as error:  # fx raises errors of a dozen kinds at what is no graph
        raise UserError(
            f"the PyTorch graph of a segment cannot be read by PyTorch {torch.__version__} "
            f"({type(error).__name__}: {on_one_line(error)}): compile again with this version."
        ) from error


def _module(data: Any, name: str, allowed: Allowed) -> GraphModule:
    graph, inner = _graph(data, allowed)
    root = torch.nn.Module()
    for label, item in inner.items():
        root.add_module(label, _module(item, label, allowed))
    return GraphModule(root, graph, class_name=name)


def _check(data: Any, allowed: Allowed) -> None:
    for item in _graph(data, allowed)[1].values():
        _check(item, allowed)


def _graph(data: Any, allowed: Allowed) -> tuple[Graph, dict[str, Any]]:
    """The graph, and the data of the graphs that its operators take, by name."""
    if not isinstance(data, dict) or set(data) != {"nodes", "outputs"} or not isinstance(data["nodes"], list):
        raise ValueError("a graph is an object of nodes and outputs")
    graph, nodes, inner, inputs = Graph(), dict[str, Node](), dict[str, Any](), 0
    for row in data["nodes"]:
        label, call = _row(row)
        if label in nodes:
            raise ValueError(f"there are two nodes {label!r}")
        if not call:
            if inputs != len(nodes):
                raise ValueError(f"the input {label!r} comes after calls")
            inputs += 1
            nodes[label] = graph.placeholder(label)
        elif len(call) == 1:
            inner[label] = call[0]
            nodes[label] = graph.create_node("get_attr", label, name=label)
        else:
            target, args, kwargs = call
            nodes[label] = graph.create_node(
                "call_function",
                _target(target, allowed),
                tuple(_decoded(argument, nodes) for argument in args),
                {_identifier(key): _decoded(argument, nodes) for key, argument in kwargs.items()},
                name=label,
            )
    results = _decoded(data["outputs"], nodes)
    graph.output(tuple(results) if isinstance(results, list) else results)
    return graph, inner


def _row(row: Any) -> tuple[str, Sequence[Any]]:
    """The name of a node, and what it calls: nothing, a graph, or a target with its arguments."""
    if not isinstance(row, list) or len(row) not in (1, 2, 4):
        raise ValueError(f"{row!r} is no node")
    label, *call = row
    if len(call) == 3 and not (isinstance(call[1], list) and isinstance(call[2], dict)):
        raise ValueError(f"the arguments of {label!r} are none")
    return _identifier(label), call


def _identifier(name: Any) -> str:
    """A name that becomes part of Python code, where it can be nothing but a name."""
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(f"{name!r} is no name")
    return name


def _target_name(node: Node) -> str:
    if isinstance(node.target, torch._ops.OpOverload):
        packet, overload = node.target._schema.name, node.target._overloadname
        return f"{packet}.{overload}"
    if isinstance(node.target, torch._ops.HigherOrderOperator):
        return f"higher_order::{node.target._name}"
    if node.target in _NAME_OF:
        return _NAME_OF[node.target]  # type: ignore[index]
    raise ValueError(f"node {node.name} calls {node.target}, which a segment cannot hold")


def _target(name: Any, allowed: Allowed) -> Callable[..., Any]:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no operator")
    if "::" not in name:
        return FUNCTIONS[name]
    namespace, _, rest = name.partition("::")
    if namespace == "higher_order":
        return allowed.higher_order(rest)
    operation, _, overload = rest.rpartition(".")
    if namespace == "trt_passes" and operation == "execute_engine":
        raise ValueError("a segment cannot run another one")
    return allowed.operator(namespace, operation, overload)


def _encoded(value: Any) -> Any:
    if isinstance(value, Node):
        return {"node": value.name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    for kind, cls in _KINDS.items():
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
    if len(value) != 1:
        raise ValueError(f"{value!r} is no argument")
    ((kind, content),) = value.items()
    if kind == "complex":
        real, imaginary = (float(part) for part in content)
        return complex(real, imaginary)
    if not isinstance(content, str):
        raise ValueError(f"{content!r} is no {kind}")
    if kind == "node":
        return nodes[content]
    if kind == "device":
        return torch.device(content)
    found = getattr(torch, content, None) if kind in _KINDS else None
    if not isinstance(found, _KINDS.get(kind, ())):
        raise ValueError(f"{content!r} is no {kind}")
    return found
