"""TorchScript on a GPU: the original beside what `ir="ts"` makes of it.

    python benchmarks/torchscript.py [NAME ...] [--width 256] [--rows 6] [--seconds 110] [--json FILE]

The programs are those of tests/compiler/frontends/torchscript/mixed_programs.py, at the sizes of real models, and the
file of the package silero-vad where that is installed, as it is and its two networks alone. Both run in the same
process, in turns, after warm-up; times are medians of a call with the GPU waited for.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import trt_passes as tp
from torch.utils import _pytree as pytree

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.compiler.frontends.torchscript.mixed_programs import PROGRAMS, scripted

OMITTED = frozenset({"optimised", "sorted"})
"""Programs of the CPU alone: weights in its own format, lengths that have to be there."""


@dataclass(frozen=True)
class Case:
    """A model, what it is compiled for, and what it is called with."""

    script: Any
    declared: Any
    given: Any


def case_of(name: str, width: int, count: int) -> Case:
    """The program or the file of a name."""
    if name in SILERO:
        return silero(name)
    program = PROGRAMS[name]
    return Case(scripted(program, width), program.declared(width), program.call(count, width))


SILERO = ("silero 16 kHz", "silero 8 kHz", "silero 16 kHz network", "silero 8 kHz network")
"""The whole file for a rate, which keeps state, and what it calls for windows of one rate."""


def silero(name: str) -> Case:
    """The voice detector, or one of its networks."""
    spec = importlib.util.find_spec("silero_vad")
    assert spec is not None
    assert spec.origin is not None
    model: Any = torch.jit.load(Path(spec.origin).parent / "data" / "silero_vad.jit").eval()
    rate = 16000 if "16" in name else 8000
    window = rate // 1000 * 32
    if not name.endswith("network"):
        return Case(model, [torch.zeros(1, window), rate], (torch.randn(1, window) * 0.1, rate))
    size = window + window // 8
    declared = [
        tp.Input(min_shape=(1, size), opt_shape=(1, size), max_shape=(8, size)),
        tp.Input(min_shape=(2, 1, 128), opt_shape=(2, 1, 128), max_shape=(2, 8, 128)),
    ]
    network = model._model if rate == 16000 else model._model_8k
    return Case(network, declared, (torch.randn(1, size) * 0.1, torch.zeros(2, 1, 128)))


def every_name() -> list[str]:
    """Programs that run on a GPU, and files that are there."""
    found = [name for name in PROGRAMS if name not in OMITTED]
    return found + (list(SILERO) if importlib.util.find_spec("silero_vad") is not None else [])


def main() -> int:
    """Time the named programs, or all, until the time is up; 0 unless a result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--executor", default="tensorrt")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    until, rows, wrong = time.monotonic() + options.seconds, [], 0
    warnings.simplefilter("ignore")
    for name in options.names or every_name():
        if time.monotonic() > until:
            break
        try:
            row = measured(name, options.width, options.rows, options.calls, options.executor)
        except Exception as error:
            row = {"name": name, "failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        wrong += "failed" in row or not row["right"]
        rows.append(row)
        print(text(row), flush=True)
        if options.json is not None:
            options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong else 0


@torch.no_grad()
def measured(name: str, width: int, count: int, calls: int, executor: str) -> dict[str, Any]:
    """Times of one program, and whether the results are the same."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    case = case_of(name, width, count)
    script = case.script.to(device)
    original = copy.deepcopy(script)
    began = time.monotonic()
    declared = pytree.tree_map_only(torch.Tensor, lambda x: x.to(device), case.declared)
    compiled = tp.compile(script, declared, executor=executor)
    seconds = time.monotonic() - began
    given = pytree.tree_map_only(torch.Tensor, lambda x: x.to(device), case.given)
    right = True
    for _ in range(12):  # TorchScript profiles its first calls, and compiles kernels of its own
        expected, found = original(*copy.deepcopy(given)), compiled(*copy.deepcopy(given))
        for ours, theirs in zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True):
            if isinstance(theirs, torch.Tensor) and theirs.is_floating_point():
                right = right and torch.allclose(ours.float(), theirs.float(), rtol=3e-2, atol=3e-2, equal_nan=True)
    before = milliseconds([lambda: original(*given), lambda: compiled(*given)], calls, device)
    report = compiled.report
    return {
        "name": name,
        "whole": not hasattr(report, "whole"),
        "engines": len(report.segments),
        "nodes": report.verdicts,
        "right": right,
        "original_ms": before[0],
        "compiled_ms": before[1],
        "compile_seconds": round(seconds, 1),
    }


def milliseconds(functions: Sequence[Callable[[], Any]], calls: int, device: torch.device) -> list[float]:
    """Median times of functions that are called in turns."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(calls):
        for function, own in zip(functions, times, strict=True):
            if device.type == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize()
            own.append((time.perf_counter() - began) * 1e3)
    return [round(statistics.median(own), 4) for own in times]


def text(row: dict[str, Any]) -> str:
    """A row on one line."""
    if "failed" in row:
        return f"{row['name']:20} {row['failed']}"
    ratio = row["original_ms"] / row["compiled_ms"]
    way = "whole" if row["whole"] else "blocks"
    return (
        f"{row['name']:20} {way:6} {row['engines']:2} engines  {row['original_ms']:8.3f} ms -> "
        f"{row['compiled_ms']:8.3f} ms  x{ratio:5.2f}  {'right' if row['right'] else 'WRONG'}  "
        f"compiled in {row['compile_seconds']} s"
    )


if __name__ == "__main__":
    sys.exit(main())
