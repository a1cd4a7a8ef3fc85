"""Models that change what they keep in Python, and those of them that compute with it: no graph can do that."""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque
from copy import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import trt_passes as tp
from torch import nn

TRACED = ("dynamo", "ts", "fx")

TIMES = 0


class Own(nn.Module):
    """A module whose attributes are those it is given."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


class Counts(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n += 1
        return x * self.n


class Within(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(x).relu()


class Gathers(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n.append(x)
        return sum(self.n)


class Alternates(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n = not self.n
        return x + 1 if self.n else x - 1


class Keeps(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x if self.n is None else x + self.n
        self.n = x.tanh()
        return y


class WarmsUp(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n += 1
        return x.sigmoid() if self.n > 100 else x.relu()


class CountsIn(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n["calls"] += 1
        return x / self.n["calls"]


class CountsOutside(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n.step += 1
        return x - self.n.step


class Reads(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * next(self.n)


class Takes(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n = (self.n + 1) % 3
        return self.layers[self.n](x)


class CountsGlobally(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        global TIMES
        TIMES += 1
        return x + TIMES


class CountsForAll(nn.Module):
    n = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        CountsForAll.n += 1
        return x + self.n


class Draws(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * random.random()


class DrawsOfNumpy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(np.random.rand())


class DrawsItself(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.rng.random()


class Writes(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n += 1
        self.total.fill_(self.n)
        return x.relu()


class Returns(Own):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        self.n += 1
        return x.relu(), self.n


def _counting_function() -> Any:
    n = 0

    def count(x: torch.Tensor) -> torch.Tensor:
        nonlocal n
        n += 1
        return x * n

    return count


class Calls(Own):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def _layers() -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(4, 4) for _ in range(3))


COMPUTED_WITH = {
    "number": (lambda: Counts(n=0), "'n'"),
    "number of a module": (lambda: Within(block=Counts(n=0)), "'block.n'"),
    "list": (lambda: Gathers(n=[]), "'n'"),
    "deque": (lambda: Gathers(n=deque(maxlen=2)), "'n'"),
    "truth": (lambda: Alternates(n=False), "'n'"),
    "tensor": (lambda: Keeps(n=None), "'n'"),
    "decision later": (lambda: WarmsUp(n=0), "'n'"),
    "dict": (lambda: CountsIn(n={"calls": 0}), "'n.calls'"),
    "counter": (lambda: CountsIn(n=Counter()), "'n.calls'"),
    "object": (lambda: CountsOutside(n=SimpleNamespace(step=0)), "'n.step'"),
    "iterator": (lambda: Reads(n=itertools.count(1)), "'n'"),
    "which layer": (lambda: Takes(n=0, layers=_layers()), "'n'"),
    "global variable": (CountsGlobally, "'TIMES'"),
    "class attribute": (CountsForAll, "'CountsForAll.n'"),
    "random numbers": (Draws, "'random' draws"),
    "numpy's random numbers": (DrawsOfNumpy, "'numpy.random' draws"),
    "its own random numbers": (lambda: DrawsItself(rng=random.Random(3)), "'rng' draws"),
    "its own of numpy's": (lambda: DrawsItself(rng=np.random.default_rng(3)), "'rng' draws"),
    "written to a buffer": (lambda: Writes(n=0, total=nn.Buffer(torch.zeros(4))), "'n'"),
    "result": (lambda: Returns(n=0), "'n'"),
    "variable of a function": (lambda: Calls(function=_counting_function()), "'function.n'"),
}


def _compiled(model: nn.Module, x: torch.Tensor, ir: str) -> Any:
    return tp.compile(model.eval(), [x], ir=ir, min_block_size=1, executor="reference")


@pytest.mark.parametrize("ir", TRACED)
@pytest.mark.parametrize("case", COMPUTED_WITH)
def test_what_a_call_changes_in_python_and_computes_with_is_refused_with_its_line(case: str, ir: str) -> None:
    make, name = COMPUTED_WITH[case]
    with pytest.raises(tp.UserError, match=rf"the model computes with .*{name}.* at \S*test_python_state\.py:\d+: \S"):
        _compiled(make(), torch.ones(2, 4), ir)


def test_examples_that_are_zero_hide_nothing() -> None:
    with pytest.raises(tp.UserError, match="computes with 'n'"):
        _compiled(Counts(n=0), torch.zeros(2, 4), "dynamo")


class Notes(Own):
    """Changes much, and computes with nothing of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.relu()
        self.n += 1
        if self.n % 2 == 0:
            self.text = f"call {self.n}"
        self.history.append(y)
        self.last = y
        self.shape = x.shape
        return self.last + 1


class Remembers(Own):
    """Computes something once."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.size not in self.known:
            self.known[self.size] = torch.arange(float(self.size))
        return x + self.known[self.size]


@pytest.mark.parametrize("ir", [*TRACED, "torch_compile"])
@pytest.mark.parametrize(
    "make", [lambda: Notes(n=0, history=[]), lambda: Remembers(known={}, size=4)], ids=["notes", "memo"]
)
def test_what_no_result_depends_on_may_change(make: Any, ir: str) -> None:
    model, x = make(), torch.randn(2, 4)
    model.eval()
    wanted = make()(x)
    before = {name: copy(item) for name, item in vars(model).items()}
    compiled = _compiled(model, x, ir)
    assert {name: item for name, item in vars(model).items() if name in before} == before
    for _ in range(3):
        torch.testing.assert_close(compiled(x), wanted)


@pytest.mark.parametrize("case", ["number", "list", "truth", "tensor", "dict", "object", "which layer", "result"])
def test_torch_compile_counts_from_the_first_call_on(case: str) -> None:
    torch.manual_seed(0)
    make, _ = COMPUTED_WITH[case]
    model, x = make(), torch.randn(2, 4)
    alike = make()
    alike.load_state_dict(model.state_dict())
    compiled = _compiled(model, x, "torch_compile")
    for _ in range(4):
        torch.testing.assert_close(compiled(x), alike(x))
