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
