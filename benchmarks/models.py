"""What becomes of real architectures: docs/models.md.

    python benchmarks/models.py [MODEL ...] [--page]

Needs `pip install -e .[rtx,bench]`. Compiles every architecture of architectures.py (random weights, small sizes) once
for fixed shapes and once for ranges, compares the networks with PyTorch through the reference executor, prints one line
each, and without MODEL arguments writes benchmarks/models.json and docs/models.md. `--page` only writes the page again,
from the figures kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RESULTS, PAGE = FOLDER / "models.json", FOLDER.parent / "docs" / "models.md"
sys.path.insert(0, str(FOLDER))

from architectures import ARCHITECTURES, Architecture, resized  # noqa: E402

STAGES = ("export", "decompose", "lower", "annotate", "partition", "convert", "build", "splice")


def measure(name: str) -> dict[str, Any]:
    """Compile one architecture in this process, for fixed shapes and for ranges; the row of the table."""
    import torch

    torch.set_num_threads(1)
    architecture = ARCHITECTURES[name]
    row: dict[str, Any] = {"family": architecture.family}
    for kind, inputs in (("static", None), ("dynamic", architecture.ranges())):
        try:
            row[kind] = _compiled(architecture, inputs)
        except Exception as error:
            row[kind] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
            traceback.print_exc()
    return row


def _compiled(architecture: Architecture, ranges: Mapping[str, Any] | None) -> dict[str, Any]:
    import time

    import trt_passes as tp

    module, inputs = architecture.built()
    timing = tp.Timing()
    started = time.perf_counter()
    program = tp.trace(module, [], dict(ranges or inputs))
    exported = time.perf_counter() - started
    compiled = tp.compile(program, executor="reference", instruments=[timing])
    report = compiled.report
    seconds = Counter({"export": exported})
    for passed in timing.rows:
        seconds[passed.name.partition(".")[0]] += passed.seconds
    corners = [inputs] if ranges is None else [resized(inputs, ranges, corner) for corner in ("min_shape", "max_shape")]
    return {
        "nodes": len(report.program.op_nodes),
        "trt": report.verdicts["trt"],
        "engines": len(report.segments),
        "errors": _errors(module, compiled, corners),
        "seconds": {stage: round(seconds[stage], 2) for stage in STAGES},
        "reasons": _reasons(report),
    }


def _errors(module: Any, compiled: Any, calls: list[Mapping[str, Any]]) -> list[float]:
    """The largest relative L2 error of each output over the calls; infinite where dtypes or shapes differ."""
    import torch
    from torch.utils import _pytree as pytree
    from trt_passes.compiler.instruments.numerics import distance

    worst: list[float] = []
    for inputs in calls:
        with torch.no_grad():
            expected, found = (pytree.tree_leaves(model(**inputs)) for model in (module, compiled))
        errors = [
            distance(want, have)[1] if (want.dtype, want.shape) == (have.dtype, have.shape) else float("inf")
            for want, have in zip(expected, found, strict=True)
        ]
        worst = [max(pair) for pair in zip(worst, errors, strict=True)] if worst else errors
    return [float(f"{error:.1e}") for error in worst]


def _reasons(report: Any) -> list[dict[str, Any]]:
    """Why nodes stayed in PyTorch: operator, code, the first message, and how many nodes it holds for."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in report.ledger:
        for reason in row.reasons if row.verdict.value != "trt" else ():
            groups.setdefault((row.op, reason.code), []).append(reason.message)
    return [
        {"op": op, "code": code, "nodes": len(messages), "message": messages[0]}
        for (op, code), messages in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def run(names: list[str]) -> dict[str, dict[str, Any]]:
    """The rows of the named architectures, each in a worker process that is replaced when the builder crashes it."""
    rows: dict[str, dict[str, Any]] = {}
    pool = None
    for name in names:
        pool = pool or ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            rows[name] = pool.submit(measure, name).result()
        except BrokenProcessPool:
            crashed = {"failed": "the process crashed"}
            rows[name], pool = {"family": ARCHITECTURES[name].family, "static": crashed, "dynamic": crashed}, None
        print(f"{name:24} {summary(rows[name]['static'])} | {summary(rows[name]['dynamic'])}", flush=True)
    if pool:
        pool.shutdown()
    return rows


def summary(result: Mapping[str, Any]) -> str:
    """One result on one line."""
    if "failed" in result:
        return str(result["failed"])
    share, seconds = result["trt"] / result["nodes"], sum(result["seconds"].values())
    return f"{result['nodes']:4} nodes {share:6.1%} {result['engines']} engine(s) err {_worst(result)} {seconds:.1f} s"


def _worst(result: Mapping[str, Any]) -> str:
    return f"{max(result['errors']):.0e}"


def page(results: Mapping[str, Any]) -> str:
    """docs/models.md from the results."""
    rows: Mapping[str, Mapping[str, Any]] = results["models"]
    whole = sum(row["static"].get("engines") == 1 and not row["static"]["reasons"] for row in rows.values())
    ranged = sum(row["dynamic"].get("engines") == 1 and not row["dynamic"]["reasons"] for row in rows.values())
    lines = [
        "# Real architectures",
        "",
        "<!-- Generated by benchmarks/models.py: do not edit. -->",
        "",
        f"{len(rows)} architectures from transformers and diffusers with random weights and small sizes, compiled in",
        f"float32: **{whole} become one engine with nothing left over at fixed shapes, {ranged} with dynamic batch and",
        "sequence length.** Errors are relative L2 errors against PyTorch, the largest over all outputs (for ranges at",
        "the smallest and largest shapes), of the real TensorRT network evaluated layer by layer by the reference",
        "executor; every engine is also built by TensorRT. Small sizes show structure, not speed.",
        "",
        f"{results['date']}, {results['machine']}, "
        + ", ".join(f"{name} {version}" for name, version in sorted(results["versions"].items()))
        + ". Again: `python benchmarks/models.py`.",
        "",
        "| model | kind | op nodes | in TensorRT | engines | error | ranges: in TensorRT | engines | error |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [f"| {name} | {row['family']} | {_cells(row)} |" for name, row in rows.items()]
    lines += ["", "## What stays in PyTorch, and why", ""]
    lines += _shortfalls(rows) or ["Nothing."]
    lines += ["", "## Error of each output", "", "| model | fixed shapes | ranges |", "|---|---|---|"]
    lines += [f"| {name} | {_outputs(row['static'])} | {_outputs(row['dynamic'])} |" for name, row in rows.items()]
    lines += ["", "## Seconds per stage, fixed shapes", "", "| model | " + " | ".join(STAGES) + " |"]
    lines += ["|---|" + "--:|" * len(STAGES)]
    for name, row in rows.items():
        seconds = row["static"].get("seconds", {})
        lines.append(f"| {name} | " + " | ".join(f"{seconds.get(stage, float('nan')):.2f}" for stage in STAGES) + " |")
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[str, Any]) -> str:
    static, dynamic = row["static"], row["dynamic"]
    nodes = str(static["nodes"]) if "nodes" in static else "failed"
    return " | ".join([nodes, *_result_cells(static), *_result_cells(dynamic)])


def _result_cells(result: Mapping[str, Any]) -> list[str]:
    if "failed" in result:
        return ["failed", "", ""]
    return [f"{result['trt'] / result['nodes']:.1%}", str(result["engines"]), _worst(result)]


def _outputs(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{error:.0e}" for error in result.get("errors", ())) or "failed"


def _shortfalls(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    for name, row in rows.items():
        for kind, title in (("static", "fixed shapes"), ("dynamic", "ranges")):
            result = row[kind]
            if "failed" in result:
                lines.append(f"- **{name}**, {title}: failed: {result['failed']}")
            for reason in result.get("reasons", ()):
                nodes = f"{reason['nodes']} node{'s' if reason['nodes'] > 1 else ''}"
                lines.append(
                    f"- **{name}**, {title}: {nodes} of `{reason['op']}` ({reason['code']}): {reason['message']}"
                )
    return lines


def main() -> None:
    """Measure the named architectures, or all of them and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(ARCHITECTURES))
    parser.add_argument("--page", action="store_true", help="only write docs/models.md from benchmarks/models.json")
    arguments = parser.parse_args()
    unknown = set(arguments.models) - set(ARCHITECTURES)
    if unknown:
        parser.error(f"unknown model {sorted(unknown)[0]!r}: choose from {', '.join(ARCHITECTURES)}")
    if not arguments.page:
        rows = run(arguments.models or list(ARCHITECTURES))
        if arguments.models:
            return
        RESULTS.write_text(json.dumps({**_machine(), "models": rows}, indent=1) + "\n")
    PAGE.write_text(page(json.loads(RESULTS.read_text())) + _generated_blocks(PAGE.read_text()))


def _generated_blocks(written: str) -> str:
    """What stands at the end of the page and is made by `python -m docs.generate` from results of other programs."""
    start = written.find("\n<!-- begin ")
    return "" if start < 0 else written[start:]


def _machine() -> dict[str, Any]:
    from importlib.metadata import version

    packages = ("torch", "tensorrt-rtx-cu13", "transformers", "diffusers")
    return {
        "date": str(date.today()),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


if __name__ == "__main__":
    main()
