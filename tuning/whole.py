"""The price of a border that makes a whole model fastest, tried on the GPU: windows do not show all that it costs."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ..compiler.ir.program import Program
from ..compiler.ir.tuning import TOO_DEAR, Tuning
from ..compiler.manager import PassManager, compile_program
from ..compiler.pass_base import Context
from ..compiler.runtime.program_arguments import call_arguments
from ..compiler.settings import Settings

_FACTOR = 4


def with_best_border(
    program: Program,
    tuning: Tuning,
    settings: Settings,
    timer: Callable[[Sequence[Callable[[], Any]]], list[float]],
    device: torch.device,
    deadline: float,
) -> Tuning:
    """A tuning with the price of a border under which the model is fastest, of those that give other partitions.

    Nothing is tried where all give the same partition, or after the deadline (of `time.monotonic`).
    """
    own = settings.updated({"check": None, "dump_dir": None, "cuda_graphs": False})
    candidates: dict[Any, Settings] = {}
    for border in (tuning.border_us, _FACTOR * max(tuning.border_us, tuning.launch_us), TOO_DEAR):
        chosen = own.updated({"tuning": replace(tuning, border_us=border)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            manager = PassManager("decompose,lower,annotate,partition", ctx=Context(settings=chosen))
            segments = manager.run(program).program.segments
        candidates.setdefault(tuple(item.nodes for item in segments), chosen)
    if len(candidates) < 2:
        return tuning
    args, kwargs = pytree.tree_map(
        lambda item: item.to(device) if isinstance(item, torch.Tensor) else item, call_arguments(program)
    )
    calls: list[Callable[[], Any]] = []
    tried: list[Settings] = []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for chosen in candidates.values():
            if time.monotonic() > deadline:
                break
            try:
                ready: Any = compile_program(program, chosen).to(device)
                ready(*args, **kwargs)
            except Exception:  # what cannot be built or run is not the fastest
                continue
            calls.append(functools.partial(ready, *args, **kwargs))
            tried.append(chosen)
        if len(calls) < 2:
            return tuning
        times = timer(calls)
    best = tried[times.index(min(times))].tuning
    assert best is not None
    return replace(tuning, border_us=best.border_us)
