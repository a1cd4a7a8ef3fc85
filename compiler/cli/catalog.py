"""What there is, as text: passes for `trt-passes passes`, operators and their conditions for `trt-passes ops`.

Answers come from the shipped catalog, without PyTorch; only what depends on the release of PyTorch is looked up in it
where the catalog was made for another.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from ..errors import UserError, did_you_mean
from .catalog_file import Catalog, OperatorEntry, PassEntry, shipped

_FATES = {
    "TP207": "TP207  stays in PyTorch: it draws random numbers",
    "TP208": "TP208  stays in PyTorch, unless export can replace it: it writes to an input",
    "TP101": "TP101  stays in PyTorch: it has no converter",
}
"""What becomes of calls of operators that have no converter."""

_UNLIMITED = {"TP201": "data type that TensorRT has", "TP203": "size, fixed or varying"}
"""What a call is free in where no rule has the reason code."""


def passes_text() -> str:
    """Every pass: name, kind, what it does, the facts it needs and establishes, and its options."""
    return "\n".join(line for item in shipped().passes for line in _pass_lines(item))


def _pass_lines(item: PassEntry) -> list[str]:
    lines = [f"{item.name} ({item.kind})", f"  {item.summary}"]
    facts = {"needs": item.needs, "establishes": item.establishes, "ends": item.ends}
    lines += [f"  {word}: {', '.join(names)}" for word, names in facts.items() if names]
    return lines + [f"  {name}={default} ({kind})" for name, kind, default in item.options]


def operators_text(name: str | None = None) -> str:
    """The operators that have a converter; with a name, those that match it, with all their conditions.

    A name is that of an overload, of an operator ("aten.add" or "add"), the beginning of names, or a pattern with `*`.

    Raises:
        UserError: no operator of that name has a converter, and PyTorch has none of it.
    """
    catalog = shipped()
    operators = catalog.operators
    if name is None:
        lines = [f"{op:48} {_brief(entry)}".rstrip() for op, entry in operators.items()]
        return "\n".join([*lines, f"{len(lines)} operators; `trt-passes ops NAME` shows the conditions of one."])
    wanted = name.removeprefix("torch.ops.").replace("::", ".").removesuffix(".default")
    found = _matching(wanted, operators)
    if found:
        return "\n".join(line for op in found for line in _operator_lines(op, operators[op]))
    others = _others(catalog)
    full = f"aten.{wanted.removeprefix('aten.')}"
    elsewhere = [line for op in others if full in (op, _packet(op)) for line in (op, f"  {_fate(op, others[op])}")]
    if elsewhere:
        return "\n".join(elsewhere)
    known = [*operators, *(_packet(op) for op in operators)]
    raise UserError(f"no operator {name!r} has a converter.{did_you_mean(wanted, dict.fromkeys(known))}")


def _fate(op: str, fate: str) -> str:
    if fate != "decomposed":
        return _FATES[fate]
    text, samples = "decompose rewrites it into other operators", shipped().samples.get(_packet(op))
    if samples is None:
        return f"{text}; `trt-passes run` says whether all of them have converters"
    total = samples.whole + samples.left
    if not samples.left:
        return f"{text}, which have converters: all {total} samples of PyTorch's became one engine"
    codes = f" ({', '.join(samples.codes)})" if samples.codes else ""
    if not samples.whole:
        return f"{text}, some of which stay in PyTorch{codes}: none of {total} samples of PyTorch's became one engine"
    return f"{text}: {samples.whole} of {total} samples of PyTorch's became one engine, the rest did not{codes}"


def _others(catalog: Catalog) -> Mapping[str, str]:
    """The operators that have no converter, and what becomes of them, in the PyTorch that is installed."""
    if _installed_torch() == catalog.torch:
        return catalog.others
    from .catalog_of_code import operators_without_converter

    return operators_without_converter()


def _installed_torch() -> str | None:
    """The release of PyTorch, such as "2.13", without importing it; None where its package says none."""
    try:
        return ".".join(importlib.metadata.version("torch").split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return None


def _matching(wanted: str, ops: Iterable[str]) -> list[str]:
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


def _brief(entry: OperatorEntry) -> str:
    codes = sorted({code for code, _ in entry.rules})
    return " ".join([*(["kept whole"] if entry.whole else []), *codes])


def _operator_lines(op: str, entry: OperatorEntry) -> list[str]:
    whole = " (kept whole by decompose)" if entry.whole else ""
    lines = [f"{op}{whole}", f"  {entry.summary}"]
    lines += [f"  {code}  {text}" for code, text in entry.rules]
    codes = {code for code, _ in entry.rules}
    free = [text for code, text in _UNLIMITED.items() if code not in codes]
    return [*lines, f"  any: {', '.join(free)}"] if free else lines
