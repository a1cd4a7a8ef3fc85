"""Collectives: operators by which the processes of a group exchange tensors.

Every process must call them in one order, and as often: none is dropped, moved before another, or made once for two
that are alike. They stay in PyTorch, between engines: the process group says which library carries them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from ..errors import UserError

LIBRARIES = frozenset({"_c10d_functional", "_c10d_functional_autograd", "c10d_functional", "c10d"})
"""Namespaces of such operators."""


def is_collective(node: Node) -> bool:
    """Whether a node exchanges tensors with other processes, or waits for that."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target.namespace in LIBRARIES


def collectives_in(graph: Graph) -> list[Node]:
    """The collectives of a graph, in the order in which they are called."""
    return [node for node in graph.nodes if node.op == "call_function" and is_collective(node)]


def keep_unread(nodes: Iterable[Node]) -> None:
    """Let PyTorch's removal of what nothing reads keep the operators of these nodes, which others wait for."""
    for node in nodes:
        operator: Any = node.target
        torch.fx.node.has_side_effect(operator)


def group_of(node: Node) -> str:
    """The name of a collective's process group; "" for one that only waits."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    if "group_name" not in names:
        return ""
    place = names.index("group_name")
    value: Any = node.kwargs.get("group_name", node.args[place] if place < len(node.args) else "")
    return str(value)


@dataclass(frozen=True)
class Processes:
    """The process that a module with collectives was compiled in, and how many there were."""

    rank: int
    world_size: int

    @classmethod
    def here(cls) -> Processes | None:
        """This process among those that torch.distributed connects; None without such."""
        distributed = sys.modules.get("torch.distributed")
        if distributed is None or not distributed.is_available() or not distributed.is_initialized():
            return None
        return cls(distributed.get_rank(), distributed.get_world_size())

    @classmethod
    def from_json(cls, row: Any) -> Processes | None:
        """What `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        if row is None:
            return None
        rank, world_size = row["rank"], row["world_size"]
        if type(rank) is not int or type(world_size) is not int or not 0 <= rank < world_size:
            raise ValueError(f"{row!r} is no place of a process")
        return cls(rank, world_size)

    def to_json(self) -> dict[str, int]:
        """JSON-able values."""
        return {"rank": self.rank, "world_size": self.world_size}

    def check_here(self, name: str) -> None:
        """Raise UserError unless this process is that one, of as many."""
        here = Processes.here()
        if here is None:
            raise UserError(
                f"{name} is the part of process {self.rank} of {self.world_size}, and torch.distributed is not "
                "initialized here: call torch.distributed.init_process_group first."
            )
        if here != self:
            raise UserError(
                f"{name} is the part of process {self.rank} of {self.world_size}, and this is process {here.rank} of "
                f"{here.world_size}: load the file of this process."
            )
