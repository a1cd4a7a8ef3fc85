"""Operators that run in the sequence in which the model calls them, whatever depends on what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch.fx import Node

from .collectives import is_collective
from .program import bodies_of
from .randomness import draws


def in_sequence(nodes: Iterable[Node]) -> Iterator[tuple[Node, Node]]:
    """Pairs of nodes of which the first must run before the second, in the order of `nodes`.

    All processes of a group call their collectives in one order. Random numbers come from one generator, so that
    those of a seed depend on who draws first.
    """
    drawing: Node | None = None
    exchanging: Node | None = None
    for node in nodes:
        if is_collective(node):
            if exchanging is not None:
                yield exchanging, node
            exchanging = node
        if _draws(node):
            if drawing is not None:
                yield drawing, node
            drawing = node


def _draws(node: Node) -> bool:
    return draws(node) or any(_draws(inner) for body in bodies_of(node).values() for inner in body.graph.nodes)
