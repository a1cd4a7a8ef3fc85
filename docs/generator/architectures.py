"""The tables of every architecture in docs/models.md, from what benchmarks/sweep.py measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .markdown import table

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

CHECKS = (
    "Beside one engine there may be checks: the model asks that a value is so and else raises (`assert "
    "ids.max() < n`), or it decides by a value and was compiled for what it decides on the example inputs. The engine "
    "computes the value, and PyTorch compares it and raises, which an engine cannot. All that outputs are made of is "
    "in the engine, but the call waits for the value, so these models are counted apart. Checks that hold for all "
    "inputs are left out: those of constants, and what is so of any count, place or clamped number."
)
"""What "beside which PyTorch only checks values" means."""

OUTCOMES = {
    "one engine": "right, in one engine with nothing left over",
    "one engine, checks": "right, in one engine, beside which PyTorch only checks values, as the model asks",
    "several": "right, in several engines or with parts in PyTorch",
    "pytorch": "right, with nothing in TensorRT",
    "export refuses": "torch.export refuses the model",
    "export differs": "torch.export's program, run by PyTorch, differs from the model just so",
    "wrong": "wrong",
    "crash": "crash",
    "slow": "too slow",
    "not made": "not made: the rules give no small model that PyTorch itself can run",
}
_COMPARED = [name for name in OUTCOMES if name != "not made"]
_RIGHT = ("one engine", "one engine, checks", "several", "pytorch")


def architecture_blocks() -> dict[str, str]:
    """The block by its name."""
    return {"architectures": section(_rows("sweep.jsonl"), _rows("sweep_heads.jsonl"), _rows("sweep_timm.jsonl"))}


def section(
    transformers: Mapping[str, Mapping[str, Any]],
    heads: Mapping[str, Mapping[str, Any]],
    timm: Mapping[str, Mapping[str, Any]],
) -> str:
    """The section: what became of how many, and of which, with the reasons."""
    parts = [
        "## Every architecture of transformers",
        "Every kind of model that transformers has (its base model, else the first task that has a class), made small "
        "by rule, with random weights and inputs by rule: exported, compiled, called and compared with PyTorch. Every "
        "engine is built by TensorRT, and its network evaluated by the reference executor. An output is right within "
        "a relative L2 error of 1e-3. Where random weights make scores so equal that PyTorch itself answers otherwise "
        "when each weight changes in its last digit, it is right if it is at most four times as far off as that, in "
        "order and sorted.",
        *_tables(transformers, "python benchmarks/sweep.py"),
        CHECKS,
    ]
    if heads:
        parts += [
            "## Classes of tasks",
            "A sample of the other classes of transformers' auto-mappings, of which one of each task comes first "
            "(such as `RfDetrForInstanceSegmentation`), compiled and compared in the same way.",
            *_tables(heads, "python benchmarks/sweep.py --heads --count 60"),
        ]
    if timm:
        parts += [
            "## Models of timm",
            "Models of as many families of timm as there are, with random weights, on the GPU with engines "
            '(`executor="tensorrt"`), compared in the same way, with `disable_tf32`. TensorRT-RTX 1.6 computes '
            "products of float32 in TF32 on an H200 all the same, so an output is right, too, if it is at most four "
            "times as far off as PyTorch's own in TF32, with operands rounded as PyTorch does it, or cut off, as "
            "TensorRT-RTX does it in some convolutions. What the time did not suffice for is not in the table.",
            *_tables(timm, "python benchmarks/sweep.py --timm --executor tensorrt"),
        ]
    return "\n\n".join(parts)


def _tables(rows: Mapping[str, Mapping[str, Any]], command: str) -> Iterable[str]:
    counts = Counter(row["outcome"] for row in rows.values())
    compared = sum(counts[name] for name in _COMPARED)
    reached = compared - counts["export refuses"]
    right = sum(counts[name] for name in _RIGHT)
    checks = counts["one engine, checks"]
    beside = f" ({checks} more beside which PyTorch only checks values)" if checks else ""
    yield (
        f"**Of {compared} kinds that PyTorch can run torch.export takes {reached}; of these {right} are right, "
        f"{counts['one engine']} of them in one engine{beside}; {counts['wrong']} are wrong, {counts['crash']} crash, "
        f"{counts['slow']} are too slow.**"
    )
    versions = Counter(", ".join(f"{name} {what}" for name, what in row["versions"].items()) for row in rows.values())
    measured = "; ".join(f"{name} ({count})" for name, count in versions.most_common())
    yield f"Measured with {measured}. Again: `{command}`."
    yield table(
        ("what became of it", "models", "which"),
        [(words, str(counts[name]), _names(rows, name)) for name, words in OUTCOMES.items() if counts[name]],
    )
    reasons = [
        (kind, row["outcome"], _short(row.get("words", "")))
        for kind, row in rows.items()
        if row["outcome"] in _COMPARED and row["outcome"] not in _RIGHT
    ]
    if reasons:
        yield table(("model", "what became of it", "in its words"), reasons)
    if counts["several"] or checks:
        yield "What stays in PyTorch (nodes × operator, reason code), and of which models:"
        yield table(("reason", "models"), _by_reason(rows))
    followed = [kind for kind, row in rows.items() if row.get("by_examples")]
    if followed:
        yield (
            "Of models that decide by values of their inputs, which torch.export refuses, these are right with "
            f"`decide_by_examples=True`, for inputs by which they decide as by the examples: {', '.join(followed)}."
        )
    unstable = [kind for kind, row in rows.items() if row.get("unstable", [0, 0])[1]]
    if unstable:
        yield f"Compared as where PyTorch's own last digits decide: {', '.join(unstable)}."


def _names(rows: Mapping[str, Mapping[str, Any]], outcome: str) -> str:
    names = [kind for kind, row in rows.items() if row["outcome"] == outcome]
    return ", ".join(names) if outcome != "not made" else "see `benchmarks/sweep*.jsonl`"


def _by_reason(rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    models: dict[str, list[str]] = {}
    for kind, row in rows.items():
        if row["outcome"] in ("one engine, checks", "several", "pytorch"):
            models.setdefault(_reason(row), []).append(kind)
    ordered = sorted(models.items(), key=lambda item: (-len(item[1]), item[0]))
    return [(reason, f"{len(kinds)}: {', '.join(kinds)}") for reason, kinds in ordered]


def _reason(row: Mapping[str, Any]) -> str:
    """The operators that stay, without how many there are."""
    if not row["words"]:
        return f"none: divided among {row['engines']} engines, since one would be too large or slow to build"
    return ", ".join(f"`{each.split(' × ')[1].split(' (')[0]}`" for each in row["words"].split("; "))


def _short(words: str) -> str:
    return " ".join(words.replace("<", "&lt;").split())[:200]


def _rows(name: str) -> dict[str, Mapping[str, Any]]:
    """The newest row of each kind."""
    path = BENCHMARKS / name
    if not path.exists():
        return {}
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    newest = {line["kind"]: line for line in lines}
    return {kind: newest[kind] for kind in sorted(newest)}
