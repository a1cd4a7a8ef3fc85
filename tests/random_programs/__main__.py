"""Compile random programs and compare them with PyTorch; print those that are wrong.

    python -m tests.random_programs [--first 0] [--count 1000] [--processes 8] [--executor tensorrt]

With the executor "tensorrt" it needs a GPU, and tries TensorRT's kernels, which single operators do not: what TensorRT
fuses can be wrong where each part is right. With "reference" it tries the networks. 0 unless a program is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from .program import Judgement, RandomProgram, alone, judged


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the programs of the seeds asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.random_programs", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--executor", choices=["tensorrt", "reference"], default="tensorrt")
    options = parser.parse_args(arguments)
    seeds = range(options.first, options.first + options.count)
    counts: Counter[Judgement] = Counter()
    # A forked process cannot use a GPU that its parent has used.
    with ProcessPoolExecutor(options.processes, get_context("spawn"), initializer=alone) as pool:
        for result in pool.map(partial(judged, executor=options.executor), seeds, chunksize=2):
            counts[result.judgement] += 1
            if result.judgement is Judgement.WRONG:
                print(
                    f"seed {result.seed}: errors {result.errors}, usual {result.usual}\n{RandomProgram(result.seed)}\n"
                )
    print(", ".join(f"{count} {judgement}" for judgement, count in counts.items()))
    return 1 if counts[Judgement.WRONG] else 0


if __name__ == "__main__":
    sys.exit(main())
