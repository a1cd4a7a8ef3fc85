"""This project beside what its users could pick instead, on one GPU, in float16.

    python benchmarks/peers.py [--models NAME …] [--peers NAME …] [--gpus N] [--seconds LIMIT] [--out peers.jsonl]

Every pair of model and peer runs in a process of its own (killed after --each seconds), with empty caches of compiled
kernels, and adds one JSON line to --out. The next process imports PyTorch and the model's library meanwhile, and waits.
With --gpus, so many pairs run at a time, each on a GPU and a share of the cores of its own. Torch-TensorRT needs
another release of TensorRT-RTX than this project: --torch-tensorrt-path names a folder with both, whose packages come
before the others for that peer alone. What a line holds:
first_call_seconds   from the model in memory to the first result: export, compilation, engine load, first call
call_ms              median wall-clock time of a call, synchronised
replay_ms            median GPU time of the call captured in a CUDA graph (None where it cannot be captured)
host_us              median time until a call returns, without waiting for the GPU
error                relative L2 distance from float32 eager (TF32 off)
engines, peak_mb     TensorRT engines; peak GPU memory that PyTorch allocated, and that the device lost in all
versions, gpu, date  what it was measured with, on and when
Pairs that are in --out already are left out, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))
PEERS = (
    "eager",
    "compile",
    "compile-reduce-overhead",
    "compile-max-autotune",
    "onnx-tensorrt-rtx",
    "torch-tensorrt",
    "trt-passes",
    "trt-passes-cuda-graphs",
)
CALLS = 50


@dataclass(frozen=True)
class Prepared:
    """A model that a peer made ready: how it is called, and how many engines it has."""

    call: Callable[..., Any]
    engines: int | None = None
    versions: dict[str, str] | None = None


def prepare(peer: str, model: Any, inputs: tuple[Any, ...]) -> Prepared:
    """Compile a float16 model with one of the peers."""
    import torch

    if peer == "eager":
        return Prepared(model)
    if peer.startswith("compile"):
        mode = peer.partition("-")[2] or "default"
        return Prepared(torch.compile(model, mode=mode))
    if peer == "onnx-tensorrt-rtx":
        return _parsed(model, inputs)
    if peer == "torch-tensorrt":
        return _torch_tensorrt(model, inputs)
    import trt_passes as tp

    graphs = peer == "trt-passes-cuda-graphs"
    compiled = tp.compile(model, inputs, enabled_precisions={torch.float16}, executor="tensorrt", cuda_graphs=graphs)
    return Prepared(compiled, len(compiled.report.segments), dict(compiled.report.versions))


def _parsed(model: Any, inputs: tuple[Any, ...]) -> Prepared:
    """torch.onnx.export, TensorRT-RTX's ONNX parser, and its engine called with PyTorch's tensors."""
    import tensorrt_rtx as trt
    import torch

    with TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        torch.onnx.export(model, inputs, path, dynamo=True, external_data=True, verbose=False)
        logger = trt.Logger(trt.Logger.ERROR)
        builder = trt.Builder(logger)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, logger)
        if not parser.parse_from_file(path):
            raise RuntimeError("; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))[:500])
        plan = builder.build_serialized_network(network, builder.create_builder_config())
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    fed = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    (yielded,) = [name for name in names if name not in fed]
    dtype = {trt.float16: torch.float16, trt.float32: torch.float32}[engine.get_tensor_dtype(yielded)]

    def call(*values: torch.Tensor) -> torch.Tensor:
        kept = [value.contiguous() for value in values]
        for name, value in zip(fed, kept, strict=True):
            context.set_input_shape(name, tuple(value.shape))
            context.set_tensor_address(name, value.data_ptr())
        result = torch.empty(tuple(context.get_tensor_shape(yielded)), dtype=dtype, device="cuda")
        context.set_tensor_address(yielded, result.data_ptr())
        context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        return result

    call.keep = (runtime, engine)  # type: ignore[attr-defined]
    return Prepared(call, 1, {"tensorrt_rtx": trt.__version__})


def _torch_tensorrt(model: Any, inputs: tuple[Any, ...]) -> Prepared:
    import tensorrt_rtx
    import torch
    import torch_tensorrt

    program = torch.export.export(model, inputs, strict=False)
    compiled = torch_tensorrt.dynamo.compile(
        program, inputs=list(inputs), use_explicit_typing=True, min_block_size=1, truncate_double=True
    )
    engines = sum("_run_on_acc" in name and "." not in name for name, _ in compiled.named_modules())
    versions = {"torch_tensorrt": torch_tensorrt.__version__, "tensorrt_rtx": tensorrt_rtx.__version__}
    return Prepared(compiled, engines, versions)


def measure(name: str, peer: str) -> dict[str, Any]:
    """One line of the results, measured in this process."""
    import torch
    from peers_models import halved, made

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model, inputs = made(name)
    with torch.no_grad():
        exact = model(*inputs).float()
        model, inputs = model.half(), halved(inputs)
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        free = torch.cuda.mem_get_info()[0]
        started = time.perf_counter()
        prepared = prepare(peer, model, inputs)
        found = prepared.call(*inputs)
        torch.cuda.synchronize()
        first = time.perf_counter() - started
        error = float(torch.linalg.vector_norm(found.float() - exact) / torch.linalg.vector_norm(exact))
        for _ in range(10):
            prepared.call(*inputs)
        return {
            "model": name,
            "peer": peer,
            "first_call_seconds": first,
            "call_ms": _call_ms(prepared.call, inputs),
            "host_us": _host_us(prepared.call, inputs),
            "replay_ms": _replay_ms(prepared.call, inputs),
            "error": error,
            "engines": prepared.engines,
            "peak_mb": torch.cuda.max_memory_allocated() / 1e6,
            "device_mb": (free - torch.cuda.mem_get_info()[0]) / 1e6,
            "versions": {"torch": torch.__version__, **(prepared.versions or {})},
            "gpu": torch.cuda.get_device_name(),
        }


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _call_ms(call: Callable[..., Any], inputs: tuple[Any, ...]) -> float:
    import torch

    times = []
    for _ in range(CALLS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call(*inputs)
        torch.cuda.synchronize()
        times.append((time.perf_counter() - started) * 1e3)
    return _median(times)


def _host_us(call: Callable[..., Any], inputs: tuple[Any, ...]) -> float:
    import torch

    times = []
    for _ in range(CALLS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call(*inputs)
        times.append((time.perf_counter() - started) * 1e6)
    torch.cuda.synchronize()
    return _median(times)


def captured(call: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[Any, Any]:
    """A call as a `torch.cuda.CUDAGraph`, and its result, which every replay overwrites.

    Raises:
        RuntimeError: it cannot be captured.
    """
    import torch

    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call(*inputs)
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        result = call(*inputs)
    return graph, result


def _replay_ms(call: Callable[..., Any], inputs: tuple[Any, ...]) -> float | None:
    """The GPU time of one replay of the whole call; None when it cannot be captured (or replays a graph itself)."""
    import torch

    try:
        graph, _ = captured(call, inputs)
    except RuntimeError as error:
        print(f"not captured: {str(error)[:200]}", file=sys.stderr)
        return None
    starts, ends = ([torch.cuda.Event(enable_timing=True) for _ in range(CALLS)] for _ in range(2))
    for _ in range(10):
        graph.replay()
    for begin, end in zip(starts, ends, strict=True):
        begin.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    return _median([begin.elapsed_time(end) for begin, end in zip(starts, ends, strict=True)])


@dataclass(frozen=True)
class Limits:
    """How much runs at a time, and for how long at most, in seconds."""

    gpus: int
    whole: float
    each: float


def run(models: list[str], peers: list[str], out: Path, limits: Limits, other_packages: Path | None) -> None:
    """All pairs, the peers one after the other, until the time limit; a model always on the same GPU."""
    started = time.monotonic()
    done = (
        {(line["model"], line["peer"]) for line in map(json.loads, out.read_text().splitlines())}
        if out.exists()
        else set()
    )
    writing = Lock()

    def work(gpu: int) -> None:
        pairs = [(name, peer) for peer in peers for name in models[gpu :: limits.gpus] if (name, peer) not in done]

        def child_for(name: str, peer: str) -> Child:
            return Child(Place(gpu, limits.gpus, other_packages if peer == "torch-tensorrt" else None), name, peer)

        following: Child | None = None
        try:
            for pair, after in zip_longest(pairs, pairs[1:]):
                left = limits.whole - (time.monotonic() - started)
                if left < 20:
                    return
                with contextlib.closing(following or child_for(*pair)) as child:
                    following = child_for(*after) if after else None
                    line = {**child.measured(min(limits.each, left)), "date": str(date.today())}
                with writing, out.open("a") as file:
                    print(_shown(line), flush=True)
                    file.write(json.dumps(line) + "\n")
        finally:
            if following is not None:
                following.close()

    with ThreadPoolExecutor(limits.gpus) as pool:
        list(pool.map(work, range(limits.gpus)))


@dataclass(frozen=True)
class Place:
    """Where a pair is measured: its GPU, of how many, and packages that come before the installed ones."""

    gpu: int
    gpus: int
    packages: Path | None

    def cores(self) -> str:
        """Its share of the processor's cores, as `a,b,…`."""
        return ",".join(map(str, sorted(os.sched_getaffinity(0))[self.gpu :: self.gpus]))

    def environment(self, caches: str) -> dict[str, str]:
        """This process's environment with one GPU and the packages, and with empty caches of compiled kernels."""
        chosen = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": f"{caches}/inductor", "CUDA_CACHE_PATH": f"{caches}/cuda"}
        if self.gpus > 1:
            chosen["CUDA_VISIBLE_DEVICES"] = str(self.gpu)
        if self.packages is not None:
            chosen["PYTHONPATH"] = os.pathsep.join(filter(None, [str(self.packages), chosen.get("PYTHONPATH")]))
        return chosen


class Child:
    """A process for one pair, which imports what it needs and then waits until it is told to go."""

    def __init__(self, place: Place, name: str, peer: str) -> None:
        self.place, self.name, self.peer = place, name, peer
        self._ending = contextlib.ExitStack()
        # Processes that compile kernels can outlive the one that started them, and write to the caches meanwhile.
        caches = self._ending.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
        self._process = self._ending.enter_context(
            subprocess.Popen(
                [sys.executable, __file__, "--child", name, peer, "--cores", place.cores()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=place.environment(caches),
                start_new_session=True,
            )
        )
        self._ending.callback(_kill_group, self._process.pid)

    def close(self) -> None:
        """End the process and those that it started, and delete its caches."""
        self._ending.close()

    def measured(self, seconds: float) -> dict[str, Any]:
        """The line that the process prints once it was told to go, or why there is none."""
        line = {"model": self.name, "peer": self.peer}
        try:
            printed, errors = self._process.communicate("go\n", timeout=seconds)
        except subprocess.TimeoutExpired:
            return {**line, "failed": f"not finished after {seconds:.0f} s"}
        for text in reversed(printed.splitlines()):
            if text.startswith('{"model"'):
                return dict(json.loads(text))
        return {**line, "failed": f"exit code {self._process.returncode}: {_last_words(errors)}"}


def _kill_group(leader: int) -> None:
    """End a process and those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _last_words(text: str) -> str:
    """The last line of a traceback that names an exception, else the last line."""
    lines = [line for line in text.splitlines() if line.strip()] or ["no output"]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Unsupported|Violation)\w*:", line)]
    return (named or lines)[-1][:300]


def _shown(line: dict[str, Any]) -> str:
    title = f"{line['model']:24} {line['peer']:26}"
    if "failed" in line:
        return f"{title} failed: {line['failed']}"
    replay = "     -" if line["replay_ms"] is None else f"{line['replay_ms']:6.3f}"
    return (
        f"{title} first {line['first_call_seconds']:6.1f} s  call {line['call_ms']:6.3f} ms  replay {replay} ms  "
        f"host {line['host_us']:6.0f} us  error {line['error']:.1e}  engines {line['engines']}"
    )


def main() -> None:
    """Measure what was asked for."""
    from peers_models import MODELS, import_library

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, default=[peer for peer in PEERS if peer != "torch-tensorrt"]
    )
    parser.add_argument("--out", type=Path, default=Path("peers.jsonl"))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start nothing new after this long")
    parser.add_argument("--each", type=float, default=300, help="longest time of one pair")
    parser.add_argument("--gpus", type=int, default=1, help="how many pairs run at a time, each on a GPU of its own")
    parser.add_argument("--torch-tensorrt-path", type=Path, help="folder of packages for torch-tensorrt alone")
    parser.add_argument("--child", nargs=2, metavar=("MODEL", "PEER"), help=argparse.SUPPRESS)
    parser.add_argument("--cores", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        os.sched_setaffinity(0, map(int, arguments.cores.split(",")))
        import_library(arguments.child[0])
        if sys.stdin.readline():
            print(json.dumps(measure(*arguments.child)), flush=True)
            # Nothing of what is measured comes after this, and the next pair waits for the GPU.
            os._exit(0)
    else:
        limits = Limits(arguments.gpus, arguments.seconds, arguments.each)
        run(arguments.models, arguments.peers, arguments.out, limits, arguments.torch_tensorrt_path)


if __name__ == "__main__":
    main()
