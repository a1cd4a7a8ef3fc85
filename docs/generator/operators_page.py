"""docs/operators.md: the converters with their conditions, and what became of PyTorch's samples of every operator."""

from __future__ import annotations

import functools
import json
import runpy
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trt_passes.compiler.ir.text import op_name
from trt_passes.compiler.tensorrt.registry import default_registry

from .markdown import page, table

OPERATOR_TESTS = Path(__file__).parents[2] / "tests" / "operators"
SAMPLES = OPERATOR_TESTS / "results.json"
CORE = OPERATOR_TESTS / "core_aten.py"


def operators_page() -> str:
    """Every operator with a converter, its conditions, and what became of PyTorch's samples of it."""
    measured = json.loads(SAMPLES.read_text(encoding="utf-8"))
    groups = {group: _entries(measured, group) for group in ("promised", "refused", "other")}
    return page(
        "Operators",
        "[How this was measured](#how-this-was-measured) · [ATen operators](#aten-operators) · "
        "[PyTorch functions](#pytorch-functions) · [Core operators that stay in PyTorch]"
        "(#core-operators-that-stay-in-pytorch) · [Functions that stay in PyTorch](#functions-that-stay-in-pytorch) · "
        "[Other functions](#other-functions)",
        "## How this was measured",
        *_method(measured),
        "## ATen operators",
        f"The {len(default_registry().targets)} operators that have a converter, and what a call must meet to be "
        "converted. Operators kept whole are not decomposed, because TensorRT takes them as they are. The counts are "
        "right / refused / wrong: all samples, of any function, that reached the operator, in all data types.",
        table(
            ("operator", "kept whole", "conditions", "data types", "fixed sizes", "varying sizes"),
            map(functools.partial(_operator_row, measured["targets"]), default_registry().targets),
        ),
        "## Variants",
        "Operators that can be computed in several ways, see [Variants and tuning](tuning.md). Of those that are taken "
        "without a tuning, the first that applies to a call is.",
        table(("operator", "variant", "taken without a tuning", "what it is"), _variant_rows()),
        "## Core operators that stay in PyTorch",
        "Every other operator for inference that torch tags `core` has a converter or is decomposed.",
        table(
            ("operator", "reason"),
            [(f"`{name}`", text) for name, text in runpy.run_path(str(CORE))["REFUSALS"].items()],
        ),
        "## PyTorch functions",
        "By their names in `op_db`. Counts are right / refused / wrong; the reason codes are those of the refused "
        "samples, see [reason codes](reason-codes.md).",
        groups["promised"],
        "## Functions that stay in PyTorch",
        "They draw random numbers, or the size of their result depends on values, or they are not for inference. "
        "Samples that are right here do none of that, such as dropout with probability 0.",
        groups["refused"],
        "## Other functions",
        "Nothing is promised about these; what TensorRT takes of them must still be right.",
        groups["other"],
    )


def _method(measured: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {text}" for name, text in measured["versions"].items())
    caps, summary = measured["caps"], measured["summary"]
    rows = [
        (mode.replace("static", "fixed sizes,").replace("dynamic", "varying sizes,"), *map(str, found.values()))
        for mode, found in summary.items()
        if isinstance(found, dict)
    ]
    (fixed, varying), (fixed_others, varying_others) = caps["promised"]["float32"], caps["promised"]["other"]
    return [
        f"`make operators` ({versions}) takes the samples that PyTorch tests its own operators with (`op_db`), exports "
        "each, compiles it with `require_full_compilation` and `truncate_double`, builds its engine with TensorRT, "
        "evaluates its network with the reference executor, and compares values, data types and shapes with eager.",
        f"Of each function at most {fixed} float32 samples are taken with fixed sizes and {varying} with varying ones, "
        f"and {fixed_others} and {varying_others} in float16, int64 and bool, spread evenly over all that there are. A "
        "function without float32 kernels has the most samples in its first data type. With varying sizes every axis "
        "that torch.export leaves dynamic varies, and where that is refused, one axis alone; the engine is built for a "
        "range and evaluated at both ends and between. Samples that torch.export or eager rejects, or of which nothing "
        "is left to compute, do not count.",
        table(("float32 samples of the functions below", "right", "accepted by torch.export", "% right"), rows),
        f"Wrong samples, of all functions and data types: **{summary['wrong']}**.",
        *(f"- {line}" for line in measured["wrong"]),
    ]


def _variant_rows() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for target in default_registry().targets:
        for variant in default_registry().converters[target].variants:
            usual = ("yes" if variant.default else "") if isinstance(variant.default, bool) else "for large calls"
            found.append((f"`{op_name(target)}`", f"`{variant.name}`", usual, variant.doc))
    return found


def _operator_row(targets: Mapping[str, Any], target: Any) -> tuple[str, ...]:
    name, converter = op_name(target), default_registry().converters[target]
    conditions = "<br>".join(f"{item.code}: {item.doc}" for item in converter.rules)
    found = targets.get(name, {})
    counts = (_counts(found.get(mode, {})) for mode in ("static", "dynamic"))
    return (f"`{name}`", "yes" if converter.composite else "", conditions, " ".join(found.get("dtypes", ())), *counts)


def _entries(measured: Mapping[str, Any], group: str) -> str:
    rows = [(f"`{name}`", *_entry(entry)) for name, entry in measured["entries"].items() if entry["group"] == group]
    header = ("function", "data types", "f32, fixed sizes", "f32, varying sizes", "other types, both", "refused for")
    return table(header, rows)


def _entry(entry: Mapping[str, Any]) -> tuple[str, ...]:
    dtypes = {name: modes for name, modes in entry.items() if name != "group"}
    right = [name for name, modes in dtypes.items() if any(counts.get("right") for counts in modes.values())]
    others = sum((Counter(counts) for name in dtypes if name != "f32" for counts in dtypes[name].values()), Counter())
    every = (counts for modes in dtypes.values() for counts in modes.values())
    codes = sorted({key for counts in every for key in counts if key.startswith("TP")})
    single = dtypes.get("f32", {})
    counts = (_counts(found) for found in (single.get("static", {}), single.get("dynamic", {}), others))
    return (" ".join(right), *counts, " ".join(codes))


def _counts(found: Mapping[str, int]) -> str:
    numbers = [found.get(kind, 0) for kind in ("right", "refused", "wrong")]
    return " / ".join(map(str, numbers)) if any(numbers) else ""
