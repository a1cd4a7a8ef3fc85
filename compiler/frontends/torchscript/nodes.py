"""The nodes of TorchScript's graphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def all_nodes(block: Any) -> Iterator[Any]:
    """The nodes of a graph or block, with those of inner blocks."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from all_nodes(inner)


def graphs_of(script: Any) -> Iterator[tuple[Any, str, Any]]:
    """The modules in a TorchScript module, with their methods and the graphs of these.

    What loads a module from a file assigns all of it, and nothing else calls that.
    """
    for part in script.modules():
        for name in part._c._method_names():
            if name != "__setstate__":
                yield part, name, part._c._get_method(name).graph


def types_of_attributes(script: Any) -> dict[tuple[str, str], Any]:
    """The types of attributes that methods read, by class and name."""
    return {
        (next(node.inputs()).type().annotation_str, node.s("name")): node.output().type()
        for _, _, graph in graphs_of(script)
        for node in graph.findAllNodes("prim::GetAttr")
    }
