"""Processor seconds to import, to start each command, and to compile, here and in another checkout, in one run.

    python benchmarks/start.py [--before FOLDER] [--rounds N] [--compile MODEL ...]

FOLDER holds the other checkout as `trt_passes`. Figures are of all threads of a new process and of those that it
starts, `rounds` times for each checkout in turns: the median. Other work on the machine counts little.
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
start = time.process_time()
import trt_passes
{more}
print(time.process_time() - start)
"""
_COMPILE = """
import sys, time, torch, trt_passes as tp
if {name!r} == "small":
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8)).eval()
    inputs = [torch.ones(4, 64)]
else:
    import runpy
    model, inputs = runpy.run_path({path!r})["model"]()
start = time.perf_counter()
tp.compile(model, inputs, min_block_size=1)
print(time.perf_counter() - start)
"""

Measure = Callable[[Path], float]
"""The processor seconds that one new process takes with the checkout in a folder."""


def started(folder: Path, code: str, arguments: Sequence[str] = ()) -> tuple[float, str]:
    """Processor seconds of a process of Python that runs some code, from start to end, and what it prints."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # one of the checkouts would be compiled again every time
    start = _of_children()
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    seconds = _of_children() - start
    if done.returncode and "nothing.pt2" not in arguments:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return seconds, done.stdout


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measures(folder: Path, models: Sequence[str], dump: str) -> Iterator[tuple[str, Measure]]:
    """What is measured, by name."""

    def printed(code: str) -> Measure:
        return lambda place: float(started(place, code)[1].splitlines()[-1])

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
        yield f"… and `tp.compile` of {name} alone, by the clock", printed(code)


def row(name: str, seconds: Sequence[Sequence[float]]) -> str:
    """A line of the table: the median of each checkout, and how the last compares with the first."""
    medians = [statistics.median(each) for each in seconds]
    ratio = f"{medians[-1] / medians[0]:.2f}" if len(medians) > 1 else ""
    return f"| {' | '.join([name, *(f'{value:.3f} s' for value in medians), ratio])} |"


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
        print("\n| | before | now | now / before |" if arguments.before else "\n| | now | |")
        print("|---|---|---|---|" if arguments.before else "|---|---|---|")
        for title, measure in measures(folder, arguments.compile, dump):
            first = [measure(place) for place in places]  # files of both are in the cache afterwards
            rounds = arguments.rounds * (5 if max(first) < QUICK else 1)
            found = [[measure(place) for place in places] for _ in range(rounds)]
            print(row(title, list(zip(*found, strict=True))), flush=True)


if __name__ == "__main__":
    main()
