"""`python -m tests.half_precision`: PyTorch's samples of all operators in half precision, with numbers of every size.

Reports the networks that overflow, or are much less exact than PyTorch's kernels in the same type.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.operators.catalog import DATA_DEPENDENT, NOT_FOR_INFERENCE, RANDOM, UNINITIALIZED, entries

from .sweep import judged

_LEFT_OUT = frozenset({"_softmax_backward_data", "resize_as_"}) | RANDOM | DATA_DEPENDENT | NOT_FOR_INFERENCE


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge samples of the entries named, or of all; 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.half_precision", description=__doc__)
    parser.add_argument("names", nargs="*", help="entries of op_db, such as std; all by default")
    parser.add_argument("--most", type=int, default=4, help="samples of each entry")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="also print what could not be judged, and why")
    options = parser.parse_args(arguments)
    names = options.names or sorted(set(entries()) - _LEFT_OUT - UNINITIALIZED)
    counts: Counter[str] = Counter()
    for kind, text in _all_judged(names, options.most, options.processes):
        counts[kind] += 1
        if kind == "wrong" or (options.verbose and kind == "not judged"):
            print(f"{kind}: {text}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    return 1 if counts["wrong"] else 0


def _all_judged(names: Sequence[str], most: int, processes: int) -> Iterator[tuple[str, str]]:
    if processes == 1:
        for name in names:
            yield from judged(name, most)
        return
    with ProcessPoolExecutor(processes, max_tasks_per_child=40) as pool:
        for lines in pool.map(partial(judged, most=most), names):
            yield from lines


if __name__ == "__main__":
    sys.exit(main())
