"""What a node can be named by: its operator, what that was decomposed from, and the modules that called it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from torch.fx import Node

from .text import op_name


def operator_names(node: Node) -> Iterator[str]:
    """The names of a node's operator and of those it was decomposed from, with and without overload."""
    texts = [op_name(node.target)]
    sources = list(node.meta.get("from_node") or [])
    while sources:
        source = sources.pop()
        texts.append(str(source.target).removeprefix("torch.ops.").removesuffix(".default"))
        sources.extend(source.from_node or [])
    for text in texts:
        parts = text.split(".")
        yield text
        yield f"{text}.default"
        yield ".".join(parts[:2])


def modules_around(node: Node) -> Iterator[tuple[str, str, str]]:
    """Path, full class name and class name of every module that a node was called in."""
    for path, kind in (node.meta.get("nn_module_stack") or {}).values():
        full = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
        if path:
            yield path, full, full.rsplit(".", 1)[-1]


def full_class_name(name: str) -> str:
    """The name of a class by the module that defines it, for one by a module that passes it on: torch.nn.Linear."""
    owner, _, attribute = name.rpartition(".")
    kind = getattr(sys.modules.get(owner), attribute, None)
    return f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else name
