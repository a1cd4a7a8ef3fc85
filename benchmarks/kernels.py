"""Where the GPU time of a model goes, kernel by kernel, here and in the engine that TensorRT's ONNX parser leads to.

    python benchmarks/kernels.py [--models convnext-t-b8 …] [--peers trt-passes onnx-tensorrt-rtx] [--out kernels.jsonl]

The peers are those of benchmarks/peers.py. Every call is captured in a CUDA graph, which is replayed --replays times,
the peers in turns, on an idle GPU under PyTorch's profiler. For every peer: the number of kernels, their times by kind,
and the time in which none of them runs; with --out also as a JSON line. For two peers: what they run in different ways,
by the sequence of the kernels, and kernels of the same name whose times differ most. All times are microseconds,
medians over the replays.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher
from pathlib import Path
from types import MappingProxyType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from peers import PEERS, prepare

ON_GPU = frozenset({"kernel", "gpu_memcpy", "gpu_memset"})
KINDS = MappingProxyType({"attention": "mha", "convolution": "convFwd", "product": "matMul"})
"""What a kernel computes, with what is fused to it, by a part of the names that TensorRT-RTX gives."""

PAUSE = 0.005
"""Seconds between replays, by which they are told apart."""


@dataclass(frozen=True)
class Kernel:
    """A kernel, copy or fill of one call, and its median microseconds."""

    name: str
    us: float

    @property
    def kind(self) -> str:
        """One of `KINDS`, or "other": normalisation, softmax, arithmetic, moves."""
        return next((kind for kind, part in KINDS.items() if part in self.name), "other")


@dataclass(frozen=True)
class Trace:
    """One call on the GPU: its kernels, the microseconds from first start to last end, and those without any."""

    peer: str
    kernels: tuple[Kernel, ...]
    us: float
    idle_us: float

    def by_kind(self) -> dict[str, float]:
        """The sum of the kernels' times for each kind."""
        sums = dict.fromkeys([*KINDS, "other"], 0.0)
        for kernel in self.kernels:
            sums[kernel.kind] += kernel.us
        return sums


@dataclass(frozen=True)
class Difference:
    """Kernels at the same place of two sequences, and how much longer the first takes."""

    names: tuple[str, ...]
    other_names: tuple[str, ...]
    us: float
    other_us: float

    @property
    def more_us(self) -> float:
        """Microseconds by which the first takes longer."""
        return self.us - self.other_us


def differences(trace: Trace, other: Trace) -> list[Difference]:
    """What two calls run in different ways, or at a different speed; the largest difference first."""
    ours, theirs = ([kernel.name for kernel in side.kernels] for side in (trace, other))
    found = []
    for tag, first, last, begin, end in SequenceMatcher(a=ours, b=theirs, autojunk=False).get_opcodes():
        if tag == "equal":
            pairs = [(first + step, first + step + 1, begin + step, begin + step + 1) for step in range(last - first)]
        else:
            pairs = [(first, last, begin, end)]
        for left, right, low, high in pairs:
            ran, others = trace.kernels[left:right], other.kernels[low:high]
            sums = sum(kernel.us for kernel in ran), sum(kernel.us for kernel in others)
            found.append(Difference(tuple(k.name for k in ran), tuple(k.name for k in others), *sums))
    return sorted(found, key=lambda item: -abs(item.more_us))


def traces_of(events: Sequence[dict[str, Any]], peers: Sequence[str], replays: int) -> list[Trace]:
    """The calls in a Chrome trace in which the peers took turns: a peer's are alike.

    Raises:
        ValueError: there are more or fewer calls, or those of a peer differ in their number of kernels.
    """
    ran = sorted((event for event in events if event.get("cat") in ON_GPU), key=lambda event: event["ts"])
    turns = _turns(ran)
    if len(turns) != len(peers) * replays:
        raise ValueError(f"{len(turns)} calls were found in the trace of {len(peers) * replays}.")
    found = []
    for index, peer in enumerate(peers):
        own = turns[index :: len(peers)]
        if len({len(turn) for turn in own}) != 1:
            raise ValueError(f"the replays of {peer} have {sorted({len(turn) for turn in own})} kernels.")
        kernels = tuple(
            Kernel(same[0]["name"], statistics.median(event["dur"] for event in same))
            for same in zip(*own, strict=True)
        )
        spans = [turn[-1]["ts"] + turn[-1]["dur"] - turn[0]["ts"] for turn in own]
        found.append(Trace(peer, kernels, statistics.median(spans), statistics.median(map(_idle, own))))
    return found


def _turns(ran: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cut a sequence of events at the pauses."""
    turns: list[list[dict[str, Any]]] = []
    until = -float("inf")
    for event in ran:
        if event["ts"] > until + PAUSE * 1e6 / 2:
            turns.append([])
        turns[-1].append(event)
        until = event["ts"] + event["dur"]
    return turns


def _idle(turn: list[dict[str, Any]]) -> float:
    idle, until = 0.0, turn[0]["ts"]
    for event in turn:
        idle += max(0.0, event["ts"] - until)
        until = max(until, event["ts"] + event["dur"])
    return idle


def measure(name: str, peers: Sequence[str], replays: int) -> list[Trace]:
    """The traces of one model with every peer."""
    import torch
    from peers_models import halved, made
    from peers_timing import captured

    model, inputs = made(name)
    model, inputs = model.half(), halved(inputs)
    with torch.no_grad():
        calls = [prepare(peer, model, inputs).call for peer in peers]
        graphs = [captured(call, inputs) for call in calls]
        for graph, _ in graphs * 5:
            graph.replay()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            for _ in range(replays):
                for graph, _ in graphs:
                    torch.cuda.synchronize()
                    time.sleep(PAUSE)
                    graph.replay()
            torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return traces_of(json.loads(path.read_text())["traceEvents"], peers, replays)


def line(model: str, trace: Trace) -> dict[str, Any]:
    """What --out keeps of a trace."""
    return {
        "model": model,
        "peer": trace.peer,
        "kernels": len(trace.kernels),
        "us": round(trace.us, 1),
        "idle_us": round(trace.idle_us, 1),
        **{f"{kind}_us": round(us, 1) for kind, us in trace.by_kind().items()},
    }


def _print(model: str, traces: Sequence[Trace], shown: int) -> None:
    print(f"\n{model}")
    for trace in traces:
        kinds = ", ".join(f"{kind} {us:.1f}" for kind, us in trace.by_kind().items())
        print(
            f"  {trace.peer:24} {len(trace.kernels):5} kernels  {trace.us:9.1f} us: {kinds}, none {trace.idle_us:.1f}"
        )
    if len(traces) == 2:
        for item in differences(*traces)[:shown]:
            print(f"  {item.more_us:+8.2f} us  {_joined(item.names)}  |  {_joined(item.other_names)}")


def _joined(names: tuple[str, ...]) -> str:
    return ", ".join(name[:70] for name in names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "-"


def main() -> None:
    """Trace the models, print what differs, and add lines to --out."""
    import torch
    from peers_models import MODELS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["trt-passes", "onnx-tensorrt-rtx"])
    parser.add_argument("--replays", type=int, default=20)
    parser.add_argument("--shown", type=int, default=15, help="how many differences are printed")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for name in arguments.models:
        traces = measure(name, arguments.peers, arguments.replays)
        _print(name, traces, arguments.shown)
        if arguments.out:
            with arguments.out.open("a") as file:
                for trace in traces:
                    known = {"gpu": torch.cuda.get_device_name(), "date": str(date.today())}
                    file.write(json.dumps({**line(name, trace), **known}) + "\n")


if __name__ == "__main__":
    main()
