"""This project beside what its users could pick instead, on one GPU, in float16.

    python benchmarks/peers.py [--models NAME …] [--peers NAME …] [--gpus N] [--seconds LIMIT] [--out peers.jsonl]

Every pair of model and peer runs in a process of its own (killed after --each seconds), with empty caches of compiled
kernels, and adds one JSON line to --out. The next process imports PyTorch and the model's library meanwhile, and waits.
With --gpus, so many pairs run at a time, each on a GPU and a share of the cores of its own. With --at-once, so many
share each GPU: they compile beside each other and take turns, by a lock on --lock, to be timed (first calls are then
slower than alone, and a line says so). --tuning names a folder for what the peer that tunes measures, a file for each
model. Torch-TensorRT needs another release of TensorRT-RTX than this project: --torch-tensorrt-path names a folder with
both, whose packages come before the others for that peer alone. What a line holds:
first_call_seconds   from the model in memory to the first result: export, compilation, engine load, first call
call_ms              median wall-clock time of a call, synchronised
replay_ms            median GPU time of the call captured in a CUDA graph (None where it cannot be captured)
host_us              median time until a call returns, without waiting for the GPU
error                relative L2 distance from float32 eager (TF32 off)
engines, peak_mb     TensorRT engines; peak GPU memory that PyTorch allocated, and that the device lost in all
versions, gpu, date  what it was measured with, on and when
tune_seconds         of the peer that tunes: how long that took, which is no part of first_call_seconds
at_once              how many pairs shared the GPU
Pairs that are in --out already are left out, so that an interrupted run goes on where it stopped; with --retry those
that failed are measured again, and the last line of a pair counts.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
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
    "trt-passes-exact",
    "trt-passes-tuned",
)


@dataclass(frozen=True)
class Prepared:
    """A model that a peer made ready: how it is called, and how many engines it has.

    `without_graphs` makes calls that can be captured of those that replay a CUDA graph.
    """

    call: Callable[..., Any]
    engines: int | None = None
    versions: dict[str, str] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    without_graphs: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Sharing:
    """How a process shares its GPU: the lock under which it times, and the folder and seconds of tunings."""

    lock: Path | None = None
    tuning: Path | None = None
    tune_seconds: float = 240.0

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Meanwhile no other process that obeys the lock uses the GPU."""
        if self.lock is None:
            yield
            return
        with self.lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def prepare(peer: str, model: Any, inputs: tuple[Any, ...], name: str = "", sharing: Sharing | None = None) -> Prepared:
    """Compile a float16 model, of a name, with one of the peers."""
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

    options: dict[str, Any] = {"enabled_precisions": {torch.float16}}
    notes: dict[str, Any] = {}
    if peer == "trt-passes-exact":
        options["preset"] = "exact"
    if peer == "trt-passes-tuned":
        begin = time.perf_counter()
        options |= {"tuning": _tuned(model, inputs, name, sharing or Sharing(), options), "islands": "inductor"}
        notes["tune_seconds"] = time.perf_counter() - begin
    compiled = tp.compile(model, inputs, executor="tensorrt", cuda_graphs=peer != "trt-passes", **options)
    report = compiled.report
    notes |= {"verdicts": dict(report.verdicts), "op_nodes": sum(report.verdicts.values())}
    graphs = getattr(compiled, "cuda_graphs", None)
    notes["not_captured"] = lambda: None if graphs is None else graphs.reason
    plain = functools.partial(compiled.change_options, cuda_graphs=False)
    return Prepared(compiled, len(report.segments), dict(report.versions), notes, plain)


def _tuned(model: Any, inputs: tuple[Any, ...], name: str, sharing: Sharing, options: dict[str, Any]) -> Any:
    """What a model's variants take here, measured under the lock."""
    import trt_passes as tp

    output = None if sharing.tuning is None else sharing.tuning / f"{name}.json"
    return tp.tune(model, inputs, output=output, seconds=sharing.tune_seconds, alone=sharing.alone, **options)


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


def measure(name: str, peer: str, sharing: Sharing) -> dict[str, Any]:
    """One line of the results, measured in this process."""
    import torch
    from peers_models import halved, made
    from peers_timing import CALLS, replay_ms

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
        prepared = prepare(peer, model, inputs, name, sharing)
        found = prepared.call(*inputs)
        torch.cuda.synchronize()
        first = time.perf_counter() - started - prepared.notes.get("tune_seconds", 0.0)
        error = float(torch.linalg.vector_norm(found.float() - exact) / torch.linalg.vector_norm(exact))
        for _ in range(10):
            prepared.call(*inputs)
        with sharing.alone():
            # Others may compile on a GPU that is shared, and disturb some rounds.
            rounds = 1 if sharing.lock is None else 5
            times = {key: min(each(prepared.call, inputs) for _ in range(rounds)) for key, each in CALLS.items()}
            prepared.notes.update({key: value() for key, value in prepared.notes.items() if callable(value)})
            prepared.without_graphs()
            replayed = replay_ms(prepared.call, inputs, rounds)
        return {
            "model": name,
            "peer": peer,
            "first_call_seconds": first,
            **times,
            "replay_ms": replayed,
            "error": error,
            "engines": prepared.engines,
            "peak_mb": torch.cuda.max_memory_allocated() / 1e6,
            "device_mb": (free - torch.cuda.mem_get_info()[0]) / 1e6,
            **prepared.notes,
            "versions": {"torch": torch.__version__, **(prepared.versions or {})},
            "gpu": torch.cuda.get_device_name(),
        }


@dataclass(frozen=True)
class Limits:
    """How much runs at a time, and for how long at most, in seconds."""

    gpus: int
    whole: float
    each: float
    at_once: int = 1


def run(
    models: list[str],
    peers: list[str],
    out: Path,
    limits: Limits,
    other_packages: Path | None,
    sharing: Sharing | None = None,
    retry: bool = False,
) -> None:
    """All pairs, model by model, until the time limit; a model always on the same GPU."""
    started = time.monotonic()
    done = measured_pairs(out, retry)
    workers, writing = limits.gpus * limits.at_once, Lock()
    waiting = [
        deque((name, peer) for name in models[gpu :: limits.gpus] for peer in peers if (name, peer) not in done)
        for gpu in range(limits.gpus)
    ]

    def work(worker: int) -> None:
        gpu = worker // limits.at_once

        def child() -> Child | None:
            with writing:
                pair = waiting[gpu].popleft() if waiting[gpu] else None
            if pair is None:
                return None
            packages = other_packages if pair[1] == "torch-tensorrt" else None
            return Child(Place(gpu, limits.gpus, packages, worker, workers), *pair, sharing or Sharing())

        following: Child | None = None
        try:
            while True:
                left = limits.whole - (time.monotonic() - started)
                current = None if left < 20 else following or child()
                if current is None:
                    return
                with contextlib.closing(current):
                    following = child()
                    line = {**current.measured(min(limits.each, left)), "date": str(date.today())}
                if limits.at_once > 1:
                    line["at_once"] = limits.at_once
                with writing, out.open("a") as file:
                    print(_shown(line), flush=True)
                    file.write(json.dumps(line) + "\n")
        finally:
            if following is not None:
                following.close()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))


def measured_pairs(out: Path, retry: bool) -> set[tuple[str, str]]:
    """The pairs that a file has; with `retry` without those whose last line says that they failed."""
    lines = map(json.loads, out.read_text().splitlines()) if out.exists() else ()
    last = {(line["model"], line["peer"]): line for line in lines}
    return {pair for pair, line in last.items() if not (retry and "failed" in line)}


@dataclass(frozen=True)
class Place:
    """Where a pair is measured: its GPU, of how many, and packages that come before the installed ones.

    `worker` of `workers` shares the processor's cores with the others; a worker for each GPU, if it is not given.
    """

    gpu: int
    gpus: int
    packages: Path | None
    worker: int | None = None
    workers: int | None = None

    def cores(self) -> str:
        """Its share of the processor's cores, as `a,b,…`."""
        worker, workers = self.gpu if self.worker is None else self.worker, self.workers or self.gpus
        all_cores = sorted(os.sched_getaffinity(0))
        return ",".join(map(str, all_cores[worker::workers] or all_cores))

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

    def __init__(self, place: Place, name: str, peer: str, sharing: Sharing) -> None:
        self.place, self.name, self.peer = place, name, peer
        self._ending = contextlib.ExitStack()
        # Processes that compile kernels can outlive the one that started them, and write to the caches meanwhile.
        caches = self._ending.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
        self._process = self._ending.enter_context(
            subprocess.Popen(
                [sys.executable, __file__, "--child", name, peer, "--cores", place.cores(), *_arguments(sharing)],
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


def _arguments(sharing: Sharing) -> list[str]:
    """What tells a process how it shares its GPU."""
    given = {"--lock": sharing.lock, "--tuning": sharing.tuning, "--tune-seconds": sharing.tune_seconds}
    return [text for name, value in given.items() if value is not None for text in (name, str(value))]


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
    from peers_models import ALL, MODELS, import_library

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=ALL, default=list(MODELS), help="by default the 13 of the page")
    parser.add_argument("--all-models", action="store_true", help="these and the twelve others")
    others = ("torch-tensorrt", "trt-passes-exact", "trt-passes-tuned")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[peer for peer in PEERS if peer not in others])
    parser.add_argument("--out", type=Path, default=Path("peers.jsonl"))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start nothing new after this long")
    parser.add_argument("--each", type=float, default=300, help="longest time of one pair")
    parser.add_argument("--gpus", type=int, default=1, help="how many GPUs are used, each by pairs of its own")
    parser.add_argument("--at-once", type=int, default=1, help="how many pairs share a GPU, timed in turns")
    parser.add_argument("--lock", type=Path, help="file that is locked while a pair is timed")
    parser.add_argument("--tuning", type=Path, help="folder of the tuning files of trt-passes-tuned")
    parser.add_argument("--tune-seconds", type=float, default=240, help="of measuring variants, for each model")
    parser.add_argument("--retry", action="store_true", help="measure again what failed")
    parser.add_argument("--torch-tensorrt-path", type=Path, help="folder of packages for torch-tensorrt alone")
    parser.add_argument("--child", nargs=2, metavar=("MODEL", "PEER"), help=argparse.SUPPRESS)
    parser.add_argument("--cores", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sharing = Sharing(arguments.lock, arguments.tuning, arguments.tune_seconds)
    if arguments.child:
        os.sched_setaffinity(0, map(int, arguments.cores.split(",")))
        import_library(arguments.child[0])
        if sys.stdin.readline():
            print(json.dumps(measure(*arguments.child, sharing)), flush=True)
            # Nothing of what is measured comes after this, and the next pair waits for the GPU.
            os._exit(0)
        return
    if arguments.at_once > 1 and arguments.lock is None:
        parser.error("--at-once needs --lock FILE: pairs that share a GPU must be timed in turns")
    if arguments.tuning is not None:
        arguments.tuning.mkdir(parents=True, exist_ok=True)
    limits = Limits(arguments.gpus, arguments.seconds, arguments.each, arguments.at_once)
    models = list(ALL) if arguments.all_models else arguments.models
    run(models, arguments.peers, arguments.out, limits, arguments.torch_tensorrt_path, sharing, arguments.retry)


if __name__ == "__main__":
    main()
