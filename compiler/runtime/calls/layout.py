"""How an argument must lie in memory, or have come to be, where that decides what the model does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from ...errors import UserError
from ...ir.annotations import annotate_node, annotations_of
from ...ir.layouts import LAYOUT, Must
from ...ir.symbols import dims_of


def _is_of_one_process(tensor: Tensor) -> bool:
    return not tensor.is_shared()  # type: ignore[no-untyped-call]


_OTHERS: Mapping[Must, tuple[str, Callable[[Tensor], bool], str]] = MappingProxyType(
    {
        Must.WHOLE_MEMORY: (
            "shares its memory with more",
            lambda x: x.untyped_storage().nbytes() == x.numel() * x.element_size(),
            "",
        ),
        Must.NO_VIEW: ("views another tensor", lambda x: x.is_inference() or x._base is None, ""),
        Must.NO_GRADIENT: (
            "takes part in a computation with gradients",
            lambda x: not x.requires_grad,
            "not {0}.requires_grad",
        ),
        Must.NO_MARK: (
            "has a mark that it is conjugated or negative",
            lambda x: not (x.is_conj() or x.is_neg()),
            "not (torch.is_conj({0}) or torch.is_neg({0}))",
        ),
        Must.NO_INFERENCE: (
            "comes from inference mode",
            lambda x: not x.is_inference(),
            "not torch.is_inference({0})",
        ),
        Must.NOT_PINNED: ("lies in pinned memory", lambda x: not x.is_pinned(), "not {0}.is_pinned()"),
        Must.NOT_SHARED: ("lies in memory that processes share", _is_of_one_process, ""),
    }
)
"""What else a tensor may not be: in words, whether one is not, and that in TorchScript ("" where it has no way)."""


@dataclass(frozen=True)
class Layout:
    """Refuses an argument that differs from the example in what decides what the graph is.

    Attributes:
        place: of the argument.
        name: of it.
        because: the operator, and the user's line, that makes a view or a copy of it, or asks for it.
        must: what it must have in common with the example, or be.
        sizes: as numbers and symbols.
        strides: likewise; None for those of contiguous tensors.
        offset: of the first element in memory.
    """

    place: int
    name: str
    because: str
    must: frozenset[Must]
    sizes: tuple[Any, ...]
    strides: tuple[Any, ...] | None
    offset: Any

    @classmethod
    def of(cls, place: int, node: Node) -> Layout | None:
        """That of a placeholder; None if it does not matter."""
        note = annotations_of(node).get(LAYOUT)
        if note is None:
            return None
        value = node.meta["val"]
        strides = None if value.is_contiguous() else dims_of(value.stride())
        (offset,) = dims_of([value.storage_offset()])
        must = frozenset(map(Must, note["must"]))
        return cls(place, node.name, note["because"], must, dims_of(value.shape), strides, offset)

    def check(self, leaves: Sequence[Any]) -> None:
        """Raise UserError if the argument is not as it must be."""
        given = leaves[self.place]
        if not isinstance(given, Tensor) or given.layout is not torch.strided:
            return
        if not self._has_strides(given):
            raise UserError(f"input {self.name!r} has strides {tuple(given.stride())}, and {self.refusal}")
        if Must.OFFSET in self.must and not _is(int(given.storage_offset()), _known(self.offset, self._sizes(given))):
            raise UserError(f"input {self.name!r} begins at {given.storage_offset()} of its memory, and {self.refusal}")
        for must, (words, is_so, _) in _OTHERS.items():
            if must in self.must and not is_so(given):
                raise UserError(
                    f"input {self.name!r} {words}, and the model was compiled for a tensor that does not: that decides "
                    f"what it does with {self.because}. Give {self._remedy}."
                )

    @property
    def refusal(self) -> str:
        """What is wrong with an argument of other strides."""
        lies = "is contiguous" if self.strides is None else f"has strides {self.strides} for sizes {self.sizes}"
        if Must.OFFSET in self.must:
            lies += f" and begins at {self.offset} of its memory"
        remedy = self._remedy if self.strides is None else "a tensor that does"
        return (
            f"the model was compiled for a tensor that {lies}. Here it matters how it lies in memory, since that "
            f"decides what the model does with {self.because}: give {remedy}, or compile the model with an example "
            "tensor that lies as this one does."
        )

    @property
    def _remedy(self) -> str:
        if {Must.STRIDES} >= self.must:
            return f"{self.name}.contiguous()"
        return f"{self.name}.detach().clone(memory_format=torch.contiguous_format)"

    def condition(self, name: str) -> str:
        """Whether the argument of that name is as it must be, in TorchScript.

        Raises:
            UserError: TorchScript cannot tell.
        """
        known = {str(dim): f"{name}.size({place})" for place, dim in reversed(list(enumerate(self.sizes)))}
        checks = self._strides_in_script(name, known)
        if Must.OFFSET in self.must:
            checks.append(f"{name}.storage_offset() == {_substituted(str(self.offset), known)}")
        for must, (words, _, text) in _OTHERS.items():
            if must in self.must and not text:
                raise UserError(
                    f"the compiled module cannot be written as TorchScript, which does not tell whether an input "
                    f"{words}, and that decides what the model does, with {self.because}: save it as a file that ends "
                    "in .pt2."
                )
            if must in self.must:
                checks.append(text.format(name))
        return " and ".join(checks) or "True"

    def _strides_in_script(self, name: str, known: dict[str, str]) -> list[str]:
        if Must.EXACT_STRIDES not in self.must and Must.STRIDES not in self.must:
            return []
        if self.strides is None and Must.EXACT_STRIDES not in self.must:
            return [f"{name}.is_contiguous()"]
        if self.strides is None:
            sizes = [f"max({name}.size({place}), 1)" for place in range(len(self.sizes))]
            wanted = [" * ".join(["1", *sizes[place + 1 :]]) for place in range(len(sizes))]
        else:
            wanted = [_substituted(str(dim), known) for dim in self.strides]
        unless = "" if Must.EXACT_STRIDES in self.must else "{0}.size({1}) <= 1 or "
        return [f"({unless.format(name, place)}{name}.stride({place}) == {text})" for place, text in enumerate(wanted)]

    def _has_strides(self, given: Tensor) -> bool:
        if Must.EXACT_STRIDES in self.must:
            rows = list(zip(given.stride(), self._wanted(given), strict=True))
            return all(_is(stride, want) for stride, want in rows)
        if Must.STRIDES not in self.must:
            return True
        if self.strides is None:
            return given.is_contiguous()
        known = zip(given.shape, given.stride(), self._wanted(given), strict=True)
        return given.numel() == 0 or all(size == 1 or _is(stride, want) for size, stride, want in known)

    def _wanted(self, given: Tensor) -> list[Any]:
        """The strides that it must have at its sizes; None for those that are not known."""
        if self.strides is not None:
            return [_known(dim, self._sizes(given)) for dim in self.strides]
        wanted: list[Any] = []
        step = 1
        for size in reversed(given.shape):
            wanted.insert(0, step)
            step *= max(size, 1)
        return wanted

    def _sizes(self, given: Tensor) -> dict[str, Any]:
        return {str(dim): size for dim, size in zip(self.sizes, given.shape, strict=True)}


def layouts_of(exported: ExportedProgram) -> dict[str, Mapping[str, Any]]:
    """How inputs must lie in memory, by their names; files of programs do not keep that."""
    placeholders = exported.graph.find_nodes(op="placeholder")
    return {node.name: note for node in placeholders if (note := annotations_of(node).get(LAYOUT)) is not None}


def checked_layout(note: Any) -> Mapping[str, Any]:
    """What `layouts_of` gave, from a file; ValueError, TypeError or KeyError if it is something else."""
    if isinstance(note, str):  # before what inputs are asked was noted too
        return {"because": note, "must": [Must.STRIDES.value]}
    return {"because": str(note["because"]), "must": [Must(item).value for item in note["must"]]}


def set_layouts(exported: ExportedProgram, layouts: Mapping[str, Mapping[str, Any]]) -> None:
    """Annotate the inputs of a program with what `layouts_of` gave; KeyError if it has no such input."""
    nodes = {node.name: node for node in exported.graph.find_nodes(op="placeholder")}
    for name, note in layouts.items():
        annotate_node(nodes[name], **{LAYOUT: dict(note)})


def _is(found: int, wanted: int | None) -> bool:
    return wanted is None or found == wanted


def _substituted(expression: str, known: dict[str, str]) -> str:
    """An expression, such as 2*s77, with other names for its symbols."""
    return re.sub(r"[A-Za-z_]\w*", lambda found: known.get(found[0], found[0]), expression)


def _known(dim: Any, sizes: dict[str, Any]) -> Any:
    """A stride as a number, given the sizes of the tensor; None if it is not made of these."""
    if isinstance(dim, int):
        return dim
    found = dim.subs({symbol: sizes[str(symbol)] for symbol in dim.free_symbols if str(symbol) in sizes})
    return int(found) if found.is_number else None
