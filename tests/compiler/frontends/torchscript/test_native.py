"""Numbers and texts in TorchScript, which are not quite Python's, and values that a `return` leaves unset."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::DeprecationWarning", "ignore::RuntimeWarning")

OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1}
ROWS = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4))


class Numbers(nn.Module):
    """What TorchScript computes differently from Python, or has under another name."""

    def forward(self, x: Tensor, a: float, n: int) -> tuple[list[Tensor], list[str], list[float]]:
        numbers = [round(a), n**2, math.log(-a), math.sqrt(-a), math.atan2(a, 2.0), a // 0.3, sum([a]), max(a, 1.0)]
        texts = [str(a), f"{a} {n} {n > 2}", "%d%s" % (n, "x"), ["a", "b"][1].upper(), str([a, 1.0])]  # noqa: UP031
        return [torch.relu(x) * number for number in numbers[:2]], texts, numbers


@torch.no_grad()
@pytest.mark.parametrize("a", [2.5, 0.5, 1e-5, 3.0])
def test_numbers_and_texts_are_torchscripts(a: float) -> None:
    script = torch.jit.script(Numbers().eval())
    compiled = tp.compile(script, [torch.ones(2, 4), a, 3], **OPTIONS)
    found, expected = compiled(torch.ones(2, 4), a, 3), script(torch.ones(2, 4), a, 3)
    torch.testing.assert_close(found[0], expected[0])
    assert found[1] == expected[1]
    assert [(type(x), str(x)) for x in found[2]] == [(type(x), str(x)) for x in expected[2]]


class Named(nn.Module):
    """Texts that are made of sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = {"r3": 1.0, "r1": 2.0}

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        name = f"r{x.size(0)}"
        factor = self.table.get(name)
        if factor is None:
            factor = 0.25
        return torch.tanh(x) * factor, name


class Returns(nn.Module):
    """Returns out of loops and branches on tensors, which leave what comes after unset."""

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        y = torch.relu(x)
        if bool(y.sum() > 5):
            return y * 2, "large"
        z = torch.tanh(y)
        for index in range(3):
            w = z + index
            if bool(z.mean() > 0.1 * index):
                return w, "loop"
        return z - 1, "end"


class Powers(nn.Module):
    """Arithmetic on sizes that gives floats."""

    def forward(self, x: Tensor) -> tuple[Tensor, float, float]:
        n = x.size(0)
        whole = torch.ones(2, dtype=torch.int64) * (n**2)
        return whole + torch.relu(x).sum(), n**2, round(n)


@torch.no_grad()
@pytest.mark.parametrize("kind", [Named, Returns, Powers])
def test_for_all_sizes(kind: type[nn.Module]) -> None:
    script = torch.jit.script(kind().eval())
    compiled = tp.compile(script, [ROWS], **OPTIONS)
    for rows in (3, 1, 6, 2):
        for x in (torch.randn(rows, 4), torch.rand(rows, 4), -torch.ones(rows, 4)):
            found, expected = compiled(x), script(x)
            torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-4)
            assert found[1:] == expected[1:]
            assert list(map(type, found)) == list(map(type, expected))
