"""What writing the dump folder costs: seconds, memory and disk, for BERT-base, ResNet-50 and 10,000 op nodes.

    python benchmarks/dump.py [--models bert,resnet50,blocks] [--nodes 10000] [--until STAGE]

Each model is compiled in a process of its own without and in another with its dump, after a small model that loads
what has to be loaded. The 10,000 op nodes (`blocks`: equal blocks, an excluded operator in every 37th) run up to
`partition`, since building engines of that size says nothing about the dump. Memory is the proportional set size of the
process and its children, sampled every 100 ms. Aims: 5 s and 300 MB for BERT-base on 2 cores, 30 s for 10,000 op nodes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trt_passes as tp

EXAMPLES = Path(__file__).parent.parent / "examples"
MODELS = ("bert", "resnet50", "blocks")


def main() -> None:
    """Measure each model in a child process, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--nodes", type=int, default=10_000, help="op nodes of `blocks`")
    parser.add_argument("--until", help="stop all models after this pass or stage")
    parser.add_argument("--dump", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child, arguments.nodes, arguments.until, arguments.dump)))
        return
    print(f"{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    columns = {"op nodes": 9, "plain s": 9, "dump s": 8, "added s": 9, "CPU s": 7, "added MB": 10, "folder MB": 11}
    print(f"{'model':<10}{''.join(f'{name:>{width}}' for name, width in columns.items())}")
    for name in arguments.models.split(","):
        flags = ["--nodes", str(arguments.nodes), *(["--until", arguments.until] if arguments.until else [])]
        command = [sys.executable, __file__, "--child", name, *flags]
        plain, dumped = (
            subprocess.run([*command, *more], stdout=subprocess.PIPE, text=True, check=True)
            for more in ([], ["--dump"])
        )
        show(name, *(json.loads(done.stdout.splitlines()[-1]) for done in (plain, dumped)))


def show(name: str, plain: dict[str, float], dumped: dict[str, float]) -> None:
    """Print one row of the table: the process without a dump, and the one with it."""
    added = {key: dumped[key] - plain[key] for key in ("seconds", "cpu", "peak")}
    print(
        f"{name:<10}{plain['nodes']:>9,}{plain['seconds']:>9.2f}{dumped['seconds']:>8.2f}{added['seconds']:>9.2f}"
        f"{added['cpu']:>7.2f}{added['peak'] / 1e6:>10.0f}{dumped['folder'] / 1e6:>11.1f}   {plain['versions']}",
        flush=True,
    )


def measure(name: str, nodes: int, until: str | None, dump: bool) -> dict[str, object]:
    """Seconds, memory and disk of one model, in this process."""
    import torch
    import trt_passes as tp
    from trt_passes.compiler.pipeline import default_pipeline
    from trt_passes.compiler.report.versions import versions

    program = blocks(nodes) if name == "blocks" else example(name)
    pipeline = default_pipeline().until(until or ("partition" if name == "blocks" else "splice"))
    settings = tp.Settings(torch_executed_ops={"aten.cumsum"}, min_block_size=1)
    small = tp.trace(torch.nn.Linear(4, 4).eval(), [torch.ones(2, 4)])
    with tempfile.TemporaryDirectory() as folder:
        instruments = [tp.Dump(Path(folder) / "dump")] if dump else []
        tp.PassManager(pipeline, instruments, settings=settings).run(small)
        manager = tp.PassManager(pipeline, instruments, settings=settings)
        measured = Measured(lambda: manager.run(program))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return {
        "nodes": len(program.op_nodes),
        "seconds": measured.seconds,
        "cpu": measured.cpu,
        "peak": measured.peak,
        "folder": size,
        "versions": ", ".join(f"{key} {value}" for key, value in versions().items() if key != "python"),
    }


def example(name: str) -> tp.Program:
    """The exported program of an example model."""
    import trt_passes as tp
    from trt_passes.compiler.frontends.load_model import load_model

    loaded = load_model(f"{EXAMPLES / name}.py:model")
    return tp.trace(loaded.module, loaded.args or None, loaded.kwargs or None)


def blocks(count: int) -> tp.Program:
    """A program of about that many op nodes: stages of blocks of nine operators, a cumsum in every 37th block."""
    import torch
    import trt_passes as tp
    from torch import nn

    class Block(nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)
            self.accumulates = number % 37 == 36

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.down(torch.relu(self.up(self.norm(x))))
            y = torch.cumsum(y, -1) if self.accumulates else y
            return x + torch.tanh(y) * torch.sigmoid(y) - y

    stages = [nn.Sequential(*(Block(i) for i in range(count // 90))) for _ in range(10)]
    return tp.trace(nn.Sequential(*stages).eval(), [torch.ones(2, 4, 16)])


class Measured:
    """Runs something and records wall seconds, CPU seconds with children, and the peak of memory in bytes (Linux)."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.peak = 0
        self._stop = threading.Event()
        watcher = threading.Thread(target=self._watch, daemon=True)
        watcher.start()
        started, used = time.perf_counter(), cpu_seconds()
        work()
        self.seconds, self.cpu = time.perf_counter() - started, cpu_seconds() - used
        self._stop.set()
        watcher.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.peak = max(self.peak, sum(map(proportional_bytes, family())))


def cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def family() -> Iterable[str]:
    """This process and its children, by number."""
    yield "self"
    for task in Path("/proc/self/task").iterdir():
        try:
            yield from (task / "children").read_text().split()
        except OSError:  # the thread has ended
            continue


def proportional_bytes(process: str) -> int:
    """Memory of a process in which shared pages count in parts; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
