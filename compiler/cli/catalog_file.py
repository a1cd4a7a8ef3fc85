"""The catalog that is shipped with the package: passes, and operators with their conditions, known without PyTorch.

`catalog_of_code` makes it, `python -m docs.generate` writes it, and a test compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PATH = Path(__file__).with_name("catalog.json")


class PassEntry(NamedTuple):
    """A pass: its name and kind, what it does in a sentence, its facts, and its options as (name, type, default)."""

    name: str
    kind: str
    summary: str
    needs: tuple[str, ...]
    establishes: tuple[str, ...]
    ends: tuple[str, ...]
    options: tuple[tuple[str, str, str], ...]


class OperatorEntry(NamedTuple):
    """An operator that has a converter: whether `decompose` keeps it whole, what it does, its rules as (code, text)."""

    whole: bool
    summary: str
    rules: tuple[tuple[str, str], ...]


class SampleEntry(NamedTuple):
    """How many samples of an operator became engines, how many did not, and the reason codes of what stayed behind."""

    whole: int
    left: int
    codes: tuple[str, ...]


class Catalog(NamedTuple):
    """Passes in the default order, and operators by name.

    Attributes:
        passes: the built-in passes.
        operators: those that have a converter.
        torch: the release of PyTorch, such as "2.13", that `others` is about.
        others: ATen operators that have no converter, with what becomes of them: a reason code, or "decomposed".
        samples: what became of PyTorch's own samples of operators that are decomposed, by name without overload.
    """

    passes: tuple[PassEntry, ...]
    operators: Mapping[str, OperatorEntry]
    torch: str
    others: Mapping[str, str]
    samples: Mapping[str, SampleEntry] = {}


def shipped() -> Catalog:
    """The catalog that lies beside this file."""
    return from_json(json.loads(PATH.read_text(encoding="utf-8")))


def to_text(catalog: Catalog) -> str:
    """The catalog as its file has it: JSON, with a line for each pass and each operator."""
    operators = {name: entry._asdict() for name, entry in catalog.operators.items()}
    parts = {
        "passes": _block("[]", map(_json, (item._asdict() for item in catalog.passes))),
        "operators": _block("{}", (f"{_json(name)}: {_json(entry)}" for name, entry in operators.items())),
        "torch": _json(catalog.torch),
        "others": _block("{}", (f"{_json(name)}: {_json(fate)}" for name, fate in catalog.others.items())),
        "samples": _block("{}", (f"{_json(name)}: {_json(entry)}" for name, entry in catalog.samples.items())),
    }
    return _block("{}", (f"{_json(name)}: {text}" for name, text in parts.items())) + "\n"


def from_json(data: Mapping[str, Any]) -> Catalog:
    """The catalog that `to_text` wrote."""
    passes = tuple(PassEntry(**_frozen(row)) for row in data["passes"])
    operators = {name: OperatorEntry(**_frozen(row)) for name, row in data["operators"].items()}
    samples = {name: SampleEntry(*_frozen(row)) for name, row in data["samples"].items()}
    return Catalog(passes, operators, data["torch"], data["others"], samples)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _block(brackets: str, lines: Iterable[str]) -> str:
    body = ",\n".join(lines)
    return f"{brackets[0]}\n{body}\n{brackets[1]}"


def _frozen(value: Any) -> Any:
    """A value of JSON with tuples for lists."""
    if isinstance(value, dict):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
