"""Methods that only a caller calls, such as those of `@torch.jit.export`: kept beside a `forward` that is one graph."""

from __future__ import annotations

from typing import Any

import torch

from ...errors import NotWhole
from .inlined import copied
from .nodes import all_nodes, graphs_of
from .written_memory import is_own, written_values

_WHOLE = "whole"


def other_methods(model: Any) -> list[str]:
    """The methods of a TorchScript module that `forward` does not reach; none of anything else."""
    if not isinstance(model, torch.jit.ScriptModule):
        return []
    known = [name for name in model._c._method_names() if not name.startswith("__")]
    reached = ["forward"]
    for name in (name for name in reached if name in known):
        graph = model._c._get_method(name).graph
        root = next(graph.inputs()).debugName()
        own = (node for node in graph.findAllNodes("prim::CallMethod") if next(node.inputs()).debugName() == root)
        reached += {node.s("name") for node in own} - set(reached)
    others = [name for name in known if name not in reached and not name.startswith("forward__")]
    return others if "forward" in known else []


def check_methods(model: Any) -> None:
    """Refuse a module with other methods, and state that they may share with `forward`, which a graph would copy.

    Raises:
        NotWhole: it is such a module.
    """
    others = other_methods(model)
    if others and _writes(model):
        raise NotWhole(f"{_also(others)} and state, which a copy of the model keeps together.")


def with_other_methods(model: Any, whole: torch.jit.ScriptModule) -> tuple[torch.jit.ScriptModule, str]:
    """The other methods of a module beside a `forward` that calls `whole`, and the path of `whole` in it.

    Raises:
        NotWhole: `whole` takes or gives other types than the module, as where an Optional was given.
    """
    others = other_methods(model)
    if not others:
        return whole, ""
    copy = copied(model)
    graph: Any = copy._c._get_method("forward").graph
    root, *given = graph.inputs()
    inner: Any = whole._c._get_method("forward").graph
    takes = [value.type().annotation_str for value in list(inner.inputs())[1:]]
    (result,), (gives,) = graph.outputs(), inner.outputs()
    if takes != [value.type().annotation_str for value in given] or gives.type() != result.type():
        raise NotWhole(f"{_also(others)}, and takes or returns other types than its graph.")
    name = _WHOLE
    while copy._c.hasattr(name):
        name = f"{name}_"
    copy._c._register_attribute(name, whole._c._type(), whole._c)
    before = list(graph.nodes())
    owner = graph.create("prim::GetAttr", [root], 1).s_("name", name)
    owner.output().setType(whole._c._type())
    graph.appendNode(owner)
    call = graph.create("prim::CallMethod", [owner.output(), *given], 1).s_("name", "forward")
    call.output().setType(gives.type())
    graph.appendNode(call)
    graph.eraseOutput(0)
    graph.registerOutput(call.output())
    for node in reversed(before):
        node.destroy()
    graph.lint()
    wrap: Any = torch.jit._recursive.wrap_cpp_module
    return wrap(copy._c), name


def _also(others: list[str]) -> str:
    return f"the TorchScript model has other methods ({', '.join(others)})"


def _writes(model: Any) -> bool:
    """Whether any method assigns an attribute, or writes to what it has not made itself, as far as can be told."""
    nodes = (node for _, _, graph in graphs_of(model) for node in all_nodes(graph))
    return any(node.kind() == "prim::SetAttr" or not all(map(is_own, written_values(node))) for node in nodes)
