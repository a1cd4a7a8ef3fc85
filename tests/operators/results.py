"""The results of a run as data: what `results.json` holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trt_passes.compiler.ir.dtypes import short_name
from trt_passes.compiler.report.versions import versions

from .catalog import dtypes_of, group_of
from .outcome import Kind
from .workers import Task, Trial

FILE = Path(__file__).with_name("results.json")

Caps = dict[str, dict[str, tuple[int, int]]]
"""Most samples per entry with fixed and with varying sizes, by group and dtype."""

CAPS: Caps = {"promised": {"float32": (16, 5), "other": (3, 1)}, "other": {"float32": (4, 1), "other": (0, 0)}}
"""What two processes do in half an hour."""


def caps_of(share: float) -> Caps:
    """A share of `CAPS`, 0 to 1."""
    return {
        group: {kind: (round(fixed * share), round(varying * share)) for kind, (fixed, varying) in kinds.items()}
        for group, kinds in CAPS.items()
    }


@dataclass
class Results:
    """Counts by entry and by ATen operator, with a sentence for everything that is not right.

    `entries[name]` has `group` and, per short dtype name, `static` and `dynamic`: counts by kind and reason code.
    `targets[op]` has `dtypes`, in which samples were right, and counts by kind.
    """

    caps: Caps
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def add(self, trial: Trial) -> None:
        """Count a trial."""
        dtype, mode = short_name(trial.task.dtype), "dynamic" if trial.dynamic else "static"
        name, outcome = trial.task.operator, trial.outcome
        entry = self.entries.setdefault(name, {"group": group_of(name)})
        counts = entry.setdefault(dtype, {}).setdefault(mode, Counter())
        counts[str(outcome.kind)] += 1
        if outcome.kind is Kind.RIGHT and outcome.axes == "one":
            counts["one axis"] += 1
        for code in outcome.codes:
            counts[code] += 1
        if outcome.kind is Kind.WRONG:
            self.wrong.append(f"{name} {dtype} {mode} #{trial.index} ({trial.text}): {outcome.detail}")
        if outcome.kind in (Kind.RIGHT, Kind.REFUSED, Kind.WRONG):
            for target in outcome.targets:
                row = self.targets.setdefault(target, {"dtypes": set(), "static": Counter(), "dynamic": Counter()})
                row[mode][str(outcome.kind)] += 1
                if outcome.kind is Kind.RIGHT:
                    row["dtypes"].add(dtype)

    def to_json(self) -> dict[str, Any]:
        """The JSON object, in an order of its own."""
        return {
            "versions": {name: text for name, text in versions().items() if name != "trt_passes"},
            "caps": self.caps,
            "summary": summary(self.entries),
            "wrong": sorted(self.wrong),
            "entries": _sorted(self.entries),
            "targets": _sorted(self.targets),
        }

    def write(self, file: Path) -> None:
        """Write the file anew: one line per entry and per operator."""
        lines = ["{"]
        for key, value in self.to_json().items():
            last = "" if key == "targets" else ","
            if key in ("entries", "targets"):
                rows = [f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in value.items()]
                lines += [f"  {json.dumps(key)}: {{", ",\n".join(rows), f"  }}{last}"]
            else:
                lines.append(f"  {json.dumps(key)}: {json.dumps(value)}{last}")
        temporary = file.with_suffix(".tmp")
        temporary.write_text("\n".join([*lines, "}"]) + "\n", encoding="utf-8")
        temporary.replace(file)


def summary(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The figures that the project promises: right and exported float32 samples of promised entries, and all wrong."""
    found: dict[str, Any] = {}
    for mode in ("static", "dynamic"):
        rows = [entry.get("f32", {}).get(mode, {}) for entry in entries.values() if entry["group"] == "promised"]
        right, refused, wrong = (sum(row.get(kind, 0) for row in rows) for kind in ("right", "refused", "wrong"))
        found[f"{mode} float32"] = {
            "right": right,
            "accepted by torch.export": right + refused + wrong,
            "percent": round(100 * right / max(1, right + refused + wrong), 1),
        }
    found["wrong"] = sum(
        modes.get("wrong", 0)
        for entry in entries.values()
        for dtype, by_mode in entry.items()
        if dtype != "group"
        for modes in by_mode.values()
    )
    return found


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return sorted(value) if isinstance(value, set) else value


def tasks(names: Iterable[str], caps: Caps) -> list[Task]:
    """The work for some entries."""
    found = []
    for name in names:
        group = group_of(name)
        for position, dtype in enumerate(dtypes_of(name)):
            static, dynamic = caps["other" if group == "other" else "promised"]["float32" if position == 0 else "other"]
            if static:
                found.append(Task(name, dtype, static, dynamic))
    return found
