"""Results of a dynamo graph that are views: of its inputs, or of one memory that they share.

What follows the graph in the user's function may write to one and read the other, so that engines, which return memory
of their own, must not make them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch.export.graph_signature import OutputKind
from torch.fx import Node
from torch.utils import _pytree as pytree

from ..ir.annotations import annotate_node
from ..ir.memory import memory_of
from ..ir.program import Program
from ..ir.retraced import retraced

Chain = Sequence[Node]
"""A result, what it is a view of, and so on, up to the node that has the memory."""


def keep_returned_views(program: Program) -> Program:
    """The program, from torch.export, with annotations on what makes views of what the caller has too.

    Where it writes to tensors as well, these writes are replaced first, which makes such views anew.
    """
    kept = _kept(program)
    if kept and program.mutates:
        program = replace(program, exported=retraced(program.exported))
        kept = _kept(program)
    for node in kept:
        annotate_node(node, view=True)
    return program


def returns_view_of_written(program: Program) -> bool:
    """Whether a result of `keep_returned_views` is a view of what the program writes to."""
    kinds = {OutputKind.BUFFER_MUTATION, OutputKind.USER_INPUT_MUTATION}
    written = {spec.arg.name for spec in program.exported.graph_signature.output_specs if spec.kind in kinds}
    return any(node.name in written for chain in _chains(program) for node in chain[1:])


def _kept(program: Program) -> set[Node]:
    chains = _chains(program)
    kept = {node for chain in chains if chain[-1].op == "placeholder" for node in chain[:-1]}
    for one, other in itertools.combinations(chains, 2):
        if one[-1] is other[-1]:
            kept |= set(_below_what_they_share(one, other))
    return kept


def _chains(program: Program) -> list[Chain]:
    return list(map(_chain, program.output_node.all_input_nodes))


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
    return {memory_of(_unwrapped(leaf)) for leaf in leaves if isinstance(leaf, torch.Tensor)}


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
