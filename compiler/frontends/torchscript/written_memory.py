"""Which memory a TorchScript method writes to, as far as that is certain: PyTorch takes all attributes for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .code import Op, read_code
from .inlined import Inlined, all_nodes, module_of_value
from .twin import attribute_of

Root = tuple[str, Any]
"""Whose memory a tensor has: ("attribute", its address), ("input", its name), ("made", the name of what was made)."""


class WrittenMemory:
    """The memory that the ops of an inlined method write to.

    A step counter that is a buffer would otherwise make every weight one that is written.

    Args:
        model: the method.
        inputs: names of its arguments.
        values: of the graph by name.
        makers: what makes them.
        assigned: classes, and the attributes of them that methods assign.
    """

    def __init__(
        self,
        model: Inlined,
        inputs: Sequence[str],
        values: Mapping[str, Any],
        makers: Mapping[str, Op],
        assigned: set[tuple[str, str]],
    ) -> None:
        self._model, self._inputs, self._values, self._makers = model, inputs, values, makers
        self._rebound = {key for key in assigned if not self._keeps(key)}
        self._roots = self._written()

    def may_hold(self, name: str) -> bool:
        """Whether a tensor may have memory that is written to."""
        root = self.root(name)
        return self._roots is None or root is None or root in self._roots

    def root(self, name: str) -> Root | None:
        """Whose memory a tensor has; None if that is not known."""
        if self._values[name].type().kind() != "TensorType":
            return None
        if name in self._inputs:
            return "input", name
        op = self._makers.get(name)
        if op is None:
            return None
        if op.kind == "prim::GetAttr":
            return self._attribute(op)
        if op.schema is None or not op.kind.startswith("aten::") or len(op.schema.returns) != 1:
            return None
        if op.schema.returns[0].alias_info is None:
            return "made", name
        return self.root(op.inputs[0])

    def _attribute(self, op: Op) -> Root | None:
        owner = self._values[op.inputs[0]]
        module = module_of_value(self._model, owner)
        if module is None or (owner.type().annotation_str, op.name) in self._rebound:
            return None
        value = attribute_of(module, op.name)
        return ("attribute", value.untyped_storage().data_ptr()) if isinstance(value, torch.Tensor) else None

    def _written(self) -> frozenset[Root] | None:
        """The memory that ops write to; None where one may write to any."""
        found: set[Root] = set()
        for op in read_code(self._model.graph).every_op():
            if op.schema is None:
                if op.kind in ("prim::CallMethod", "prim::fork", "prim::CallFunction") and not _is_no_grad(op):
                    return None
                continue
            if not op.kind.startswith(("aten::", "prim::", "quantized::")):
                return None
            if not op.is_mutable:
                continue
            for name, argument in zip(op.inputs, op.schema.arguments, strict=True):
                if argument.alias_info is None or not argument.alias_info.is_write:
                    continue
                if self._values[name].type().kind() in ("ListType", "DictType") and not _of_tensors(argument):
                    continue  # the list changes, not the tensors in it
                root = self.root(name)
                if root is None:
                    return None
                found.add(root)
        return frozenset(found)

    def _keeps(self, key: tuple[str, str]) -> bool:
        """Whether all that methods assign to an attribute is that attribute, written in place, or made for it."""
        for part in self._model.script.modules():
            for name in part._c._method_names():
                for node in part._c._get_method(name).graph.findAllNodes("prim::SetAttr"):
                    owner, value = node.inputs()
                    if (owner.type().annotation_str, node.s("name")) == key and not _is_kept(value, key):
                        return False
        return True


def _is_kept(value: Any, key: tuple[str, str]) -> bool:
    node = value.node()
    if node.kind() == "prim::GetAttr":
        return (next(node.inputs()).type().annotation_str, node.s("name")) == key
    schema = schema_of(node)
    if schema is None or not node.kind().startswith("aten::") or value.type().kind() != "TensorType":
        return False
    returns = schema.returns
    if len(returns) != 1:
        return False
    return returns[0].alias_info is None or _is_kept(next(node.inputs()), key)


def _of_tensors(argument: Any) -> bool:
    return "Tensor" in str(argument.type)


def _is_no_grad(op: Op) -> bool:
    kind: str = next(op.node.inputs()).type().annotation_str
    return kind.endswith(".grad_mode.no_grad")


def written_in_place(script: Any) -> set[tuple[str, str]]:
    """Classes, and the attributes of them whose tensors some method writes to in place, as `self.mean.mul_(0.5)`."""
    found: set[tuple[str, str]] = set()
    for part in script.modules():
        for name in part._c._method_names():
            for node in all_nodes(part._c._get_method(name).graph):
                found |= {key for value in written_values(node) if (key := _attribute_behind(value)) is not None}
    return found


def written_values(node: Any) -> list[Any]:
    """The values of a node that its operator writes to: tensors, lists and dictionaries."""
    schema = schema_of(node)
    if schema is None or not schema.is_mutable:
        return []
    pairs = zip(node.inputs(), schema.arguments, strict=True)
    return [value for value, item in pairs if item.alias_info is not None and item.alias_info.is_write]


def schema_of(node: Any) -> Any:
    """The schema of a node's operator; None for most of `prim`."""
    text = node.schema()
    return None if text.startswith("(") else torch._C.parse_schema(text)


def _attribute_behind(value: Any) -> tuple[str, str] | None:
    """The class and the attribute whose memory a value is, itself or through views."""
    node = value.node()
    if node.kind() == "prim::GetAttr":
        return next(node.inputs()).type().annotation_str, node.s("name")
    schema = schema_of(node)
    if schema is None or len(schema.returns) != 1 or schema.returns[0].alias_info is None:
        return None
    return _attribute_behind(next(node.inputs()))
