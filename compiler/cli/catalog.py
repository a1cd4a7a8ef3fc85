"""What there is, as text: passes for `trt-passes passes`, operators and their conditions for `trt-passes ops`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch

from ...passes.decompose import is_decomposed
from ..errors import UserError, did_you_mean
from ..ir.text import op_name
from ..pass_base import Pass
from ..pipeline import known_passes
from ..tensorrt.registry import Converter, default_registry


def passes_text() -> str:
    """Every pass: name, kind, what it does, the facts it needs and establishes, and its options."""
    return "\n".join(line for item in known_passes().values() for line in _pass_lines(item))


def summary(item: type[Pass]) -> str:
    """The first sentence of a pass's docstring, on one line."""
    first = (inspect.getdoc(item) or "").split("\n\n")[0]
    return " ".join(first.split())


def options_of(item: type[Pass]) -> list[tuple[str, str, str]]:
    """Name, type and default of each option of a pass."""
    found = []
    for field in dataclasses.fields(item):
        factory = field.default_factory
        default = field.default if factory is dataclasses.MISSING else factory()
        found.append((field.name.replace("_", "-"), str(field.type), _default_text(default)))
    return found


def _default_text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"[{','.join(str(item) for item in value)}]" if isinstance(value, tuple | frozenset) else str(value)


def _pass_lines(item: type[Pass]) -> list[str]:
    lines = [f"{item.name} ({item.kind})", f"  {summary(item)}"]
    facts = {"needs": item.requires, "establishes": item.establishes, "ends": item.breaks}
    lines += [f"  {word}: {', '.join(sorted(names))}" for word, names in facts.items() if names]
    lines += [f"  {name}={default} ({kind})" for name, kind, default in options_of(item)]
    return lines


def operators_text(name: str | None = None) -> str:
    """The operators that have a converter; with a name, those that match it, with all their conditions.

    A name is that of an overload, of an operator ("aten.add" or "add"), the beginning of names, or a pattern with `*`.

    Raises:
        UserError: no operator of that name has a converter, and `decompose` rewrites none.
    """
    converters = {op_name(target): converter for target, converter in default_registry().converters.items()}
    if name is None:
        lines = [f"{op:48} {_brief(converters[op])}".rstrip() for op in sorted(converters)]
        return "\n".join([*lines, f"{len(lines)} operators; `trt-passes ops NAME` shows the conditions of one."])
    wanted = name.removeprefix("torch.ops.").replace("::", ".").removesuffix(".default")
    found = _matching(wanted, sorted(converters))
    if found:
        return "\n".join(line for op in found for line in _operator_lines(op, converters[op]))
    elsewhere = [line for target in _overloads(wanted) for line in _fate(target)]
    if elsewhere:
        return "\n".join(elsewhere)
    known = [*converters, *(_packet(op) for op in converters)]
    raise UserError(f"no operator {name!r} has a converter.{did_you_mean(wanted, dict.fromkeys(known))}")


def _matching(wanted: str, ops: Sequence[str]) -> list[str]:
    """The operators that a name means: exactly, by a pattern, or else by how they begin."""
    if not wanted.strip("*"):
        return []
    exact = [op for op in ops if wanted in (op, _packet(op), _short(op))]
    if exact:
        return exact
    pattern = wanted if "*" in wanted else f"{wanted}*"
    return [op for op in ops if any(fnmatchcase(each, pattern) for each in (op, _short(op)))]


def _packet(op: str) -> str:
    return ".".join(op.split(".")[:2])


def _short(op: str) -> str:
    """The operator's name without its namespace and overload, such as "add"."""
    return _packet(op).partition(".")[2]


def _brief(converter: Converter) -> str:
    codes = sorted({rule.code for rule in converter.rules})
    return " ".join([*(["kept whole"] if converter.composite else []), *codes])


def _operator_lines(op: str, converter: Converter) -> list[str]:
    whole = " (kept whole by decompose)" if converter.composite else ""
    lines = [f"{op}{whole}", f"  {_first_sentence(converter.convert)}"]
    lines += [f"  {rule.code}  {rule.doc}" for rule in converter.rules]
    codes = {rule.code for rule in converter.rules}
    free = [text for code, text in _UNLIMITED.items() if code not in codes]
    return [*lines, f"  any: {', '.join(free)}"] if free else lines


_UNLIMITED = {"TP201": "data type that TensorRT has", "TP203": "size, fixed or varying"}
"""What a call is free in where no rule has the reason code."""


def _first_sentence(function: Any) -> str:
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())


# --- operators without a converter -----------------------------------------------------------------------------------
def _overloads(name: str) -> list[torch._ops.OpOverload]:
    """The ATen overloads of a name such as "aten.gelu_backward", "nonzero" or "aten.mean.dim"."""
    operator, _, overload = name.removeprefix("aten.").partition(".")
    packet = getattr(torch.ops.aten, operator, None) if operator.isidentifier() else None
    if not isinstance(packet, torch._ops.OpOverloadPacket):
        return []
    names: list[str] = packet.overloads()  # type: ignore[no-untyped-call]
    return [getattr(packet, each) for each in names if not overload or each == overload]


def _fate(target: torch._ops.OpOverload) -> list[str]:
    """What becomes of calls of an operator that has no converter, as lines."""
    if is_decomposed(target):
        return [op_name(target), "  decompose rewrites it into other operators, which have converters of their own"]
    if torch.Tag.nondeterministic_seeded in target.tags:
        return [op_name(target), "  TP207  stays in PyTorch: it draws random numbers"]
    if target._schema.is_mutable:
        return [op_name(target), "  TP208  stays in PyTorch, unless export can replace it: it writes to an input"]
    return [op_name(target), "  TP101  stays in PyTorch: it has no converter"]
