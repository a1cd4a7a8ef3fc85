"""Judging the samples of one operator. Processes that are started anew find it here, and not in `__main__`."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator

import torch

from tests.operators.samples import samples

from .judge import findings

_SECONDS = 30
"""What one sample may take."""

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
