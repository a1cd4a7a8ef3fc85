"""Runs a compiled TorchScript module to see where its run time goes: by engine of every block, and between them."""

from __future__ import annotations

import copy
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule
from torch.profiler import ProfilerActivity, record_function
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ...errors import UserError
from ...ir.engine_operator import NAME, engine_calls
from ..compiled_segment import CompiledSegment
from .joins import Joins, Place
from .profile import CPU, GPU, KernelTime, Profile
from .profiling import CALLS, joined, no_gpu, node_times
from .trace import CALL, PREFIX

_UNFUSED: Any = torch.jit.optimized_execution  # type: ignore[attr-defined]

Usual = Callable[[], tuple[Sequence[Any], Mapping[str, Any]]]


@dataclass(frozen=True)
class ScriptPart:
    """A part of a ScriptModule that calls engines.

    Attributes:
        name: what its nodes and segments are called by; "" if it is all of the module.
        path: where in the module that part is that has the engines as attributes; "" for the module itself.
        compiled: the graph that it was written from.
        segments: the engines, by the name of the node that calls them.
        joins: what is known of layers and lines.
    """

    name: str
    path: str
    compiled: GraphModule
    segments: Mapping[str, CompiledSegment]
    joins: Joins

    @classmethod
    def of(cls, name: str, path: str, compiled: Any) -> ScriptPart:
        """That of a compiled module."""
        return cls(name, path, compiled, getattr(compiled, "segments", {}), Joins.of(vars(compiled).get("report")))

    def full(self, name: str) -> str:
        """A name of its graph, in the module."""
        return f"{self.name}/{name}" if self.name else name

    def engines(self, script: Any) -> dict[int, str]:
        """The names of segments, by the address of their engines in a copy of the module."""
        owner = attrgetter(self.path)(script) if self.path else script
        found = {}
        for call in engine_calls(self.compiled):
            if call.name in self.segments:
                engine: Any = attrgetter(str(call.args[1].target))(owner)  # type: ignore[union-attr]
                found[engine.data_ptr()] = self.full(self.segments[call.name].spec.name)
        return found


class ScriptProfiler:
    """`compiled.profile(*inputs)` of a ScriptModule: see `CompiledModule.profile`.

    Operators that stayed TorchScript have names but no lines. The state of the module is left alone.

    Args:
        script: the module.
        parts: what calls engines in it.
        usual: makes positional and keyword arguments of a call.
        method: which is profiled.
    """

    def __init__(
        self, script: torch.jit.ScriptModule, parts: Sequence[ScriptPart], usual: Usual, method: str = "forward"
    ) -> None:
        self.script, self.parts, self.usual, self.method = script, tuple(parts), usual, method

    def of(self, method: str) -> ScriptProfiler:
        """The profiler of another method."""
        return ScriptProfiler(self.script, self.parts, self.usual, method)

    @torch.no_grad()
    def __call__(self, *args: Any, **kwargs: Any) -> Profile:
        """The profile of a call with these arguments, which are on the device where the module is.

        Raises:
            UserError: the inputs are on a CPU, and the executor is another than "pytorch"; or there is no such method.
        """
        twin = copy.deepcopy(self.script)
        if not twin._c._has_method(self.method):
            raise UserError(f"the module has no method {self.method!r} to profile: name one by profile.of(…).")
        names = {address: name for part in self.parts for address, name in part.engines(twin).items()}
        call: Callable[[], Any] = lambda: getattr(twin, self.method)(*args, **kwargs)  # noqa: E731
        leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        device = next((leaf.device for leaf in leaves if leaf.is_cuda), None)
        if device is not None:
            return self._on_gpu(call, names, device)
        others = [item.executor for part in self.parts for item in part.segments.values() if item.executor != "pytorch"]
        if others:
            raise no_gpu(others)
        return self._on_cpu(call, names)

    def _on_cpu(self, call: Callable[[], Any], names: Mapping[int, str]) -> Profile:
        runs, whole = [], []
        for number in range(4):
            began = time.perf_counter()
            call()
            if number:
                whole.append(time.perf_counter() - began)
            watch = _Watch(names)
            with _UNFUSED(False), watch:
                call()
            if number:  # the first is a warm-up
                runs.append(watch.seconds)
        rows, homes = [], {}
        for name in runs[0]:
            us = statistics.median(run.get(name, 0.0) for run in runs) * 1e6
            segment = name if name in names.values() else None
            if segment is not None:
                homes[name] = segment
            rows.append(KernelTime(name, "operator", us, segment, (), (name,), name))
        places = {row.name: (self._line(row.name), "", row.name) for row in rows}
        call_us = statistics.median(whole) * 1e6
        nodes = node_times(rows, places, {}, homes)
        return Profile(
            CPU, platform.processor() or platform.machine() or "CPU", call_us, call_us, 0.0, tuple(rows), nodes
        )

    def _line(self, segment: str) -> str | None:
        """The first line of a segment."""
        for part in self.parts:
            for item in part.segments.values():
                if part.full(item.spec.name) == segment:
                    return next((place[0] for place in part.joins.places.values() if place[0]), None)
        return None

    def _on_gpu(self, call: Callable[[], Any], names: Mapping[int, str], device: torch.device) -> Profile:
        for _ in range(3):
            call()
        call_us, host_us = _call_times(call)
        watch = _Watch(names)
        with _UNFUSED(False), watch:
            call()
            torch.cuda.synchronize()
            with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
                for _ in range(CALLS):
                    with record_function(CALL):
                        call()
                torch.cuda.synchronize()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            profiler.export_chrome_trace(str(path))
            events = json.loads(path.read_text())["traceEvents"]
        places: dict[str, Place] = {name: (None, "", name) for name in watch.seconds if name not in names.values()}
        layers: dict[str, list[Mapping[str, Any]]] = {}
        for part in self.parts:
            places.update((part.full(node), place) for node, place in part.joins.places.items())
            for segment, group in part.joins.layers.items():
                layers[part.full(segment)] = [
                    {**layer, "nodes": [part.full(node) for node in layer.get("nodes", ())]} for layer in group
                ]
        head = Profile(GPU, torch.cuda.get_device_name(device), call_us, host_us, 0.0, (), ())
        return joined(events, {name: name for name in names.values()}, layers, places, {}, head)


def _call_times(call: Callable[[], Any]) -> tuple[float, float]:
    """Microseconds of a call to the end of its last kernel, and until it returns."""
    whole, host = [], []
    for _ in range(CALLS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        host.append(time.perf_counter() - began)
        torch.cuda.synchronize()
        whole.append(time.perf_counter() - began)
    return statistics.median(whole) * 1e6, statistics.median(host) * 1e6


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes the time of every operator, in a range of the profiler that has its name; engines have their segments'."""

    def __init__(self, names: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names = names
        self.seconds: dict[str, float] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = str(func._schema.name)
        if name == NAME:
            name = self.names.get(args[1].data_ptr(), name)
        began = time.perf_counter()
        with record_function(f"{PREFIX}{name.replace('::', '.')}"):
            result = func(*args, **(kwargs or {}))
        name = name.replace("::", ".")
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
        return result
