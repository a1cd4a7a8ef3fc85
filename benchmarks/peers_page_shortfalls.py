"""Where this project misses its aims beside other compilers: computed from the lines of benchmarks/peers.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

from peers_page_lines import CALL, ERROR, FIRST, GRAPHS, PEERS, PLAIN, REPLAY, Quantity, Results


@dataclass(frozen=True)
class Aim:
    """The largest figure of our peers is to be at most `limit` times the smallest of the other peers'.

    `goal` says that in words, and `title` what the models that miss it have in common.
    """

    goal: str
    title: str
    quantity: Quantity
    ours: tuple[str, ...]
    others: tuple[str, ...]
    limit: float


@dataclass(frozen=True)
class Shortfall:
    """A model that misses an aim: our figure, and the figure and the label of the compiler that does better."""

    model: str
    ours: float
    other: float
    by: str

    @property
    def ratio(self) -> float:
        """How many times the other figure ours is."""
        return self.ours / self.other


@dataclass(frozen=True)
class Verdict:
    """An aim, the number of models for which both sides were measured, and those that miss it, the worst first."""

    aim: Aim
    compared: int
    missed: tuple[Shortfall, ...]


AIMS = (
    Aim(
        "a call with CUDA graphs is the fastest",
        "Calls with CUDA graphs that are not the fastest",
        CALL,
        (GRAPHS,),
        tuple(peer for peer in PEERS if peer != GRAPHS),
        1.0,
    ),
    Aim(
        "the GPU time is at most 3 % above that of the best other that uses TensorRT",
        "GPU times more than 3 % above the best of the others that use TensorRT",
        REPLAY,
        (PLAIN,),
        ("onnx-tensorrt-rtx", "torch-tensorrt"),
        1.03,
    ),
    Aim(
        "the first call is no slower than Torch-TensorRT's",
        "First calls slower than Torch-TensorRT's",
        FIRST,
        (PLAIN, GRAPHS),
        ("torch-tensorrt",),
        1.0,
    ),
    Aim(
        "the error is at most twice eager's", "Errors more than twice eager's", ERROR, (PLAIN, GRAPHS), ("eager",), 2.0
    ),
)


def verdict(results: Results, aim: Aim) -> Verdict:
    """Hold all models against an aim; of this project only the columns with the newest TensorRT-RTX count."""
    compared = [found for model in results.models if (found := _compared(results, aim, model)) is not None]
    missed = [found for found in compared if not found.ours <= aim.limit * found.other]
    missed.sort(key=lambda found: math.inf if math.isnan(found.ratio) else found.ratio, reverse=True)
    return Verdict(aim, len(compared), tuple(missed))


def _compared(results: Results, aim: Aim, model: str) -> Shortfall | None:
    ours = [
        value
        for peer in aim.ours
        for compiler in results.of(peer)[:1]
        if (value := results.value(model, compiler, aim.quantity.field)) is not None
    ]
    others = [
        (value, compiler.label)
        for peer in aim.others
        for compiler in results.of(peer)
        if (value := results.value(model, compiler, aim.quantity.field)) is not None and not math.isnan(value)
    ]
    if not ours or not others:
        return None
    best, label = min(others)
    # max() may lose a NaN, which is the worst there is.
    worst = math.nan if any(map(math.isnan, ours)) else max(ours)
    return Shortfall(model, worst, best, label)
