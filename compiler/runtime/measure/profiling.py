"""Runs a compiled module to see where its run time goes: under PyTorch's profiler on a GPU, node by node on a CPU."""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node
from torch.profiler import ProfilerActivity, record_function

from ...errors import UserError
from ...ir.engine_operator import OPERATOR
from ...ir.program import is_getitem, is_symbolic
from ...ir.source import module_of, source_of
from ...ir.text import op_name
from ..compiled_segment import CompiledSegment
from .floors import Work, measured_limits
from .layers_of_kernels import Layer, layers_of_kernels
from .profile import CPU, GPU, KernelTime, NodeTime, Profile, shares
from .trace import CALL, PREFIX, Kernel, kernels, launches, spans

Places = Mapping[str, tuple[str | None, str, str]]
"""Line, module and operator of op nodes, by name."""

CALLS = 10
"""Calls that are profiled; times are medians over them."""


def profile_on_gpu(
    call: Callable[[], Any],
    module: GraphModule,
    leaves: Sequence[Any],
    segments: Mapping[str, CompiledSegment],
    layers: Mapping[str, Sequence[Layer]],
    places: Places,
    device: torch.device,
) -> Profile:
    """The profile of a module on a GPU.

    Args:
        call: one call of the module, as it is usually called.
        module: the graph that calls engines.
        leaves: the values of its placeholders.
        segments: the engines, by the name of the node that calls them.
        layers: what TensorRT listed when it built them, by the name of the segment; none for those it is not known of.
        places: of the nodes of all segments and of the graph.
        device: where it runs.
    """
    call_us, host_us = _timed(call)
    ranged = _Ranged(module, segments)
    for _ in range(3):
        ranged.run(*leaves, enable_io_processing=False)
    torch.cuda.synchronize()
    # Without the dispatcher's own ranges there would be no names for operators that PyTorch runs.
    with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(CALLS):
            with record_function(CALL):
                ranged.run(*leaves, enable_io_processing=False)
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    work = Work(module, segments)
    work.run(*leaves, enable_io_processing=False)
    limits = measured_limits(device)
    return joined(
        events,
        {name: segment.spec.name for name, segment in segments.items()},
        layers,
        {**graph_places(module), **places},
        work.floors(limits),
        Profile(GPU, torch.cuda.get_device_name(device), call_us, host_us, 0.0, (), (), limits),
    )


def joined(
    events: Sequence[Mapping[str, Any]],
    segments: Mapping[str, str],
    layers: Mapping[str, Sequence[Layer]],
    places: Places,
    floors: Mapping[str, float],
    head: Profile,
) -> Profile:
    """A profile from the events of a trace: kernel, TensorRT's layer, op node, module, line.

    Args:
        events: of a Chrome trace, see `trace`.
        segments: names of segments by the name of the node that calls them.
        layers: of the segments, by name.
        places: of op nodes.
        floors: what nodes take at least, in microseconds.
        head: device, times of a call and limits.
    """
    found = launches(events)
    idle_us = spans(found)[1]
    ran = kernels(found)
    rows: list[KernelTime] = []
    by_node: dict[str, list[Kernel]] = {}
    for kernel in ran:
        by_node.setdefault(kernel.node, []).append(kernel)
    homes: dict[str, str] = {}
    for node, group in by_node.items():
        segment = segments.get(node)
        if segment is None:
            nodes = (node,) if node in places else ()
            rows += [KernelTime(k.name, k.kind, k.us, None, (), nodes, k.operator) for k in group]
            continue
        of_kernels = layers_of_kernels([kernel.name for kernel in group], layers.get(segment, ()))
        for kernel, own in zip(group, of_kernels, strict=True):
            names = tuple(str(layer.get("name", "")) for layer in own)
            fused = tuple(dict.fromkeys(name for layer in own for name in layer.get("nodes", ()) if name in places))
            homes.update(dict.fromkeys(fused, segment))
            rows.append(KernelTime(kernel.name, kernel.kind, kernel.us, segment, names, fused, kernel.operator))
    return Profile(
        head.measured,
        head.device,
        head.call_us,
        head.host_us,
        idle_us,
        tuple(rows),
        node_times(rows, places, floors, homes),
        head.limits,
    )


def node_times(
    rows: Sequence[KernelTime], places: Places, floors: Mapping[str, float], homes: Mapping[str, str]
) -> tuple[NodeTime, ...]:
    """The nodes that ran, with their shares of the kernels, in the order of `places`."""
    times: dict[str, float] = {}
    for row in rows:
        for name, share in shares(row.nodes, floors).items():
            times[name] = times.get(name, 0.0) + row.us * share
    return tuple(
        NodeTime(name, op, source, module, homes.get(name), times[name], floors.get(name))
        for name, (source, module, op) in places.items()
        if name in times
    )


def graph_places(module: GraphModule) -> dict[str, tuple[str | None, str, str]]:
    """Line, module and operator of the op nodes of a graph."""
    nodes = (node for node in module.graph.nodes if node.op == "call_function" and not is_getitem(node))
    return {node.name: (source_of(node), module_of(node), op_name(node.target)) for node in nodes}


def profile_on_cpu(
    module: GraphModule, leaves: Sequence[Any], segments: Mapping[str, CompiledSegment], places: Places
) -> Profile:
    """The time that PyTorch takes on a CPU for every op node, those in segments included."""
    _Timed(module, segments).run(*leaves, enable_io_processing=False)
    runs = []
    for _ in range(3):
        run = _Timed(module, segments)
        begin = time.perf_counter()
        run.run(*leaves, enable_io_processing=False)
        run.whole = time.perf_counter() - begin
        runs.append(run)
    known = {**graph_places(module), **places}
    rows = []
    homes: dict[str, str] = {}
    for name, segment in runs[0].seconds_of:
        us = statistics.median(run.seconds_of[name, segment] for run in runs) * 1e6
        if segment:
            homes[name] = segment
        op = known.get(name, (None, "", name))[2]
        rows.append(KernelTime(op, "operator", us, segment or None, (), (name,), op))
    whole = statistics.median(run.whole for run in runs) * 1e6
    head = Profile(CPU, platform.processor() or platform.machine() or "CPU", whole, whole, 0.0, tuple(rows), ())
    nodes = node_times(rows, known, {}, homes)
    return Profile(head.measured, head.device, whole, whole, 0.0, head.kernels, nodes)


def no_gpu(executors: Sequence[str]) -> UserError:
    """Why kernels cannot be measured here, and what can."""
    where = "the inputs are on the CPU" if torch.cuda.is_available() else "this machine has none that PyTorch can use"
    return UserError(
        f"a profile measures the kernels of engines on a GPU, and {where}: run it on one, or set executor='pytorch' "
        f"(it is {' and '.join(sorted(set(executors)))}) to measure PyTorch's operators on the CPU instead."
    )


class _Ranged(Interpreter):
    """Runs a graph with a range around every node, by which the profiler tells who launched a kernel."""

    def __init__(self, module: GraphModule, segments: Mapping[str, CompiledSegment]) -> None:
        super().__init__(module)
        self._segments = segments

    @torch.no_grad()
    def run_node(self, n: Node) -> Any:
        if n.op != "call_function" or is_getitem(n) or is_symbolic(n):
            return super().run_node(n)
        with record_function(f"{PREFIX}{n.name}"):
            if n.target is OPERATOR and n.name in self._segments:
                return self._segments[n.name](*self.fetch_args_kwargs_from_env(n)[0][0])
            return super().run_node(n)


class _Timed(Interpreter):
    """Runs a graph on a CPU, segments node by node, and takes the time of every node."""

    def __init__(self, module: GraphModule, segments: Mapping[str, CompiledSegment], inside: str = "") -> None:
        super().__init__(module)
        self.seconds_of: dict[tuple[str, str], float] = {}
        self.whole = 0.0
        self._segments, self._inside = segments, inside

    @torch.no_grad()
    def run_node(self, n: Node) -> Any:
        if n.op != "call_function" or is_getitem(n) or is_symbolic(n):
            return super().run_node(n)
        if n.target is OPERATOR and n.name in self._segments:
            segment = self._segments[n.name]
            inputs = self.fetch_args_kwargs_from_env(n)[0][0]
            graph, constants = segment.placed(inputs)
            inner = _Timed(graph, {}, segment.spec.name)
            result = inner.run(*inputs, *constants, enable_io_processing=False)
            self.seconds_of |= inner.seconds_of
            return list(result)
        begin = time.perf_counter()
        value = super().run_node(n)
        self.seconds_of[n.name, self._inside] = time.perf_counter() - begin
        return value


def _timed(call: Callable[[], Any], count: int = 20) -> tuple[float, float]:
    """Microseconds of a call until its last kernel ends, and until it returns; medians."""
    for _ in range(5):
        call()
    torch.cuda.synchronize()
    whole, host = [], []
    for _ in range(count):
        begin = time.perf_counter()
        call()
        host.append(time.perf_counter() - begin)
        torch.cuda.synchronize()
        whole.append(time.perf_counter() - begin)
    return statistics.median(whole) * 1e6, statistics.median(host) * 1e6
