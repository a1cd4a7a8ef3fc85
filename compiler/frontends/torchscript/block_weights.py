"""Blocks that are given the model's weights, so that these stand in the module once."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from ...ir.module_state import blank_module
from .inlined import path_of
from .nodes import all_nodes, types_of_attributes
from .twin import attribute_of


def without_weights(script: torch.jit.ScriptModule, owner: Any) -> tuple[Any, tuple[str, ...]]:
    """A ScriptModule that takes, after its own arguments, its tensors which another module has under the same paths.

    What else it has are attributes, which are neither parameters nor buffers.

    Args:
        script: a module whose submodules have nothing but tensors.
        owner: the other TorchScript module.

    Returns:
        It, and the paths.
    """
    graph: Any = script._c._get_method("forward").graph.copy()
    root = next(graph.inputs())
    taken: dict[str, Any] = {}
    types = types_of_attributes(owner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result: Any = torch.jit.script(blank_module())
    for node in [node for node in all_nodes(graph) if node.kind() == "prim::GetAttr"]:
        value = node.output()
        path = path_of(value, root.debugName())
        if path is None or value.type().kind() == "ClassType":
            continue
        tensor = _at(script, path)
        if isinstance(tensor, torch.Tensor) and _is_one(tensor, _known(owner, path, types)):
            if path not in taken:
                taken[path] = graph.addInput().setType(torch._C.TensorType.get())
            value.replaceAllUsesWith(taken[path])
            continue
        name = path.replace(".", "_")
        if not result._c.hasattr(name):
            result._c._register_attribute(name, value.type(), tensor)
        own = graph.create("prim::GetAttr", [root], 1).s_("name", name)
        own.output().setType(value.type())
        own.insertBefore(node)
        value.replaceAllUsesWith(own.output())
    torch._C._jit_pass_dce(graph)
    _define(result, graph)
    return result.eval(), tuple(taken)


def _define(module: Any, body: Any) -> None:
    """Give a module a `forward` that does what a graph does, whose first input is the module."""
    (result,) = body.outputs()
    names = [f"x{index}" for index in range(len(list(body.inputs())) - 1)]
    given = ", ".join(["self", *(f"{name}: Tensor" for name in names)])
    count = len(result.type().elements())
    kinds, zeros = ", ".join(["Tensor"] * count), ", ".join(["torch.zeros(1)"] * count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.define(f"def forward({given}) -> Tuple[{kinds}]:\n    return ({zeros},)\n")
    graph: Any = module._c._get_method("forward").graph
    before = list(graph.nodes())
    values = {value.debugName(): own for value, own in zip(body.inputs(), graph.inputs(), strict=True)}
    for node in body.nodes():
        clone = graph.createClone(node, lambda value: values[value.debugName()])
        graph.appendNode(clone)
        values.update((value.debugName(), own) for value, own in zip(node.outputs(), clone.outputs(), strict=True))
    graph.eraseOutput(0)
    graph.registerOutput(values[result.debugName()])
    for node in reversed(before):
        node.destroy()
    graph.lint()


def insert_attribute(graph: Any, root: tuple[Any, Any], path: str, type: Any, before: Any) -> Any:
    """The value of an attribute by its path and type, read in a graph before a node.

    Args:
        graph: the graph.
        root: a value, and the module that it is.
        path: of the attribute in that.
        type: of the attribute.
        before: the node.
    """
    value, module = root
    *parts, name = path.split(".")
    for part in parts:
        module = attribute_of(module, part)
        value = _read(graph, value, part, module._c._type(), before)
    return _read(graph, value, name, type, before)


def _read(graph: Any, owner: Any, name: str, type: Any, before: Any) -> Any:
    node = graph.create("prim::GetAttr", [owner], 1).s_("name", name)
    node.output().setType(type)
    node.insertBefore(before)
    return node.output()


def _at(script: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(script, torch.nn.Module) or not script._c.hasattr(name):  # type: ignore[operator,union-attr]
            return None
        script = attribute_of(script, name)
    return script


def _known(owner: Any, path: str, types: dict[tuple[str, str], Any]) -> Any:
    """The tensor of a path, if a method of its module reads it as one."""
    parent, _, name = path.rpartition(".")
    module = _at(owner, parent) if parent else owner
    if not isinstance(module, torch.nn.Module) or not module._c.hasattr(name):  # type: ignore[operator,union-attr]
        return None
    kind = types.get((module._c._type().annotation_str, name))  # type: ignore[operator,union-attr]
    return attribute_of(module, name) if kind is not None and kind.kind() == "TensorType" else None


def _is_one(first: torch.Tensor, second: Any) -> bool:
    """Whether two tensors are the same memory, seen alike."""
    if not isinstance(second, torch.Tensor) or first.dtype != second.dtype or first.device != second.device:
        return False
    same = first.shape == second.shape and first.stride() == second.stride()
    return same and first.numel() > 0 and first.data_ptr() == second.data_ptr()
