"""The catalog as the code has it: from the passes, the converter registry and PyTorch's own operators."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import torch

from ...passes.decompose import is_decomposed
from ..ir.text import op_name
from ..pass_base import Pass, option_name
from ..pipeline import known_passes
from ..tensorrt.registry import Converter, default_registry
from .catalog_file import Catalog, OperatorEntry, PassEntry


def catalog_of_code() -> Catalog:
    """Everything that the file of the catalog holds, for the PyTorch that is installed."""
    converters = {op_name(target): converter for target, converter in default_registry().converters.items()}
    return Catalog(
        tuple(map(_pass_entry, known_passes().values())),
        {name: _operator_entry(converters[name]) for name in sorted(converters)},
        ".".join(torch.__version__.split(".")[:2]),
        operators_without_converter(),
    )


def options_of(item: type[Pass]) -> tuple[tuple[str, str, str], ...]:
    """Name, type and default of each option of a pass."""
    found = []
    for field in dataclasses.fields(item):
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        found.append((option_name(field.name), str(field.type), _default_text(default)))
    return tuple(found)


def operators_without_converter() -> dict[str, str]:
    """The ATen operators of the PyTorch at hand that have no converter, by name, with what becomes of each.

    That is a reason code if it stays in PyTorch, or "decomposed".
    """
    known = default_registry().converters
    found = {}
    for full in torch._C._dispatch_get_all_op_names():
        namespace, _, name = full.partition("::")
        operator, _, overload = name.partition(".")
        if namespace == "aten":
            target = getattr(getattr(torch.ops.aten, operator), overload or "default")
            if target not in known:
                found[op_name(target)] = _fate(target)
    return dict(sorted(found.items()))


def _pass_entry(item: type[Pass]) -> PassEntry:
    needs, establishes, ends = (tuple(sorted(facts)) for facts in (item.requires, item.establishes, item.breaks))
    return PassEntry(item.name, item.kind, _first_sentence(item), needs, establishes, ends, options_of(item))


def _operator_entry(converter: Converter) -> OperatorEntry:
    rules = tuple((rule.code, rule.doc) for rule in converter.rules)
    return OperatorEntry(converter.composite, _first_sentence(converter.convert), rules)


def _fate(target: torch._ops.OpOverload) -> str:
    if is_decomposed(target):
        return "decomposed"
    if torch.Tag.nondeterministic_seeded in target.tags:
        return "TP207"
    return "TP208" if target._schema.is_mutable else "TP101"


def _default_text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"[{','.join(str(item) for item in value)}]" if isinstance(value, tuple | frozenset) else str(value)


def _first_sentence(item: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(item) or "").split("\n\n")[0].split())
