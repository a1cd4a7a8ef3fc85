"""A compiled program in the place of a dynamo graph, and what must hold for it to run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule

from ..ir.memory import first_overlap, parts_of
from .dynamo_graph import Traced

_version = operator.attrgetter("_version")
_address = torch.Tensor.data_ptr
Pick = Callable[[Sequence[Any]], tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class BuiltGraph:
    """Runs `module` on the dynamo graph's arguments, as long as they fit what it was built for.

    `constants` are the tensors in it, found at `positions` of the arguments; `parts` are the dense tensors that they
    consist of, as quantised weights do, and `addresses` where those were in memory; `versions` are those of the parts
    that count their writes, which tensors made under torch.inference_mode do not.
    Writes through `parameter.data` are counted nowhere. `limits` are position, dimension, smallest
    and largest size, and whether the largest may be raised by building again. `writes` says that arguments are written
    to, which must not share memory then, with one another or with the constants.
    """

    module: GraphModule
    pick: Pick
    pick_constants: Pick
    positions: tuple[int, ...]
    constants: tuple[torch.Tensor, ...]
    parts: tuple[torch.Tensor, ...]
    addresses: tuple[int, ...]
    counted: tuple[torch.Tensor, ...]
    versions: tuple[int, ...]
    limits: tuple[tuple[int, int, int, int, bool], ...]
    writes: bool

    @classmethod
    def of(cls, module: GraphModule, traced: Traced, args: Sequence[Any]) -> BuiltGraph:
        """The compiled module of a traced graph, which was traced with these arguments."""
        constants = tuple(args[index] for index in traced.constants)
        parts = tuple(part for tensor in constants for part in parts_of(tensor))
        counted = tuple(tensor for tensor in parts if not tensor.is_inference())
        return cls(
            module,
            _picker(traced.positions),
            _picker(traced.constants),
            traced.constants,
            constants,
            parts,
            tuple(map(_address, parts)),
            counted,
            tuple(map(_version, counted)),
            tuple((*place, *limits, place in traced.grows) for place, limits in traced.limits.items()),
            traced.program.mutates,
        )

    def __call__(self, args: Sequence[Any]) -> Any:
        """The results of the graph."""
        return self.module(*self.pick(args))

    def fits(self, args: Sequence[Any]) -> bool:
        """Whether the module computes what the graph would."""
        if not all(map(operator.is_, self.pick_constants(args), self.constants)):
            return False
        if tuple(map(_address, self.parts)) != self.addresses:
            return False
        if tuple(map(_version, self.counted)) != self.versions:
            return False
        if any(not low <= args[index].shape[dim] <= high for index, dim, low, high, _ in self.limits):
            return False
        return not self.writes or self._separate(args)

    def changed(self, args: Sequence[Any]) -> set[int]:
        """Positions of the constants that were replaced, moved or written to."""
        versions = {id(part): version for part, version in zip(self.counted, self.versions, strict=True)}
        moved = {id(part) for part, place in zip(self.parts, self.addresses, strict=True) if _address(part) != place}
        written = {id(part) for part in self.counted if part._version != versions[id(part)]}
        rows = zip(self.positions, self.pick_constants(args), self.constants, strict=True)
        return {
            index
            for index, now, before in rows
            if now is not before or any(id(part) in moved | written for part in parts_of(now))
        }

    def can_grow(self, args: Sequence[Any]) -> bool:
        """Whether only sizes beyond a limit that may be raised keep these arguments from fitting."""
        beyond = [
            (args[index].shape[dim] > high and grows)
            for index, dim, low, high, grows in self.limits
            if not low <= args[index].shape[dim] <= high
        ]
        return bool(beyond) and all(beyond) and (not self.writes or self._separate(args))

    def _separate(self, args: Sequence[Any]) -> bool:
        taken = [arg for arg in self.pick(args) if isinstance(arg, torch.Tensor)]
        return first_overlap([*taken, *self.constants], lambda one, other: one < len(taken)) is None


def _picker(positions: Sequence[int]) -> Pick:
    if len(positions) > 1:
        return operator.itemgetter(*positions)
    return lambda args: tuple(args[index] for index in positions)
