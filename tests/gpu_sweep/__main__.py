"""`python -m tests.gpu_sweep OUT.json`: engines of single layers, of every kind, type and operand, beside PyTorch.

Each case is a network of its own, built and run in one of several processes; one that crashes loses its case only.
Without a GPU, `--executor reference` builds the engines and evaluates the networks, to try the sweep itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from . import moving, pointwise
from .case import Case
from .run import Outcome, outcome


def all_cases() -> list[Case]:
    """Every case, in a fixed order."""
    found = [*pointwise.cases(), *moving.cases()]
    assert len({case.name for case in found}) == len(found)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases; 0 if none is wrong, failed or crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_sweep", description=__doc__)
    parser.add_argument("out", type=Path, help="the JSON file to write")
    parser.add_argument("--executor", choices=["tensorrt", "reference"], default="tensorrt")
    parser.add_argument("--processes", type=int, default=14)
    parser.add_argument("--seconds", type=float, default=200, help="after which the rest is left out")
    parser.add_argument("--match", default="", help="only cases whose names contain this")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case, in the fixed order")
    parser.add_argument("--count", type=int, default=None, help="how many cases from there; by default all")
    parser.add_argument("--left-out-of", type=Path, default=None, help="only what an earlier run's file left out")
    parser.add_argument("--share", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    chosen = _chosen(options)
    if options.share is not None:
        _run_share(chosen, options.share, options.out, options.executor)
        return 0
    outcomes = _in_processes(chosen, options)
    counts = Counter(found["status"] for found in outcomes)
    bad = [found for found in outcomes if found["status"] in ("wrong", "failed", "crashed")]
    timed = {found["case"]: found["microseconds"] for found in outcomes if "microseconds" in found}
    refused = [found for found in outcomes if found["status"] == "refused"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    left_out = [found["case"] for found in outcomes if found["status"] == "left out"]
    report = {"device": device, "counts": counts, "bad": bad, "refused": refused, "left out": left_out}
    report |= {"microseconds": timed}
    options.out.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(dict(counts))
    for found in bad[:200]:
        print(found["status"], found["case"], found.get("detail", ""))
    return 1 if bad else 0


def _chosen(options: argparse.Namespace) -> list[Case]:
    """The cases that the options ask for."""
    end = None if options.count is None else options.first + options.count
    cases = all_cases()[options.first : end]
    if options.left_out_of is not None:
        names = set(json.loads(options.left_out_of.read_text(encoding="utf-8"))["left out"])
        cases = [case for case in cases if case.name in names]
    return [case for case in cases if options.match in case.name]


def _run_share(chosen: Sequence[Case], share: str, out: Path, executor: str) -> None:
    """Run every n-th case and append a line before and after each."""
    first, step, done = map(int, share.split(":"))
    torch.set_num_threads(1)
    with out.open("a", encoding="utf-8") as file:
        for case in chosen[first::step][done:]:
            print(json.dumps({"case": case.name, "status": "started"}), file=file, flush=True)
            print(json.dumps(outcome(case, executor)), file=file, flush=True)


@dataclass
class _Share:
    """A part of the cases, and the process that runs it."""

    index: int
    file: Path
    process: subprocess.Popen[bytes] | None = None

    def outcomes(self) -> list[Outcome]:
        """What is known of the cases that were started."""
        latest: dict[str, Outcome] = {}
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []:
            found = json.loads(line)
            latest[found["case"]] = found
        return list(latest.values())


def _in_processes(chosen: Sequence[Case], options: argparse.Namespace) -> list[Outcome]:
    deadline = time.monotonic() + options.seconds
    count = min(options.processes, len(chosen)) or 1
    with tempfile.TemporaryDirectory() as folder:
        shares = [_Share(index, Path(folder) / f"{index}.jsonl") for index in range(count)]
        waiting = list(shares)
        while waiting and time.monotonic() < deadline:
            for share in list(waiting):
                if share.process is not None and share.process.poll() is None:
                    continue
                done = len(share.outcomes())
                if done >= len(chosen[share.index :: count]):
                    waiting.remove(share)
                    continue
                # The first start, or one after a crash: behind the case that did it.
                share.process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "tests.gpu_sweep", str(share.file), "--executor", options.executor),
                        *("--match", options.match, "--share", f"{share.index}:{count}:{done}"),
                        *("--first", str(options.first)),
                        *(("--count", str(options.count)) if options.count is not None else ()),
                        *(("--left-out-of", str(options.left_out_of)) if options.left_out_of is not None else ()),
                    ],
                    stderr=subprocess.DEVNULL,
                )
            time.sleep(0.2)
        for share in shares:
            if share.process is not None and share.process.poll() is None:
                share.process.kill()
                share.process.wait()
        late = time.monotonic() >= deadline
        found = [item for share in shares for item in share.outcomes()]
    for item in found:
        if item["status"] == "started":
            item["status"] = "left out" if late else "crashed"
    names = {item["case"] for item in found}
    return found + [{"case": case.name, "status": "left out"} for case in chosen if case.name not in names]


if __name__ == "__main__":
    sys.exit(main())
