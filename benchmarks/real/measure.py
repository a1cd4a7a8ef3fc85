"""One model in one precision, for fixed sizes or ranges: compiled, called by its task, saved, loaded, called again."""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import trt_passes as tp
from case import Call, Case, Part, Result
from torch.utils import _pytree as pytree
from trt_passes.compiler.instruments.numerics import distance

PRECISIONS: Mapping[str, Mapping[str, Any]] = {
    "fp32": {},
    "fp16": {"enabled_precisions": {torch.float16}},
    "bf16": {"enabled_precisions": {torch.bfloat16}},
}
SIZES = ("fixed", "ranges")


@dataclass
class Recorded:
    """A module of PyTorch's that keeps what it was called with and what it returned."""

    part: Part
    calls: list[tuple[tuple[Any, ...], list[Any]]] = field(default_factory=list)

    def __call__(self, *args: Any) -> Any:
        kept = _copied(args)
        with torch.no_grad():
            result = self.part.module(*args)
        self.calls.append((kept, _copied(pytree.tree_leaves(result))))
        return result


@dataclass
class Compiled:
    """A part that is compiled: once for its ranges, or anew for each sizes that it meets; arguments stay on the CPU."""

    part: Part
    ranged: bool
    options: Mapping[str, Any]
    device: str
    modules: dict[Any, Any] = field(default_factory=dict)

    def __call__(self, *args: Any) -> Any:
        moved = pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.to(self.device), args)
        with torch.no_grad():
            result = self._module_for(moved)(*moved)
        return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), result)

    def _module_for(self, args: tuple[Any, ...]) -> Any:
        key = None if self.ranged else tuple(tuple(arg.shape) for arg in args)
        if key not in self.modules:
            inputs = list(self.part.ranges if self.ranged else args)
            self.modules[key] = tp.compile(self.part.module, inputs, **self.options)
        return self.modules[key]

    def saved_and_loaded(self, folder: Path, executor: str) -> tuple[Compiled, int]:
        """The same from files, and the bytes of the files."""
        loaded, size = {}, 0
        for number, (key, module) in enumerate(self.modules.items()):
            is_script = isinstance(module, torch.jit.ScriptModule)
            path = folder / f"{number}{'.ts' if is_script else '.pt2'}"
            tp.save(module, str(path))
            size += path.stat().st_size
            # A network exists where it was made only; elsewhere an engine's own graph stands in for it without a GPU.
            here = "pytorch" if executor == "reference" else executor
            loaded[key] = torch.jit.load(path) if is_script else tp.load(str(path), executor=here)
        return Compiled(self.part, self.ranged, self.options, self.device, loaded), size


def original(case: Case) -> tuple[Result, dict[str, Recorded]]:
    """The task as PyTorch does it, and what each part was called with."""
    parts = {name: Recorded(part) for name, part in case.parts.items()}
    return case.perform(parts), parts


def autocast(case: Case, expected: Result, precision: str) -> float | None:
    """How far the task's result is off where PyTorch computes by `torch.autocast`; None if in no number of values."""
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]

    def call(part: Part) -> Call:
        def called(*args: Any) -> Any:
            with torch.no_grad(), torch.autocast("cpu", dtype):
                result = part.module(*args)
            return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.float(), result)

        return called

    return _short(case.deviation(expected, case.perform({name: call(part) for name, part in case.parts.items()})))


def run(
    case: Case, expected: Result, recorded: Mapping[str, Recorded], precision: str, sizes: str, executor: str
) -> dict[str, Any]:
    """The row of one way to compile the case's parts; raises what the compiler raises."""
    device = "cuda" if executor == "tensorrt" else "cpu"
    options = {**PRECISIONS[precision], "executor": executor}
    with _moved(case, device):
        parts = {name: Compiled(part, sizes == "ranges", options, device) for name, part in case.parts.items()}
        started = time.perf_counter()
        found = case.perform(parts)
        seconds = time.perf_counter() - started
        error = max(_error(recorded[name], parts[name]) for name in parts)
        with tempfile.TemporaryDirectory() as folder:
            loaded, size = _reloaded(parts, Path(folder), executor)
            again = case.perform(loaded)
    reports = [module.report for part in parts.values() for module in part.modules.values()]
    return {
        "compiled": len(reports),
        "nodes": sum(len(report.program.op_nodes) for report in reports),
        "trt": sum(report.verdicts["trt"] for report in reports),
        "engines": sum(len(report.segments) for report in reports),
        "error": _short(error),
        "deviation": _short(case.deviation(expected, found)),
        "words": found.words,
        "loaded": _short(case.deviation(expected, again)),
        "megabytes": round(size / 1e6, 2),
        "seconds": round(seconds, 1),
        "products": [note for report in reports for note in report.notes if "products" in note][:1],
        "reasons": _reasons(reports),
    }


def _error(recorded: Recorded, compiled: Compiled) -> float:
    """The largest relative L2 error of any output: in the calls of the task and, for ranges, in more of them."""
    calls = list(recorded.calls)
    if compiled.ranged:
        extra = Recorded(Part(recorded.part.module.cpu(), ()))
        for args in recorded.part.more:
            extra(*_copied(args))
        recorded.part.module.to(compiled.device)
        calls += extra.calls
    worst = 0.0
    for args, expected in calls:
        found = pytree.tree_leaves(compiled(*_copied(args)))
        for want, have in zip(expected, found, strict=True):
            worst = max(worst, distance(want, have)[1])
    return worst


def _reloaded(parts: Mapping[str, Compiled], folder: Path, executor: str) -> tuple[dict[str, Call], int]:
    loaded: dict[str, Call] = {}
    size = 0
    for name, part in parts.items():
        (folder / name).mkdir()
        loaded[name], bytes_of_part = part.saved_and_loaded(folder / name, executor)
        size += bytes_of_part
    return loaded, size


def _reasons(reports: list[Any]) -> list[dict[str, Any]]:
    """Why nodes stayed in PyTorch: operator, code, the first message, and how many nodes it holds for."""
    groups: dict[tuple[str, str], list[str]] = {}
    for report in reports:
        for row in report.ledger:
            for reason in row.reasons if row.verdict.value != "trt" else ():
                groups.setdefault((row.op, reason.code), []).append(reason.message)
    counts = Counter({key: len(messages) for key, messages in groups.items()})
    return [
        {"op": op, "code": code, "nodes": number, "message": groups[op, code][0]}
        for (op, code), number in counts.most_common()
    ]


@contextmanager
def _moved(case: Case, device: str) -> Iterator[None]:
    """The case's modules on a device, and back."""
    for part in case.parts.values():
        part.module.to(device)
    try:
        yield
    finally:
        for part in case.parts.values():
            part.module.cpu()


def _copied(value: Any) -> Any:
    return pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.detach().clone(), value)


def _short(number: float) -> float | None:
    """Two digits of a number; None where it is infinite or NaN, which JSON does not have."""
    return float(f"{number:.1e}") if math.isfinite(number) else None
