"""A TorchScript module's tensors and attributes in plain modules, which torch.export can trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..kept_state import kept_values
from .code import Code, class_name, read_code
from .enumerations import Member, is_unknown_class, member_of_attribute
from .nodes import graphs_of
from .packed import Packed, PackedCell, number_in, unpacked

Written = frozenset[tuple[str, str]]
"""Classes, and the attributes of them that some method assigns."""


class Unconverted(Exception):
    """Something that cannot be converted, as a clause: "it has …"."""


class Twin(nn.Module):
    """A module with the names, parameters and buffers of a TorchScript module, not copied.

    A tensor that the model's code assigns to an attribute (`self.h = …`) is a buffer of the twin: a new one
    unless it was one. Its own names begin with "ts_", since any other may be one of the model's.

    Args:
        script: the module.
        written: what methods assign.
        others: twins of modules of the same model made before, for those that are in it twice.
    """

    def __init__(self, script: Any, written: Written, others: list[Twin]) -> None:
        super().__init__()
        self._ts_script = (script,)  # in a tuple, which nn.Module takes for no child
        self._ts_codes: dict[str, Code] = {}
        self.training = getattr(script, "training", False)  # frozen ones have none
        self.ts_kind = class_name(script._c._type())
        self.ts_written = frozenset(name for kind, name in written if kind == script._c._type().annotation_str)
        for name, child in script.named_children():
            self.add_module(name, _twin(child, written, others))
        for name, tensor in script.named_parameters(recurse=False, remove_duplicate=False):
            kept = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, tensor.requires_grad)
            self.register_parameter(name, kept)  # of the same memory: what is loaded from a file are plain tensors
        for name, tensor in script.named_buffers(recurse=False, remove_duplicate=False):
            self.register_buffer(name, tensor)
        for name in self.ts_written:
            value = attribute_of(script, name)
            if isinstance(value, torch.Tensor) and name not in {*self._parameters, *self._buffers}:
                self.register_buffer(name, value.detach().clone())

    @property
    def ts_script(self) -> Any:
        """The module that this is the twin of."""
        return self._ts_script[0]

    def ts_value(self, name: str) -> Any:
        """An attribute of any kind; containers are the caller's own."""
        for known in (self._modules, self._parameters, self._buffers):
            if name in known:
                return known[name]
        if name in vars(self):
            return vars(self)[name]
        value = unpacked(attribute_of(self.ts_script, name))
        if isinstance(value, Unknown):
            raise Unconverted(f"the attribute {name!r} is of a class that is not imported here")
        if isinstance(value, torch.Tensor | Packed | PackedCell):
            object.__setattr__(self, name, value)  # one object, which torch.export knows again
        return value

    def ts_number(self, name: str) -> Any:
        """The number in a tensor of one element."""
        return number_in(attribute_of(self.ts_script, name))

    def ts_code(self, method: str) -> Code:
        """The code of a method.

        Raises:
            Unconverted: there is none, as for methods of the class that TorchScript generated.
        """
        if method not in self._ts_codes:
            self._ts_codes[method] = read_code(self.ts_script._c._get_method(method).graph)
        return self._ts_codes[method]


def twin_of(script: Any) -> Twin:
    """The twin of a TorchScript module, with those of the modules in it."""
    return _twin(script, frozenset(attributes(script, "prim::SetAttr")), [])


@contextmanager
def kept_attributes(script: Any) -> Iterator[None]:
    """Undo what is written inside to attributes of a TorchScript module: tensors, numbers, containers.

    Raises:
        Unconverted: one that is written is of a class that Python does not know.
    """
    written = set(attributes(script, "prim::SetAttr"))
    named = {*written, *attributes(script, "prim::GetAttr")}
    modules = [module for module in script.modules() if isinstance(module, torch.jit.ScriptModule)]
    places = [(part, name) for part in modules for kind, name in named if part._c._type().annotation_str == kind]
    before = [(part, name, attribute_of(part, name)) for part, name in places]
    for part, name, value in before:
        if isinstance(value, Unknown | Member) and (part._c._type().annotation_str, name) in written:
            raise Unconverted(f"it assigns the attribute {name!r}, which is of a class that is not imported here")
    before = [item for item in before if not isinstance(item[2], nn.Module | Unknown | Member)]
    tensors = [leaf for *_, value in before for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
    with kept_values([leaf for leaf in tensors if not isinstance(leaf, nn.Parameter)]):
        try:
            yield
        finally:
            for part, name, value in before:
                if not isinstance(value, torch.Tensor) or attribute_of(part, name) is not value:
                    part._c.setattr(name, value)


def _twin(script: Any, written: Written, others: list[Twin]) -> Twin:
    known = next((other for other in others if _is_same(other.ts_script, script, other.ts_written)), None)
    if known is None:
        known = Twin(script, written, others)
        others.append(known)
    return known


@dataclass(frozen=True)
class Unknown:
    """The value of an attribute of a class that Python does not know."""

    name: str


def attribute_of(script: Any, name: str) -> Any:
    """An attribute of a TorchScript module, also where the class in Python has one of that name, such as `code`."""
    if name in script._modules:
        return script._modules[name]
    try:
        return script._c.getattr(name)
    except RuntimeError as error:
        if not is_unknown_class(error):
            raise
        return member_of_attribute(script, name) or Unknown(name)


def attributes(script: Any, kind: str) -> Iterator[tuple[str, str]]:
    """Classes, and the attributes of them that methods read or assign."""
    for _, _, graph in graphs_of(script):
        for node in graph.findAllNodes(kind):
            yield next(node.inputs()).type().annotation_str, node.s("name")


def _is_same(first: Any, second: Any, written: frozenset[str]) -> bool:
    """Whether two modules that write to themselves are one, which is seen by a write only."""
    if first._c._type().annotation_str != second._c._type().annotation_str:
        return False
    for name in written:
        before = attribute_of(first, name)
        if isinstance(before, torch.Tensor):
            mark = before.detach().clone()
            first._c.setattr(name, mark)
            try:
                return attribute_of(second, name) is mark
            finally:
                first._c.setattr(name, before)
    return False
