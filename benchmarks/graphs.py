"""Graphs of any size for `compile_time.py --graphs`: chains, wide and branchy ones, and hubs that all others read."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn


class Chain(nn.Module):
    """One operator after the other; every `every`-th stays in PyTorch."""

    def __init__(self, count: int, every: int = 0) -> None:
        super().__init__()
        self.count, self.every = count, every

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index in range(self.count):
            x = torch.sort(x, -1).values if self.every and index % self.every == self.every - 1 else torch.relu(x)
        return x


class Wide(nn.Module):
    """Operators that all read the input, and a sum of them in the form of a tree."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # By different numbers: equal operators would be computed once.
        parts = [x * (1 + index) for index in range(self.count)]
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=False)
            parts = [a + b for a, b in pairs] + ([parts[-1]] if len(parts) % 2 else [])
        return parts[0]


class Branchy(nn.Module):
    """Blocks of eight branches of different lengths that are added up, one of them with an operator in PyTorch."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.blocks = max(1, count // 44)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in range(self.blocks):
            total = x
            for branch in range(8):
                y = x
                for place in range(branch + 1):
                    y = y * (1 + branch + 8 * place)
                if branch == block % 8 and block % 4 == 0:
                    y = torch.sort(y, -1).values
                total = total + y
            x = total
        return x


class Hub(nn.Module):
    """A tensor that every operator reads, with a fallback at every third, at other places in each short chain."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.chains = max(1, count // 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hub, total = torch.tanh(x), x
        for chain in range(self.chains):
            y = hub * (2 + chain)
            for place in range(6):
                y = torch.sort(y + hub, -1).values if (place + chain) % 3 == 1 else y * hub
            total = total + y
        return total


GRAPHS: Mapping[str, Any] = {
    "chain": Chain,
    "chain with fallbacks": lambda count: Chain(count, 40),
    "wide": Wide,
    "branchy": Branchy,
    "hub": Hub,
}
PIPELINE = "decompose,lower,annotate,partition"


def seconds_of(name: str, count: int) -> tuple[int, dict[str, float]]:
    """Op nodes of a graph, and the processor's seconds of export and of every pass before `convert`.

    The clock would tell what else a machine does.
    """
    import trt_passes as tp

    class Processor(tp.Instrument):
        """The processor's seconds of every pass, with what the manager does for it."""

        def __init__(self) -> None:
            self.seconds: dict[str, float] = {}
            self._begin = 0.0

        def before_pass(self, index: int, item: Any, program: Any) -> None:
            self._begin = time.process_time()

        def after_pass(self, step: Any) -> None:
            self.seconds[step.item.name] = time.process_time() - self._begin

    model, x = GRAPHS[name](count).eval(), torch.randn(4, 8)
    begin = time.process_time()
    program = tp.trace(model, [x])
    seconds = {"export": time.process_time() - begin}
    timing = Processor()
    settings = tp.Settings(torch_executed_ops={"aten.sort"})
    report = tp.PassManager(PIPELINE, [timing], settings).run(program)
    seconds |= timing.seconds
    return len(report.program.op_nodes), seconds


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of a line through the logarithms: 1 is linear, 2 quadratic."""
    points = [(math.log(size), math.log(max(value, 1e-6))) for size, value in zip(sizes, seconds, strict=True)]
    middle = [sum(column) / len(points) for column in zip(*points, strict=True)]
    above = sum((x - middle[0]) * (y - middle[1]) for x, y in points)
    below = sum((x - middle[0]) ** 2 for x, _ in points)
    return above / below if below else float("nan")


def table(name: str, sizes: Sequence[int]) -> str:
    """Seconds by pass and size, with the exponent that fits them."""
    rows = [seconds_of(name, size) for size in sizes]
    counts = [count for count, _ in rows]
    lines = [f"{name}: op nodes {', '.join(map(str, counts))}"]
    total = [sum(value for key, value in found.items() if key != "export") for _, found in rows]
    columns = {key: [found.get(key, 0.0) for _, found in rows] for key in rows[-1][1]}
    for key, values in {**columns, "all passes": total}.items():
        if values[-1] >= 0.02 or key == "all passes":
            numbers = "".join(f"{value:9.3f}" for value in values)
            lines.append(f"  {key:28}{numbers}   exponent {exponent(counts, values):4.2f}")
    return "\n".join(lines)
