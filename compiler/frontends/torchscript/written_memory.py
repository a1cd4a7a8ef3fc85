"""What the methods of a TorchScript module write to: attributes, in place or by assigning them, and what they make."""

from __future__ import annotations

from typing import Any

import torch

from .nodes import all_nodes, graphs_of

QUIET_VIEWS = frozenset(
    f"aten::{name}"
    for name in (
        *("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "type_as", "broadcast_tensors"),
        *("meshgrid", "einsum", "as_tensor", "atleast_1d", "atleast_2d", "atleast_3d", "index", "chain_matmul"),
    )
)
"""Operators that may give what they were given, or a view of it, though their schemas do not say so."""


def writes_to_quiet_views(graph: Any) -> bool:
    """Whether a graph may write to what such an operator gave, itself or through views."""
    return any(_is_quiet(value) for node in all_nodes(graph) for value in written_values(node))


def _is_quiet(value: Any) -> bool:
    node = value.node()
    if node.kind() in QUIET_VIEWS:
        return True
    schema = schema_of(node)
    is_view = schema is not None and len(schema.returns) == 1 and schema.returns[0].alias_info is not None
    return is_view and _is_quiet(next(node.inputs()))


def written_in_place(script: Any) -> set[tuple[str, str]]:
    """Classes, and the attributes of them whose tensors some method writes to in place, as `self.mean.mul_(0.5)`."""
    found: set[tuple[str, str]] = set()
    for _, _, graph in graphs_of(script):
        for node in all_nodes(graph):
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


def is_own(value: Any) -> bool:
    """Whether the memory of a value is made in its method: through views, the memory of what they are views of."""
    maker = value.node()
    if maker.kind() in ("prim::ListConstruct", "prim::DictConstruct"):
        return True
    schema = schema_of(maker)
    if schema is None or not maker.kind().startswith("aten::") or len(schema.returns) != 1:
        return False
    return schema.returns[0].alias_info is None or is_own(next(maker.inputs()))


def assigned_own(nodes: Any) -> Any:
    """Attributes that nodes assign, as class and name, and whether that is what their method made; else it may be any.

    What is an attribute already, written to in place, is none.
    """
    for node in nodes:
        if node.kind() == "prim::SetAttr":
            owner, value = node.inputs()
            key = owner.type().annotation_str, node.s("name")
            if _attribute_behind(value) != key:
                yield key, is_own(value)
