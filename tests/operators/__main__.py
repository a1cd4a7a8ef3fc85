"""`python -m tests.operators`: run PyTorch's samples of all operators, and write `results.json`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from trt_passes.compiler.errors import did_you_mean
from trt_passes.compiler.ir.dtypes import short_name

from .catalog import entries
from .outcome import Kind
from .results import FILE, Results, caps_of, tasks
from .workers import Trial, run_tasks


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the entries named, or all of them; 0 unless a sample is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.operators", description=__doc__)
    parser.add_argument("names", nargs="*", help="entries of op_db, such as div.floor_rounding; all by default")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0, help="share of the samples to take, for a quicker run")
    parser.add_argument("--log", type=Path, help="file that gets a line for every sample that is not right")
    options = parser.parse_args(arguments)
    # Everything runs on the CPU, and a forked worker cannot use a CUDA that its parent has initialized.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    for name in options.names:
        if name not in entries():
            parser.error(f"op_db has no entry {name!r}.{did_you_mean(name, entries())}")
    names = options.names or sorted(entries())
    caps = caps_of(options.share)
    results, started = Results(caps), time.monotonic()
    with options.log.open("w", encoding="utf-8") if options.log else nullcontext() as log:
        for done, trial in enumerate(run_tasks(tasks(names, caps), options.processes), 1):
            results.add(trial)
            if trial.outcome.kind is not Kind.RIGHT:
                for stream in filter(None, (log, sys.stdout if options.names else None)):
                    print(_line(trial), file=stream, flush=True)
            if done % 200 == 0:
                print(f"{done} samples in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if not options.names:
        results.write(FILE)
    summary = results.to_json()["summary"]
    print("\n".join([*sorted(results.wrong), *(f"{key}: {value}" for key, value in summary.items())]))
    print(f"{time.monotonic() - started:.0f} s")
    return 1 if results.wrong else 0


def _line(trial: Trial) -> str:
    outcome, mode = trial.outcome, "dynamic" if trial.dynamic else "static"
    dtype = short_name(trial.task.dtype)
    return (
        f"{outcome.kind} | {trial.task.operator} | {dtype} | {mode} | #{trial.index} {trial.text} | "
        f"{','.join(outcome.targets)} | {outcome.detail}"
    )


if __name__ == "__main__":
    sys.exit(main())
