"""Write random programs, compile them, and compare with PyTorch; show those that fail, made short.

    python -m tests.random_programs [--first 0] [--count 2000] [--processes 2] [--executor reference] [--out FOLDER]
    python -m tests.random_programs FILE...

Every program follows from its number. The front end, the executor ("reference" evaluates networks without a GPU), and
what else there is to choose follow from it too, unless given. With `--out`, verdicts are kept in a folder: a run that
was ended goes on where it was, `results.json` and `table.txt` tell what was found, and `failures/` holds a file for
every failing program, which tries it again when it is run. Files may be given instead of numbers.

0 unless a program is wrong, crashes, takes too long, or is refused for a reason not known to be true (`refusals.py`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .instead import EXECUTORS, FRONTENDS, Instead
from .judge import FAILURES, judged_file
from .minimise import minimised
from .program import Program
from .results import Results
from .workers import Pool
from .write import random_program


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the programs asked for."""
    options = _options(arguments)
    if options.files:
        return _tried_again([Path(name) for name in options.files])
    results = Results.of(options.out)
    numbers = range(options.first, options.first + options.count)
    missing = [number for number in numbers if number not in results.verdicts]
    instead = Instead(options.executor, options.frontend)
    print(f"programs {numbers.start} to {numbers.stop - 1}: {len(missing)} to try, {options.processes} processes")
    started = time.monotonic()
    spare = min(60.0, options.seconds * 0.15) if options.minimise else 0.0
    with Pool(min(options.processes, max(len(missing), 1)), options.patience, instead) as pool:
        for _, verdict in pool.judge(missing, started + options.seconds - spare):
            results.add(verdict)
            if verdict.kind in FAILURES:
                print(f"{verdict.number}: {verdict.kind}: {verdict.message[:300]}", flush=True)
        done = sum(number in results.verdicts for number in numbers)
        print(f"{done} of {len(numbers)} done in {time.monotonic() - started:.0f} s")
        _show_short(results, pool, options.minimise, started + options.seconds)
    print(results.table())
    results.write()
    return 1 if results.failures() else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.random_programs", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="*", help="files of failing programs to try again")
    parser.add_argument("--first", type=int, default=0, help="the first number")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--executor", choices=EXECUTORS, help="instead of each program's own")
    parser.add_argument("--frontend", choices=FRONTENDS, help="instead of each program's own")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="stop after that time, and say what is done"
    )
    parser.add_argument("--patience", type=float, default=180.0, help="seconds after which one program is ended")
    parser.add_argument("--minimise", type=int, default=8, help="how many failures to make short, of different kinds")
    parser.add_argument("--out", type=Path, help="folder of results, to go on with later")
    return parser.parse_args(arguments)


def _show_short(results: Results, pool: Pool, most: int, until: float) -> None:
    """Make one program of every kind of failure short, print it, and keep its file."""
    for verdict in results.examples()[:most]:
        if time.monotonic() > until - 10:
            return
        program = pool.instead.of(random_program(verdict.number))

        def fails(candidate: Program, group: str = verdict.group) -> bool:
            return any(found.group == group for _, found in pool.judge([candidate]))

        program = minimised(program, fails, min(150.0, until - time.monotonic() - 5))
        print(f"\n{results.keep(program, verdict)}\n", flush=True)


def _tried_again(paths: Sequence[Path]) -> int:
    failed = False
    for path in paths:
        verdict = judged_file(path)
        failed = failed or verdict.kind in FAILURES
        print(f"{path.name}: {verdict.kind}: {verdict.message}\n{verdict.trace}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
