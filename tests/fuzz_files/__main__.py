"""`python -m tests.fuzz_files`: read thousands of mutated files, and end with 1 if one of them did what none may."""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from .bases import bases
from .canary import Canary
from .run import Account, fuzz

_STEP = 500
_MEMORY = 6 << 30
"""Bytes of addresses beyond those in use at the start: sizes from a file could ask for all that there is."""


def main() -> int:
    """Read the files that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_files", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="how many files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, action="append", help="the number of one file, to look into a failure")
    parser.add_argument("--keep", type=Path, help="a folder for the files that failed")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    total, started = Account(), time.monotonic()
    with TemporaryDirectory() as made:
        folder = asked.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        honest, canary = bases(Path(made)), Canary()
        for base in honest:
            assert base.read(base.path), base.name
        _limit_memory()
        numbers = asked.only or range(asked.count)
        for start in range(0, len(numbers), _STEP):
            done = fuzz(honest, numbers[start : start + _STEP], asked.seed, folder, canary)
            total.counts.update(done.counts)
            total.failures.update(done.failures)
            read = min(start + _STEP, len(numbers))
            print(f"{read} files, {len(total.failures)} failed", file=sys.stderr, flush=True)
    for (base, kind, outcome), count in sorted(total.counts.items()):
        print(f"{count:6} {outcome:8} {base}: {kind}")
    for number, failure in total.failures.items():
        print(f"\n--only {number}: {failure}")
    count = sum(total.counts.values())
    print(f"\n{count} files in {time.monotonic() - started:.0f} s, seed {asked.seed}: {len(total.failures)} failed")
    return 1 if total.failures else 0


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY,) * 2)


if __name__ == "__main__":
    sys.exit(main())
