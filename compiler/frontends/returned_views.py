"""Results of a dynamo graph that are views: of its inputs, or of one memory that they share.

What follows the graph in the user's function may write to one and read the other, so that engines, which return memory
of their own, must not make them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from ..annotations import annotate_node
from ..program import Program

Chain = Sequence[Node]
"""A result, what it is a view of, and so on, up to the node that has the memory."""


def keep_returned_views(program: Program) -> None:
    """Annotate the nodes, in place, that make views of what the caller has too; of a program from torch.export."""
    chains = list(map(_chain, program.output_node.all_input_nodes))
    kept = {node for chain in chains if chain[-1].op == "placeholder" for node in chain[:-1]}
    for one, other in itertools.combinations(chains, 2):
        if one[-1] is other[-1]:
            kept |= set(_below_what_they_share(one, other))
    for node in kept:
        annotate_node(node, view=True)


def returns_view_of_written(program: Program) -> str | None:
    """The name of a result that is a view of an input or buffer that a program from torch.export writes to, or None."""
    for chain in map(_chain, program.output_node.all_input_nodes):
        writes = [getattr(getattr(node.target, "_schema", None), "is_mutable", False) for node in chain]
        if chain[-1].op == "placeholder" and any(writes) and not writes[0]:
            return chain[0].name
    return None


def _chain(node: Node) -> Chain:
    chain = [node]
    while (source := _viewed(chain[-1])) is not None:
        chain.append(source)
    return chain


def _viewed(node: Node) -> Node | None:
    """What a node is a view of: its first argument, where the values that tracing recorded share memory."""
    source = next(iter(node.all_input_nodes), None)
    return source if source is not None and _memories(source) & _memories(node) else None


def _memories(node: Node) -> set[int]:
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return {_unwrapped(leaf).untyped_storage()._cdata for leaf in leaves if isinstance(leaf, torch.Tensor)}


def _unwrapped(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that has the memory, of one inside of torch.vmap or another transform of torch.func."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def _below_what_they_share(one: Chain, other: Chain) -> Iterator[Node]:
    """The nodes of both chains before they meet; none if they do at an operator whose results do not overlap."""
    met = next(node for node in one if node in other)
    left, right = (chain[: chain.index(met)] for chain in (one, other))
    if left and right and not isinstance(met.meta.get("val"), torch.Tensor):
        return
    yield from (*left, *right)
