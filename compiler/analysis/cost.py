"""What a group of fallbacks costs on every call: the tensors that engines exchange with PyTorch because of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from ..ir.annotations import segment_of
from ..ir.program import Program, is_symbolic
from .tensor_bytes import TensorBytes, bytes_text


@dataclass(frozen=True)
class BoundaryCost:
    """Tensors that some nodes in PyTorch read from engines, and those of theirs that engines read.

    Attributes:
        read, given: numbers of distinct tensors.
        nbytes: their known bytes, with the opt sizes of the inputs.
        unknown: how many have a size that depends on values.
    """

    read: int
    given: int
    nbytes: int
    unknown: int

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order."""
        return {"read": self.read, "given": self.given, "bytes": self.nbytes, "unknown": self.unknown}

    def __str__(self) -> str:
        """Such as "reads 2 tensors from engines and gives 1 to engines on every call, 24 KiB"."""
        if not self.read and not self.given:
            return "exchanges no tensor with an engine"
        words = [f"reads {_tensors(self.read)} from engines"] if self.read else []
        words += [f"gives {_tensors(self.given)} to engines"] if self.given else []
        unknown = f" and {self.unknown} of unknown size" if self.unknown else ""
        return f"{' and '.join(words)} on every call, {bytes_text(self.nbytes)}{unknown}"


def boundary_cost(program: Program, names: Iterable[str], sizes: TensorBytes | None = None) -> BoundaryCost:
    """The cost of keeping these op nodes of a partitioned program in PyTorch."""
    sizes = sizes or TensorBytes(program)
    known = program.nodes_by_name
    members = [known[name] for name in names]
    read = {source for node in members for source in node.all_input_nodes if _in_engine(source)}
    given = {node for node in members if not is_symbolic(node) and any(map(_in_engine, node.users))}
    counted = [sizes.of(node) for node in (*read, *given)]
    return BoundaryCost(len(read), len(given), sum(size or 0 for size in counted), counted.count(None))


def _in_engine(node: Node) -> bool:
    return segment_of(node) is not None and not is_symbolic(node)


def _tensors(count: int) -> str:
    return f"{count} tensor{'' if count == 1 else 's'}"
