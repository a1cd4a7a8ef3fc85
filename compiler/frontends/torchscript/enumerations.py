"""Members of enumerations in a file, whose classes Python does not know where the file is loaded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Member:
    """Stands for a member of an enumeration: `kind` is TorchScript's name of the class."""

    kind: str
    name: str
    value: Any


def is_unknown_class(error: RuntimeError) -> bool:
    """Whether PyTorch could not hand a value to Python since it does not know its class."""
    return "Unknown reference to ScriptClass" in str(error)


def member_of_constant(node: Any) -> Member | None:
    """What a `prim::Constant` node is; None unless it is of an enumeration."""
    return _member(node.output().type(), lambda graph: graph.createClone(node, lambda value: value))


def member_of_attribute(script: Any, name: str) -> Member | None:
    """What an attribute of a TorchScript module is; None unless some method reads it and it is of an enumeration."""
    own = script._c._type()
    for method in script._c._method_names():
        for node in script._c._get_method(method).graph.findAllNodes("prim::GetAttr"):
            if node.s("name") == name and next(node.inputs()).type().annotation_str == own.annotation_str:
                return _member(node.output().type(), functools.partial(_read_attribute, node, own), script)
    return None


def _read_attribute(node: Any, owner: Any, graph: Any) -> Any:
    return graph.createClone(node, lambda _: graph.addInput().setType(owner))


def _member(kind: Any, make: Callable[[Any], Any], *given: Any) -> Member | None:
    """The name and the value of a member, which TorchScript itself tells."""
    if kind.kind() != "EnumType":
        return None
    graph: Any = torch._C.Graph()
    made = graph.insertNode(make(graph)).output()
    parts = [graph.insertNode(graph.create(f"prim::Enum{part}", [made], 1)).output() for part in ("Name", "Value")]
    for part in parts:
        graph.registerOutput(part)
    native: Any = torch._C
    name, value = native._jit_interpret_graph(graph, given)
    return Member(kind.annotation_str, name, value)
