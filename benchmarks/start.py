"""Seconds to import, to start each command, and to compile, here and in another checkout, in one run.

    python benchmarks/start.py [--before FOLDER] [--rounds N] [--compile MODEL ...]

FOLDER holds the other checkout as `trt_passes`. Each figure is the median of new processes, `rounds` of each checkout
in turns: processor seconds of all threads, and of processes that they start, to which other work on the machine adds
little; and seconds by the clock, to which it adds what it takes.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "--help",
    "passes",
    "ops",
    "ops aten.add",
    "ops aten.linalg_svd",
    "explain TP203",
    "explain DUMP",
    "diff DUMP input annotate",
    "view DUMP --export model-explorer",
    "run --help",
    "run nothing.pt2",
)
MODELS = ("small", "resnet50")
QUICK = 0.5
"""Seconds under which a measurement is repeated five times as often: what disturbs it is as large as it is."""

# Where the command line lies depends on the checkout.
_MAIN = """
import sys
try:
    from trt_passes.compiler.cli.main import main
except ImportError:
    from trt_passes.compiler.cli import main
sys.argv[0] = "trt-passes"
main()
"""
_IMPORT = """
import time, torch
start = time.process_time(), time.perf_counter()
import trt_passes
{more}
print(time.process_time() - start[0], time.perf_counter() - start[1])
"""
_COMPILE = """
import torch, trt_passes as tp
if {name!r} == "small":
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8)).eval()
    inputs = [torch.ones(4, 64)]
else:
    import runpy
    model, inputs = runpy.run_path({path!r})["model"]()
tp.compile(model, inputs, min_block_size=1)
"""

Seconds = tuple[float, float]
"""Of the processor, and by the clock."""

Measure = Callable[[Path], Seconds]
"""The seconds that one new process takes with the checkout in a folder."""


def started(folder: Path, code: str, arguments: Sequence[str] = ()) -> tuple[Seconds, str]:
    """The seconds of a process of Python that runs some code, from start to end, and what it prints."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # one of the checkouts would be compiled again every time
    start, clock = _of_children(), time.perf_counter()
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    seconds = _of_children() - start, time.perf_counter() - clock
    if done.returncode and "nothing.pt2" not in arguments:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return seconds, done.stdout


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measures(folder: Path, models: Sequence[str], dump: str) -> Iterator[tuple[str, Measure]]:
    """What is measured, by name."""

    def printed(code: str) -> Measure:
        def measure(place: Path) -> Seconds:
            processor, clock = started(place, code)[1].splitlines()[-1].split()
            return float(processor), float(clock)

        return measure

    def whole(arguments: Sequence[str]) -> Measure:
        return lambda place: started(place, _MAIN, arguments)[0]

    yield "`import trt_passes` after torch", printed(_IMPORT.format(more=""))
    yield "… and `trt_passes.compile`, the compiler", printed(_IMPORT.format(more="trt_passes.compile"))
    for text in COMMANDS:
        yield f"`trt-passes {text}`", whole([word.replace("DUMP", dump) for word in text.split()])
    for name in models:
        path = str(ROOT / "examples" / f"{name}.py")
        code = _COMPILE.format(name=name, path=path)
        # Engines may be built in processes of their own, whose seconds are known once they have ended.
        yield f"a process that compiles {name}", lambda place, code=code: started(place, code)[0]


def row(name: str, seconds: Sequence[Sequence[Seconds]]) -> str:
    """A line of the table: the medians of each checkout, and how those of the last compare with the first's."""
    cells = [name]
    for kind in (0, 1):
        medians = [statistics.median(pair[kind] for pair in each) for each in seconds]
        cells += [f"{value:.3f} s" for value in medians]
        cells += [f"{medians[-1] / medians[0]:.2f}"] if len(medians) > 1 else []
    return f"| {' | '.join(cells)} |"


def versions() -> str:
    """What the figures depend on."""
    found = []
    for package in ("torch", "tensorrt-rtx-cu13", "tensorrt"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join([str(date.today()), platform.machine(), f"Python {platform.python_version()}", *found])


def main() -> None:
    """Measure everything, in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a folder with another checkout, named trt_passes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", nargs="*", choices=MODELS, default=MODELS, help="models to compile")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "trt_passes").symlink_to(ROOT)
        places = [folder] if arguments.before is None else [arguments.before.resolve(), folder]
        dump = str(folder / "dump")
        example = f"{ROOT / 'examples' / 'fallbacks.py'}:model"
        started(folder, _MAIN, ["run", example, "--until", "annotate", "--dump-dir", dump])
        print(versions())
        columns = ("before", "now", "now / before") if arguments.before else ("now",)
        heads = [*(f"processor, {text}" for text in columns), *(f"clock, {text}" for text in columns)]
        print(f"\n| | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
        for title, measure in measures(folder, arguments.compile, dump):
            first = [measure(place) for place in places]  # files of both are in the cache afterwards
            rounds = arguments.rounds * (5 if max(processor for processor, _ in first) < QUICK else 1)
            found = [[measure(place) for place in places] for _ in range(rounds)]
            print(row(title, list(zip(*found, strict=True))), flush=True)


if __name__ == "__main__":
    main()
