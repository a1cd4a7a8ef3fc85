"""`tune`: find the variants that are best for a model on this GPU."""

from __future__ import annotations

import functools
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch.fx import Node
from torch.utils import _pytree as pytree

from ..compiler.errors import UserError
from ..compiler.frontends.exported_program import trace
from ..compiler.ir.annotations import verdict_of
from ..compiler.ir.call import Call
from ..compiler.ir.ledger import Verdict
from ..compiler.ir.program import Program, bodies_of, is_symbolic
from ..compiler.ir.tuning import ONE_WAY, PYTORCH, Measured, Tuning, pattern_of
from ..compiler.manager import PassManager, compile_program
from ..compiler.pass_base import Context
from ..compiler.report.versions import versions
from ..compiler.runtime.measure.errors import output_error
from ..compiler.runtime.measure.lockstep import Lockstep
from ..compiler.runtime.program_arguments import call_arguments, graph_arguments
from ..compiler.settings import Settings
from ..compiler.tensorrt.registry import default_registry
from .borders import with_borders
from .timing import timed
from .whole import with_best_border
from .window import Window, values_of

LEAST = 0.1
"""Share of its window's time that PyTorch's kernel takes at least, where borders seem to take all of it."""

Timer = Callable[[Sequence[Callable[[], Any]]], list[float]]
Progress = Callable[[str, int, int], None]

LARGE = 1 << 22
"""Bytes of a result from which on an operator with one way in TensorRT is compared with PyTorch's."""


def tune(
    model: Any,
    inputs: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    output: str | os.PathLike[str] | None = None,
    seconds: float = 300.0,
    progress: Progress | None = None,
    alone: Callable[[], AbstractContextManager[object]] | None = None,
    **options: Any,
) -> Tuning:
    """Measure the variants of a model's operators on this GPU, for `compile(tuning=…)` on any machine.

    Operators that do the same work are measured once. Each variant is built with the arithmetic around the operator,
    run on the values that the model has there, timed in turns with the others as a CUDA graph, and compared with
    float64. What the file has already is not measured again, so that a tuning can be continued, and the second model of
    a family costs little.

    Args:
        model, inputs, kwargs: as for `compile`; of an `Input` its usual sizes.
        output: a file to continue, and to write after every operator.
        seconds: of measuring, the operators with most to do first; what is left keeps its default.
        progress: `progress(text, done, total)` is called before every operator, and once more before the whole model.
        alone: makes a context that is entered while something is timed, such as a lock of a GPU that others use too.
        options: fields of `Settings`, as `compile` will have them: precisions decide what there is to measure.

    Raises:
        UserError: there is no GPU, or a mistake as for `compile`.
    """
    _require_gpu()
    settings = Settings.from_options({**options, "executor": "tensorrt"})
    program = usual_program(model, inputs, kwargs)
    gpu, found = torch.cuda.get_device_name(), versions()
    known = known_tuning(output, gpu, found)
    timer = timed if alone is None else functools.partial(_timed_alone, alone)
    return tune_program(program, settings, known, timer, torch.device("cuda"), output, seconds, progress)


def _timed_alone(
    alone: Callable[[], AbstractContextManager[object]], calls: Sequence[Callable[[], Any]]
) -> list[float]:
    with alone():
        return timed(calls)


def tuned_settings(
    settings: Settings, model: Any, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> Settings:
    """Settings of a compilation with the option `tune`, with what was measured for it; see `tune`."""
    known = settings.tuning
    plain = settings.updated({"tune": False, "tuning": None})
    _require_gpu()
    program = usual_program(model, inputs, kwargs)
    if known is None or known.gpu != torch.cuda.get_device_name():
        known = Tuning(torch.cuda.get_device_name(), versions())
    found = tune_program(program, plain.updated({"executor": "tensorrt"}), known, timed, torch.device("cuda"))
    return plain.updated({"tuning": found})


def _require_gpu() -> None:
    if not torch.cuda.is_available():
        raise UserError(
            "tune measures on a GPU, and this machine has none that PyTorch can use: run it on one, and give the file "
            "to compile(tuning=…) here."
        )


def usual_program(model: Any, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> Program:
    """A model exported for its usual sizes alone."""
    if isinstance(model, Program):
        return model
    usual = pytree.tree_map(_example, (list(inputs) if inputs is not None else None, dict(kwargs or {})))
    return trace(model, usual[0], usual[1] or None)


def _example(leaf: Any) -> Any:
    return leaf.example() if hasattr(leaf, "opt_shape") else leaf


def known_tuning(output: str | os.PathLike[str] | None, gpu: str, found: Mapping[str, str]) -> Tuning:
    """What a file has of this GPU and these versions; empty if there is no file.

    Raises:
        UserError: the file is of another GPU, which it would be a loss to overwrite.
    """
    empty = Tuning(gpu, dict(found))
    if output is None or not os.path.exists(output):
        return empty
    known = Tuning.load(output)
    if known.gpu != gpu:
        raise UserError(f"{output} was measured on {known.gpu}, and this is {gpu}: name another file.")
    same = all(known.versions.get(name) == found.get(name) for name in ("torch", "tensorrt", "tensorrt_rtx"))
    return known if same else empty


def tune_program(
    program: Program,
    settings: Settings,
    known: Tuning,
    timer: Timer,
    device: torch.device,
    output: str | os.PathLike[str] | None = None,
    seconds: float = 300.0,
    progress: Progress | None = None,
) -> Tuning:
    """Measure what `known` lacks; see `tune`."""
    deadline = time.monotonic() + seconds
    lowered = PassManager("decompose,lower,annotate", ctx=Context(settings=settings)).run(program).program
    wanted = [item for item in candidates(lowered) if item[0] not in known.patterns]
    alone = {node for _, node, _ in candidates(lowered)}
    windows = {pattern: Window.around(lowered, node, alone) for pattern, node, _ in wanted}
    names = {name for window in windows.values() for name in window.inputs}
    args, kwargs = call_arguments(lowered)
    values = values_of(lowered, names, graph_arguments(lowered, args, kwargs), device) if wanted else {}
    tuning = known
    if wanted and not known.patterns:
        tuning = with_borders(known, settings, timer, device)
    for done, (pattern, _, variants) in enumerate(wanted):
        if time.monotonic() > deadline:
            break
        if progress is not None:
            progress(pattern, done, len(wanted))
        measured = _measured(lowered, windows[pattern], pattern, variants, values, settings, timer, device, tuning)
        tuning = replace(tuning, patterns={**tuning.patterns, pattern: measured})
        if output is not None:
            tuning.save(output)
    if wanted and tuning.patterns:
        if progress is not None:
            progress("the price of a border in the whole model", len(wanted), len(wanted))
        with suppress(RuntimeError):  # a call that cannot be captured: what borders cost by themselves is known
            tuning = with_best_border(program, tuning, settings, timer, device, deadline)
    if output is not None:
        tuning.save(output)
    return tuning


def candidates(program: Program) -> list[tuple[str, Node, tuple[str, ...]]]:
    """The operators that can be computed in several ways, each pattern once, those with most to do first.

    Each with its pattern and the names of its variants, PyTorch's last.
    """
    registry, constants = default_registry(), program.constants
    found: dict[str, tuple[Node, tuple[str, ...]]] = {}
    for node in program.op_nodes:
        converter = registry.get(node.target)
        if converter is None or is_symbolic(node) or bodies_of(node) or verdict_of(node) is not Verdict.TRT:
            continue
        possible = converter.possible(Call(node), lambda item: isinstance(item, Node) and item.name in constants)
        variants = tuple(variant.name for variant in possible) or (ONE_WAY,)
        if len(variants) > 1 or (_nbytes(node) >= LARGE and not _is_fused(node)):
            found.setdefault(pattern_of(node, constants), (node, (*variants, PYTORCH)))
    rows = [(pattern, node, variants) for pattern, (node, variants) in found.items()]
    return sorted(rows, key=lambda row: -sum(_nbytes(item) for item in (row[1], *row[1].all_input_nodes)))


def _is_fused(node: Node) -> bool:
    """Whether TensorRT makes a part of a neighbour's kernel of a node: arithmetic, casts and moves."""
    schema = getattr(node.target, "_schema", None)
    moves = schema is not None and any(result.alias_info is not None for result in schema.returns)
    return moves or torch.Tag.pointwise in getattr(node.target, "tags", ()) or "copy" in str(node.target)


def _measured(
    program: Program,
    window: Window,
    pattern: str,
    variants: Sequence[str],
    values: Mapping[str, torch.Tensor],
    settings: Settings,
    timer: Timer,
    device: torch.device,
    tuning: Tuning,
) -> dict[str, Measured]:
    """The variants of an operator that can be built and run, with their times and errors.

    Borders are no part of PyTorch's time: what a partition has of them is added to it there.
    """
    module = window.module(program).eval()
    inputs = [values[name].to(device) for name in window.inputs]
    errors: dict[str, float] = {}
    calls: dict[str, Callable[[], Any]] = {}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = trace(module.cpu(), [item.cpu() for item in inputs])
        exact = Lockstep(module.to(device)).compare(inputs)[1]

        def compiled(name: str) -> Any:
            rows = {other: Measured(0.0 if other == name else 1e9) for other in variants}
            # No border costs anything, and a neighbour that was not measured costs too much to go along.
            forced = Tuning(tuning.gpu, {}, {pattern: rows}, 0.0, 1e9, float("inf"))
            try:
                return _with_variant(traced, forced, settings)
            except Exception:  # a variant that cannot be built here is none
                return None

        with ThreadPoolExecutor(len(variants)) as pool:  # builders work beside each other
            made = list(pool.map(compiled, variants))
        for name, item in zip(variants, made, strict=True):
            try:
                ready = None if item is None else item.to(device)
                if ready is None:
                    continue
                errors[name] = output_error(ready(*inputs), exact)
                calls[name] = functools.partial(ready, *inputs)
            except Exception:  # nor is one that cannot be run
                continue
        times = dict(zip(calls, timer(list(calls.values())) if calls else [], strict=True))
    if PYTORCH in times:
        crossing = 2 * _crossing_bytes(window.node) / tuning.bandwidth * 1e6
        times[PYTORCH] = max(times[PYTORCH] - tuning.border_us - crossing, times[PYTORCH] * LEAST)
    return {name: Measured(us, errors[name]) for name, us in times.items()}


def _crossing_bytes(node: Node) -> int:
    """Bytes of what an operator reads from engines and gives to them, if it is in PyTorch."""
    read = [item for item in node.all_input_nodes if item.op == "call_function"]
    return sum(map(_nbytes, (*read, *([node] if node.users else []))))


def _with_variant(program: Program, forced: Tuning, settings: Settings) -> Any:
    own = settings.updated({"tuning": forced, "preset": "fast", "max_error": None, "min_block_size": 1})
    own = own.updated({"check": None, "dump_dir": None, "cuda_graphs": False, "pass_through_build_failures": True})
    return compile_program(program, own, "decompose,annotate,partition,convert,build,splice")


def _nbytes(node: Node) -> int:
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return sum(leaf.numel() * leaf.element_size() for leaf in leaves if isinstance(leaf, torch.Tensor))
