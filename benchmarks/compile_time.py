"""Seconds per pass, and peak memory above the loaded model, for ResNet-50 and BERT-base.

    python benchmarks/compile_time.py [--dump] [--torchscript] [MODEL ...]
    python benchmarks/compile_time.py --graphs [--sizes 1000 2000 4000] [GRAPH ...]

With `--graphs`, seconds of every pass before `convert` for made-up graphs (see `graphs.py`) of several sizes, and the
exponents that fit them: 1 is linear.

Each model runs in a process of its own, since the peak of a process never falls. `export` is torch.export's share;
"ours" is everything except torch.export and TensorRT's own build.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path

MODELS = ("resnet50", "bert")
EXAMPLES = Path(__file__).parent.parent / "examples"


class PeakMemory:
    """Largest resident set size while it is entered, sampled every 5 ms, in bytes."""

    def __enter__(self) -> PeakMemory:
        self.start = self.peak = resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, resident())


def resident() -> int:
    """Resident set size of this process in bytes (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def measure(
    name: str, dump: bool, warm: bool, options: dict[str, object], torchscript: bool = False
) -> dict[str, object]:
    """Compile one example in this process; seconds per pass and memory.

    `torchscript` traces the model to TorchScript first, which is not counted.

    `warm` compiles a linear layer first, so that loading TensorRT's libraries and importing modules is not counted.
    """
    import torch
    import trt_passes as tp
    from trt_passes.compiler.frontends.choice import traceable
    from trt_passes.compiler.frontends.load_model import load_model

    loaded = load_model(f"{EXAMPLES / name}.py:model")
    model = loaded.module
    if warm:
        tp.compile(torch.nn.Linear(4, 4).eval(), [torch.ones(2, 4)], min_block_size=1)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
    args = [item.example() if isinstance(item, tp.Input) else item for item in loaded.args]
    with torch.no_grad():
        model(*args, **loaded.kwargs)
    if torchscript:
        model = torch.jit.trace(model, args, strict=False)
    timing = tp.Timing()
    with PeakMemory() as memory, tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        program = tp.trace(traceable(model, "dynamo", loaded.args, loaded.kwargs), loaded.args, loaded.kwargs)
        exported = time.perf_counter()
        if dump:
            options = {**options, "dump_dir": str(Path(folder) / "dump")}
        compiled = tp.compile(program, instruments=[timing], **options)
        finished = time.perf_counter()
    passes = {row.name: row.seconds for row in timing.rows}
    builds = sum(segment.build_seconds for segment in compiled.report.segments)
    return {
        "model": f"{name} as TorchScript" if torchscript else name,
        "options": {key: str(value) for key, value in options.items() if key != "dump_dir"},
        "dump": dump,
        "engines": len(compiled.report.segments),
        "coverage": compiled.report.coverage,
        "seconds": {"export": exported - started, **passes, "total": finished - started},
        "tensorrt_seconds": builds,
        "ours_seconds": finished - exported - builds,
        "weights_mb": weights / 1e6,
        "peak_mb_above_model": (memory.peak - memory.start) / 1e6,
        "versions": compiled.report.versions,
    }


def show(result: dict[str, object]) -> None:
    """Print one result as a table."""
    seconds = result["seconds"]
    assert isinstance(seconds, dict)
    title = f"{result['model']} {result['options'] or ''}{' with dump' if result['dump'] else ''}".strip()
    print(f"\n{title}: {result['engines']} engine(s), {result['coverage']:.0%} of op nodes")
    for name, value in seconds.items():
        print(f"  {name:28} {value:8.3f} s")
    print(f"  {'TensorRT build alone':28} {result['tensorrt_seconds']:8.3f} s")
    print(f"  {'everything else of ours':28} {result['ours_seconds']:8.3f} s")
    ratio = result["peak_mb_above_model"] / result["weights_mb"]
    print(f"  peak memory above the model  {result['peak_mb_above_model']:8.0f} MB = {ratio:.2f} x the weights")


def print_graphs(names: list[str] | None, sizes: list[int]) -> None:
    """Print a table for every graph."""
    sys.path.insert(0, str(Path(__file__).parent))
    from graphs import GRAPHS, table

    for name in names or GRAPHS:
        print(table(name, sizes), flush=True)


def main() -> None:
    """Run the models one after the other, each in a child process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=None)
    parser.add_argument("--graphs", action="store_true", help="made-up graphs instead of models")
    parser.add_argument("--sizes", nargs="+", type=int, default=[1250, 2500, 5000, 10000], help="op nodes of --graphs")
    parser.add_argument("--dump", action="store_true", help="write the dump folder as well")
    parser.add_argument("--fp16", action="store_true")
    parser.add_argument("--cold", action="store_true", help="count imports and the loading of TensorRT's libraries too")
    parser.add_argument("--torchscript", action="store_true", help="compile the models as traced TorchScript")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.graphs:
        print_graphs(arguments.models, arguments.sizes)
        return
    arguments.models = arguments.models or list(MODELS)
    options: dict[str, object] = {"enabled_precisions": "float32,float16"} if arguments.fp16 else {}
    if arguments.child:
        print(
            json.dumps(measure(arguments.models[0], arguments.dump, not arguments.cold, options, arguments.torchscript))
        )
        return
    print(f"{date.today()}, {platform.machine()}, Python {platform.python_version()}")
    flags = [flag for flag in ("--dump", "--fp16", "--cold", "--torchscript") if flag in sys.argv]
    for name in arguments.models:
        command = [sys.executable, __file__, "--child", *flags, name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        show(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
