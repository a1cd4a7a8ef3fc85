"""Containers that PyTorch cannot write to a file: named tuples, `torch.return_types` and dataclasses.

A file holds tuples in their place, and beside the program what these were. Reading a file imports nothing: a class that
this process does not know is made anew, with the same name and fields.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

Described = Mapping[str, Any] | None
"""What a container and those in it were; None where all of them are such that PyTorch can write."""


def with_tuples(exported: ExportedProgram) -> dict[str, Described]:
    """Put tuples in the place of such containers, in the arguments and results of a program; what they were."""
    described: dict[str, Described] = {}

    def replaced(part: str, spec: pytree.TreeSpec) -> pytree.TreeSpec:
        described[part] = _described(spec)
        return _as_tuples(spec)

    _change_specs(exported, replaced)
    return {part: item for part, item in described.items() if item is not None}


def with_containers(exported: ExportedProgram, described: Mapping[str, Described]) -> None:
    """Put back what `with_tuples` replaced.

    Raises:
        ValueError: the description does not fit the program.
    """
    _change_specs(exported, lambda part, spec: _restored(spec, described.get(part)))


def _change_specs(exported: ExportedProgram, change: Callable[[str, pytree.TreeSpec], pytree.TreeSpec]) -> None:
    first, *others = exported.module_call_graph
    if first.signature is not None:
        specs = {part: change(part, getattr(first.signature, part)) for part in ("in_spec", "out_spec")}
        first = dataclasses.replace(first, signature=dataclasses.replace(first.signature, **specs))
        exported._module_call_graph = [first, *others]


def _described(spec: pytree.TreeSpec) -> Described:
    children = list(map(_described, spec.children()))
    own = _class_of(spec)
    return None if own is None and not any(children) else {"class": own, "children": children}


def _class_of(spec: pytree.TreeSpec) -> dict[str, Any] | None:
    """What a container is, if PyTorch cannot write it."""
    kind: Any = spec.context if spec.type is namedtuple else spec.type
    if spec.is_leaf() or kind is None or _has_a_name(kind):
        return None
    where = {"module": kind.__module__, "name": kind.__qualname__}
    if spec.type is namedtuple:
        return {"kind": "namedtuple", **where, "fields": list(kind._fields)}
    name = kind.__name__
    if vars(torch.return_types).get(name) is kind:
        return {"kind": "return_type", "name": name}
    if dataclasses.is_dataclass(kind) and _is_of_names(spec.context):
        return {"kind": "dataclass", **where, "fields": spec.context}
    return None


def _has_a_name(kind: Any) -> bool:
    found = pytree.SUPPORTED_SERIALIZED_TYPES.get(kind)
    return found is not None and found.serialized_type_name != pytree.NO_SERIALIZED_TYPE_NAME_FOUND


def _is_of_names(context: Any) -> bool:
    """Whether a context is that of `torch.export.register_dataclass`: names of fields, and of those that are None."""
    return (
        isinstance(context, list)
        and len(context) == 2
        and all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in context)
    )


def _as_tuples(spec: pytree.TreeSpec) -> pytree.TreeSpec:
    if spec.is_leaf():
        return spec
    kind, context = (spec.type, spec.context) if _class_of(spec) is None else (tuple, None)
    return pytree.TreeSpec(kind, context, list(map(_as_tuples, spec.children())))


def _restored(spec: pytree.TreeSpec, described: Described) -> pytree.TreeSpec:
    if described is None:
        return spec
    own, inner, children = described["class"], described["children"], spec.children()
    if not isinstance(inner, list) or len(inner) != len(children):
        raise ValueError(f"{len(children)} values are described as {inner!r}")
    parts = [_restored(child, item) for child, item in zip(children, inner, strict=True)]
    if own is None:
        return pytree.TreeSpec(spec.type, spec.context, parts)
    if spec.type is not tuple:
        raise ValueError(f"a {spec.type} is described as {own!r}")
    return pytree.TreeSpec(*_type_and_context(own, len(parts)), parts)


def _type_and_context(own: Mapping[str, Any], count: int) -> tuple[Any, Any]:
    if own["kind"] == "return_type":
        kind = vars(torch.return_types).get(own["name"])
        if not isinstance(kind, type) or not issubclass(kind, tuple) or kind.n_fields != count:  # type: ignore[attr-defined]
            raise ValueError(f"PyTorch has no torch.return_types.{own['name']} of {count} values")
        return kind, None
    known = _known_class(own["module"], own["name"])
    name = str(own["name"]).rpartition(".")[2]
    if own["kind"] == "namedtuple":
        fields = _names(own["fields"], count)
        is_it = known is not None and known.__bases__ == (tuple,) and getattr(known, "_fields", None) == tuple(fields)
        return namedtuple, known if is_it else namedtuple(name, fields)
    if own["kind"] != "dataclass" or not _is_of_names(own["fields"]):
        raise ValueError(f"there is no container {own!r}")
    given, left_out = own["fields"]
    _names(given, count)
    if known is None or not _takes(known, [*given, *left_out]):
        known = dataclasses.make_dataclass(name, [*given, *((item, Any, None) for item in left_out)])
        torch.export.register_dataclass(known)
    return known, [given, left_out]


def _names(fields: Any, count: int) -> Sequence[str]:
    if not isinstance(fields, list) or len(fields) != count or not all(isinstance(item, str) for item in fields):
        raise ValueError(f"{count} fields are called {fields!r}")
    return fields


def _takes(kind: type, fields: Sequence[str]) -> bool:
    """Whether a class is a dataclass of such fields that this process has told PyTorch of."""
    if kind not in pytree.SUPPORTED_NODES or not dataclasses.is_dataclass(kind):
        return False
    return {field.name for field in dataclasses.fields(kind)} == set(fields)


def _known_class(module: Any, name: Any) -> type | None:
    """A class by its name, if its module has been imported; nothing is imported, and no code of the module's runs."""
    found: Any = sys.modules.get(str(module))
    for part in str(name).split("."):
        found = vars(found).get(part) if isinstance(found, type(sys) | type) else None
    return found if isinstance(found, type) else None
