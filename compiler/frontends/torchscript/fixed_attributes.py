"""Attributes of a TorchScript model that its engines were built for, where somebody sets one afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...errors import UserError
from .block_weights import insert_attribute
from .nodes import types_of_attributes
from .twin import attribute_of, attributes

_JIT: Any = torch.jit
_SCRIPT_MODULE: Any = _JIT.RecursiveScriptModule

Fixed = Mapping[tuple[str, str], tuple[Any, Any]]
"""Values of attributes and their types, by the path of their module and their name."""


def is_plain(value: Any) -> bool:
    """Whether a value is None, a number, a text, or a list of one kind of numbers or texts."""
    if isinstance(value, list):
        return len({type(item) for item in value}) == 1 and type(value[0]) in (bool, int, float, str)
    return value is None or (type(value) in (bool, int, float, str) and value == value)  # no nan


def plain_attributes(script: Any) -> dict[tuple[str, str], tuple[Any, Any]]:
    """What methods of a module and those in it read of plain attributes, and none assigns."""
    types = types_of_attributes(script)
    read = set(types) - set(attributes(script, "prim::SetAttr"))
    found = {}
    for path, part in script.named_modules():
        kind = part._c._type().annotation_str
        for name in sorted(name for known, name in read if known == kind):
            value = attribute_of(part, name)
            if is_plain(value):
                found[path, name] = value, types[kind, name]
    return found


def guard(graph: Any, module: Any, before: Any, fixed: Fixed) -> bool:
    """Let a method do what it did before its graph was changed, wherever an attribute is not what it was then.

    PyTorch loses values of branches that have loops in them, so that methods with loops are left alone.

    Args:
        graph: of the method, with engines.
        module: the method's.
        before: what the graph was.
        fixed: the attributes.

    Returns:
        Whether that was done.
    """
    if not fixed or graph.findAllNodes("prim::Loop"):
        return not fixed
    nodes = list(graph.nodes())
    root = next(graph.inputs())
    end = graph.return_node()
    checks = []
    for (path, name), (value, type) in fixed.items():
        read = insert_attribute(graph, (root, module), f"{path}.{name}".lstrip("."), type, end)
        constant = graph.insertConstant(value)
        constant.node().moveBefore(end)
        check = graph.create("aten::__is__" if value is None else "aten::eq", [read, constant], 1)
        checks.append(_inserted(check, end))
    holds = checks[0]
    for check in checks[1:]:
        holds = _inserted(graph.create("aten::__and__", [holds, check], 1), end)
    results = list(graph.outputs())
    choice = graph.create("prim::If", [holds], len(results))
    choice.insertBefore(end)
    ours, theirs = choice.addBlock(), choice.addBlock()
    for node in nodes:
        node.moveBefore(ours.returnNode())
    for value in results:
        ours.registerOutput(value)
    values = {value.debugName(): own for value, own in zip(before.inputs(), graph.inputs(), strict=True)}
    for node in before.nodes():
        clone = graph.createClone(node, lambda value: values[value.debugName()])
        clone.insertBefore(theirs.returnNode())
        values.update((value.debugName(), own) for value, own in zip(node.outputs(), clone.outputs(), strict=True))
    for value in before.outputs():
        theirs.registerOutput(values[value.debugName()])
    for value, result in zip(results, choice.outputs(), strict=True):
        result.setType(value.type())
        graph.eraseOutput(0)
        graph.registerOutput(result)
    graph.lint()
    return True


def _inserted(node: Any, before: Any) -> Any:
    node.insertBefore(before)
    return node.output().setType(torch._C.BoolType.get())


class _Fixed(_SCRIPT_MODULE):  # type: ignore[misc]
    """A part of a model that was compiled as a whole."""

    def __setattr__(self, name: str, value: Any) -> None:
        fixed: dict[str, Any] = self.__dict__.get("_fixed_attributes", {})
        if name in fixed and (type(value) is not type(fixed[name]) or value != fixed[name]):
            raise UserError(
                f"{name} was {fixed[name]!r} when the model was compiled, and is built into it: set it to {value!r} in "
                "the model, and compile that again."
            )
        super().__setattr__(name, value)


def refuse_changes(script: torch.jit.ScriptModule, fixed: Fixed) -> None:
    """Let the parts of a ScriptModule that was made of a whole model refuse other values of the model's attributes."""
    parts: Sequence[tuple[str, Any]] = list(script.named_modules())
    for path, part in parts:
        own = {name: value for (owner, name), (value, _) in fixed.items() if owner == path}
        if not path:  # train() and eval() set that of all parts
            own = {**{name: value for (_, name), (value, _) in fixed.items() if name == "training"}, **own}
        if own and type(part) is _SCRIPT_MODULE:
            object.__setattr__(part, "_fixed_attributes", own)
            object.__setattr__(part, "__class__", _Fixed)
