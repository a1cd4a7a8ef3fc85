"""How an argument must lie in memory, where that decides what the model does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from ...errors import UserError
from ...ir.annotations import annotate_node, annotations_of
from ...ir.symbols import dims_of

_BECAUSE = "layout"
"""Annotation of an input whose strides matter."""


@dataclass(frozen=True)
class Layout:
    """Refuses an argument with other strides than those that the model was exported with.

    Attributes:
        place: of the argument.
        name: of it.
        because: the operator, and the user's line, that makes a view or a copy of it.
        sizes: as numbers and symbols.
        strides: likewise; None for those of contiguous tensors.
    """

    place: int
    name: str
    because: str
    sizes: tuple[Any, ...]
    strides: tuple[Any, ...] | None

    @classmethod
    def of(cls, place: int, node: Node) -> Layout | None:
        """That of a placeholder; None if its strides do not matter."""
        because = annotations_of(node).get(_BECAUSE)
        if because is None:
            return None
        value = node.meta["val"]
        strides = None if value.is_contiguous() else dims_of(value.stride())
        return cls(place, node.name, because, dims_of(value.shape), strides)

    def check(self, leaves: Sequence[Any]) -> None:
        """Raise UserError if the argument has other strides."""
        given = leaves[self.place]
        if not isinstance(given, torch.Tensor) or self._fits(given):
            return
        raise UserError(f"input {self.name!r} has strides {tuple(given.stride())}, and {self.refusal}")

    @property
    def refusal(self) -> str:
        """What is wrong with an argument of other strides."""
        lies = "is contiguous" if self.strides is None else f"has strides {self.strides} for sizes {self.sizes}"
        return (
            f"the model was compiled for a tensor that {lies}. Here it matters how it lies in memory, since that "
            f"decides what is read and written with {self.because}: give {self.name}.contiguous(), or compile the "
            "model with an example tensor that lies as this one does."
        )

    def condition(self, name: str) -> str:
        """Whether the argument of that name has these strides, in TorchScript."""
        if self.strides is None:
            return f"{name}.is_contiguous()"
        known = {str(dim): f"{name}.size({place})" for place, dim in reversed(list(enumerate(self.sizes)))}
        checks = [
            f"({name}.size({place}) <= 1 or {name}.stride({place}) == {_substituted(str(dim), known)})"
            for place, dim in enumerate(self.strides)
        ]
        return " and ".join(checks) or "True"

    def _fits(self, given: torch.Tensor) -> bool:
        if self.strides is None:
            return given.is_contiguous()
        known = {str(dim): size for dim, size in zip(self.sizes, given.shape, strict=True)}
        rows = zip(given.shape, given.stride(), self.strides, strict=True)
        return given.numel() == 0 or all(
            size == 1 or stride == want for size, stride, dim in rows if (want := _known(dim, known)) is not None
        )


def layouts_of(exported: ExportedProgram) -> dict[str, str]:
    """Why it matters how inputs lie in memory, by their names; files of programs do not keep that."""
    placeholders = exported.graph.find_nodes(op="placeholder")
    return {node.name: because for node in placeholders if (because := annotations_of(node).get(_BECAUSE)) is not None}


def set_layouts(exported: ExportedProgram, layouts: Mapping[str, str]) -> None:
    """Annotate the inputs of a program with what `layouts_of` gave; KeyError if it has no such input."""
    nodes = {node.name: node for node in exported.graph.find_nodes(op="placeholder")}
    for name, because in layouts.items():
        annotate_node(nodes[name], **{_BECAUSE: because})


def _substituted(expression: str, known: dict[str, str]) -> str:
    """An expression, such as 2*s77, with other names for its symbols."""
    return re.sub(r"[A-Za-z_]\w*", lambda found: known.get(found[0], found[0]), expression)


def _known(dim: Any, sizes: dict[str, Any]) -> Any:
    """A stride as a number, given the sizes of the tensor; None if it is not made of these."""
    if isinstance(dim, int):
        return dim
    found = dim.subs({symbol: sizes[str(symbol)] for symbol in dim.free_symbols if str(symbol) in sizes})
    return int(found) if found.is_number else None
