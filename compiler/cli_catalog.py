"""What there is, as text: passes for `trt-passes passes`, operators and their conditions for `trt-passes ops`."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from ..passes.convert.registry import Converter, default_registry
from .errors import UserError, did_you_mean
from .pass_base import Pass
from .pipeline import known_passes
from .text import op_name


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

    Raises:
        UserError: no operator of that name has a converter.
    """
    converters = {op_name(target): converter for target, converter in default_registry().converters.items()}
    if name is None:
        lines = [f"{op:48} {_brief(converters[op])}".rstrip() for op in sorted(converters)]
        return "\n".join([*lines, f"{len(lines)} operators; `trt-passes ops NAME` shows the conditions of one."])
    wanted = name.removeprefix("torch.ops.").replace("::", ".").removesuffix(".default")
    found = [op for op in sorted(converters) if wanted in (op, _packet(op), _packet(op).partition(".")[2])]
    if not found:
        known = [*converters, *(_packet(op) for op in converters)]
        raise UserError(f"no operator {name!r} has a converter.{did_you_mean(wanted, dict.fromkeys(known))}")
    return "\n".join(line for op in found for line in _operator_lines(op, converters[op]))


def _packet(op: str) -> str:
    return ".".join(op.split(".")[:2])


def _brief(converter: Converter) -> str:
    codes = sorted({condition.code for condition in converter.conditions})
    return " ".join([*(["kept whole"] if converter.composite else []), *codes])


def _operator_lines(op: str, converter: Converter) -> list[str]:
    whole = " (kept whole by decompose)" if converter.composite else ""
    conditions = [f"  {condition.code}  {condition.doc}" for condition in converter.conditions]
    return [f"{op}{whole}", *(conditions or ["  always converted"])]
