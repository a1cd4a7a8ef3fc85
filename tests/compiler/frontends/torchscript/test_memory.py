"""Writes in place, and what they leave in engines; objects, forks, and modules that stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

from tests.reloading import reloaded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:`torch.jit")

X = torch.linspace(-1, 1, 8).reshape(2, 4)


def blocks_of(model: Any, inputs: list[Any], **options: Any) -> Any:
    return tp.compile(model, inputs, executor="pytorch", min_block_size=1, methods=["forward"], **options)


def stays(result: Any) -> dict[str, str]:
    """What stays TorchScript, with the reason."""
    return {row.op: row.reasons[0].message for row in result.report.ledger if row.verdict != "trt"}


@torch.no_grad()
def check(model: nn.Module, *inputs: Tensor, **options: Any) -> dict[str, str]:
    """Compare three calls with the original, before and after saving; what stays."""
    script = torch.jit.script(model.eval())
    compiled = blocks_of(reloaded(script), list(inputs), **options)
    for found in (reloaded(compiled), compiled):
        expected = reloaded(script)
        for _ in range(3):
            torch.testing.assert_close(found(*(x.clone() for x in inputs)), expected(*(x.clone() for x in inputs)))
    return stays(compiled)


class Temporary(nn.Module):
    """Numbers that are written to as soon as they are made, in a branch too; and what a list collects."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor, steps: int) -> Tensor:
        y = self.layer(x)
        y[:, 0] = 2.0
        y[1].mul_(y[0])
        if steps > 100:
            y.add_(torch.zeros_like(x).masked_fill_(x > 0, -1.0))
        kept = []
        for i in range(3):
            kept.append(torch.tanh(y) * i)
        kept[1].add_(1)
        return torch.cat(kept).relu_()


def test_what_is_made_and_written_to_is_in_one_engine() -> None:
    script = torch.jit.script(Temporary().eval())
    result = blocks_of(script, [X, 3])
    assert stays(result) == {}
    assert len(result.report.segments) == 1
    torch.testing.assert_close(result(X, 3), script(X, 3))


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(x) * self.calls


def test_attention_beside_a_number_that_changes() -> None:
    stayed = check(Attends(), X.reshape(1, 2, 4))
    assert set(stayed) == {"prim.SetAttr", "aten.mul"}


class Views(nn.Module):
    """Writes to what others are views of, before and after these are read."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.layer(x)
        row = first[0]
        before = torch.relu(row) + 1
        first.add_(self.mean)
        first.uniform_(0.0, 0.0)
        after = torch.relu(row) + 1
        turned = self.mean.view(2, 2).t()
        self.mean.add_(x.mean(0))
        return before, after, torch.tanh(turned) + self.layer(self.mean).sum()


def test_views_of_what_torchscript_writes_to() -> None:
    stayed = check(Views(), X)
    assert stayed["aten.uniform_"] == "it makes random numbers."
    assert "aten.linear" not in stayed


@torch.jit.script
class Pair:
    def __init__(self, first: Tensor, second: Tensor) -> None:
        self.first = first
        self.second = second
        self.seen = 0

    def swap(self) -> None:
        self.seen += 1
        self.first, self.second = self.second, self.first

    def total(self, weight: float) -> Tensor:
        return self.first * weight + self.second * self.seen


class Objects(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        pair = Pair(self.layer(x), torch.tanh(x))
        pair.swap()
        pair.first.add_(1)
        for _ in range(2):
            pair.swap()
        return torch.relu(pair.total(0.5))


class Forked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        waiting = [torch.jit.fork(self.layer, x)]
        waiting.append(torch.jit.fork(self.layer, x + 1))
        one = torch.jit.fork(self.layer, torch.tanh(x))
        return torch.relu(torch.jit.wait(one) + torch.jit.wait(waiting[0]) * torch.jit.wait(waiting[1]))


@pytest.mark.parametrize("model", [Objects(), Forked()])
def test_objects_and_forks(model: nn.Module) -> None:
    script = torch.jit.script(model.eval())
    whole = tp.compile(script, [X], ir="ts", executor="pytorch")
    assert "one graph" in whole.report.why()
    torch.testing.assert_close(whole(X), script(X))
    assert set(check(model, X)) <= {"prim.fork", "aten.wait", "aten.__getitem__"}


class Three(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.c(torch.tanh(self.b(torch.sigmoid(self.a(x))))))


@pytest.mark.parametrize("name", ["b", "c"])
def test_a_module_that_stays_stays_alone(name: str) -> None:
    stayed = check(Three(), X, torch_executed_modules={name})
    assert stayed == {"prim.CallMethod": f"it calls a module that torch_executed_modules names: {name}."}


def quantised() -> nn.Module:
    from torch.ao import quantization as q

    model = nn.Sequential(q.QuantStub(), nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), q.DeQuantStub()).eval()
    model.qconfig = q.get_default_qconfig("fbgemm")
    with torch.no_grad():
        prepared = q.prepare(q.fuse_modules(model, [["1", "2"]]))
        prepared(X.reshape(1, 1, 2, 4))
        return q.convert(prepared)


def test_a_quantised_convolution_is_in_an_engine() -> None:
    model = quantised()
    image = X.reshape(1, 1, 2, 4)
    result = blocks_of(torch.jit.script(model), [image])
    assert stays(result) == {}
    torch.testing.assert_close(result(image), model(image), atol=2e-2, rtol=0)


class Carried(nn.Module):
    """A round writes to what the round before handed on, and an attribute is what a call before made."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(2, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x
        turned = x.t()
        for i in range(3):
            made = torch.tanh(total) + i
            if i > 0:
                total.add_(made)
            total = made
        self.last.mul_(0.5)
        seen = torch.relu(self.last) + 1
        self.last = total
        return seen + turned.t(), torch.sigmoid(total)


def test_what_rounds_and_calls_hand_on() -> None:
    stayed = check(Carried(), X)
    assert "aten.sigmoid" not in stayed


class HandedOn(nn.Module):
    """The second round adds to `x`."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        total, sums = x + 1, [x.sum()]
        for _ in range(2):
            total += 1
            sums.append(total.sum())
            total = x
        return x.mean(0), total, sums


class Summed(nn.Module):
    """Only the sum is written to."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        total, sums = x + 1, [x.sum()]
        for _ in range(2):
            total += x
            sums.append(total.sum())
        return x.mean(0), total, sums


class Swapped(nn.Module):
    """The third round adds to `x`, which the first two hand on."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        first, second, sums = x + 1, x + 2, [x.sum()]
        for _ in range(3):
            first += 1
            sums.append(first.sum())
            first, second = second, x
        return x.mean(0), first, sums


@pytest.mark.parametrize(("model", "written"), [(HandedOn(), True), (Summed(), False), (Swapped(), True)])
def test_what_a_round_writes_to(model: nn.Module, written: bool) -> None:
    from trt_passes.compiler.frontends.torchscript.inlined import inlined
    from trt_passes.compiler.frontends.torchscript.regions import Graph

    graph = Graph(inlined(torch.jit.script(model.eval()), frozenset(), "forward"))
    (mean,) = [op for op in graph.code.every_op() if op.kind == "aten::mean"]
    assert graph.is_written(mean.inputs[0]) is written


class Untouched(nn.Module):
    """What dropout gives in evaluation is what it was given, and then written to."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls = nn.Linear(4, 4), 0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.calls += 1
        y = nn.functional.dropout(x, 0.5, False)
        z = self.layer(x)
        y.add_(1.0)
        return z, torch.relu(x), y * self.calls


def test_what_is_given_back_and_written_to() -> None:
    assert "aten.linear" not in check(Untouched(), X)
