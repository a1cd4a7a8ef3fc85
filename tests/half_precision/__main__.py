"""`python -m tests.half_precision`: PyTorch's samples of all operators in half precision, with numbers of every size.

Reports the networks that overflow, or are much less exact than PyTorch's kernels in the same type.
"""

from __future__ import annotations

import argparse
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import torch

from tests.operators.catalog import DATA_DEPENDENT, NOT_FOR_INFERENCE, RANDOM, UNINITIALIZED, entries
from tests.operators.samples import samples

from .judge import findings

_SECONDS = 30
"""What one sample may take."""

_LEFT_OUT = frozenset({"_softmax_backward_data", "resize_as_"}) | RANDOM | DATA_DEPENDENT | NOT_FOR_INFERENCE
_ROUNDS_PARTS = frozenset(
    {
        "nn.functional.linear",
        "addmm",
        "addmm.decomposed",
        "baddbmm",
        "addbmm",
        "addmv",
        "nn.functional.scaled_dot_product_attention",
        "scaled_dot_product_attention_heads",
        "nn.functional.multi_head_attention_forward",
    }
)
"""Operators that add up rounded numbers: products before their bias is added, and weights of attention, as PyTorch's
kernels for GPUs do. TensorRT would make several kernels of what is in float32 throughout."""

_HALVES = (torch.float16, torch.bfloat16)


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


def judged(name: str, most: int) -> list[tuple[str, str]]:
    """How samples of an entry fared: "right", "wrong" or "not judged", each with a line of text."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _too_slow)
    try:
        return list(_judged(name, most))
    finally:
        signal.alarm(0)


def _judged(name: str, most: int) -> Iterator[tuple[str, str]]:
    try:
        found = list(samples(name, torch.float32, most))
    except Exception as error:
        yield "not judged", f"{name}: {_first_line(error)}"
        return
    for sample in found:
        if not any(tensor.is_floating_point() for tensor in sample.tensors):
            continue
        for dtype in _HALVES:
            text = f"{name} {str(dtype).removeprefix('torch.')} #{sample.index} {sample.text}"
            signal.alarm(_SECONDS)
            try:
                faults = findings(sample.module, sample.tensors, dtype, rounds_parts=name in _ROUNDS_PARTS)
            except Exception as error:
                yield "not judged", f"{text}: {_first_line(error)}"
                continue
            for fault in faults:
                yield "wrong", f"{text}: {fault.magnitude} numbers: {fault.text}"
            if not faults:
                yield "right", text


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"took more than {_SECONDS} s")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]


if __name__ == "__main__":
    sys.exit(main())
