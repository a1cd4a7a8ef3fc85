"""What random TorchScript programs are made of, see `scripted.py`: a beginning, and lines with slots."""

from __future__ import annotations

from collections.abc import Sequence

HEAD = """\
from enum import Enum
from typing import Dict, List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor, nn


class Kind(Enum):
    FIRST = 1
    SECOND = 2


class Point(NamedTuple):
    place: Tensor
    number: int


@torch.jit.interface
class Mapping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pass


class Halved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4).half()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x.half())).float()


class HoldsScript(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scripted = nn.Linear(4, 4), torch.jit.script(Halved())

    def forward(self, x: Tensor) -> Tensor:
        return self.scripted(torch.tanh(self.layer(x)))


def maybe(x: Tensor, there: bool) -> Optional[Tensor]:
    return x if there else None


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), {nn.Linear})


class Part(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.factor, self.count = factor, 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return torch.tanh(self.layer(x)) * self.factor

    @torch.jit.export
    def steps(self, x: Tensor, rounds: int) -> Tensor:
        for index in range(rounds):
            x = torch.sigmoid(self.layer(x)) + index
        return x + self.count


class Model(nn.Module):
    kept: Dict[str, Tensor]
    last: Optional[Tensor]
    state: Optional[Tuple[Tensor, Tensor]]
    mapping: Mapping

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.part, self.parts = Part(0.5), nn.ModuleList([Part(2.0), Part(-1.0)])
        self.calls, self.scale, self.flag, self.name = 0, 1.0, False, "a"
        self.kept, self.last, self.seen = {}, None, [torch.ones(4)]
        self.register_buffer("mean", torch.zeros(4))
        self.state, self.kind, self.mapping = None, Kind.FIRST, Halved()
        self.cell, self.rnn = nn.LSTMCell(4, 4), nn.GRU(4, 4)
        self.traced = torch.jit.trace(HoldsScript().eval(), torch.ones(2, 4))
        self.quantised = quantised()

    @torch.jit.export
    def mixed(self, x: Tensor, other: Optional[Tensor] = None, times: int = 2) -> Tuple[Tensor, int]:
        if other is not None:
            x = x + torch.tanh(other)
        for index in range(times):
            x = torch.tanh(self.b(x)) - index
        return x, times + self.calls

    @torch.jit.export
    def update(self, x: Tensor, times: int = 1) -> Tensor:
        for index in range(times):
            self.mean.mul_(0.5).add_(torch.tanh(self.a(x)).mean(0))
        self.scale, self.calls = self.scale * 0.9, self.calls + 1
        return self.mean * self.scale

    def forward(
        self,
        x: Tensor,
        factor: float = 1.5,
        rounds: int = 2,
        extra: Optional[Tensor] = None,
        given: Optional[Tuple[Tensor, List[Tensor]]] = None,
    ):
"""

START = """\
y = torch.relu(self.a(x))
z = x * factor
n = x.size(0)
f = 0.5
s = "a"
xs: List[Tensor] = []
d: Dict[str, Tensor] = {}
o: Optional[Tensor] = None
p: Tuple[Tensor, int] = (y, 1)
q = Point(z, 2)
h, c = y, z
ts = [y, z, x]
g: Dict[int, List[Tensor]] = {}
kind = Kind.SECOND
"""

TENSORS = ("x", "y", "z")
EXPRESSIONS = (
    "torch.relu(self.a({t}))",
    "torch.tanh(self.b({t})) * {f}",
    "torch.sigmoid({t}) + {u}",
    "torch.tanh({t} * {u})",
    "torch.where({t} > 0, {t}, {u})",
    "torch.softmax({t}, -1) - {f}",
    "torch.tanh({t}) * {n}",
    "torch.cat([{t}, {u}], 1)[:, 2:6]",
    "torch.tanh({t} + self.seen[-1])",
    "torch.tanh({t} @ {u}.t() @ {u})",
    "self.part({t})",
    "self.part.steps({t}, {k})",
    "self.parts[{i}]({t})",
    "{t}.flip(1) if {c} else {u}",
    "torch.stack([{t}, {u}]).max(0)[0]",
    "{t} - self.mean",
)
SIMPLE: Sequence[tuple[float, str]] = (
    (10, "{v} = {e}"),
    (2, "{v} = {v}.clone()\n{v}[:, {i}] = ({e})[:, 2]"),
    (1.5, "{v} = {v} + 0\n{v}.add_({u})"),
    (1, "{v} = torch.tanh({v})\n{v}[0].mul_(2)"),
    (1, "{v} = {v} * 1\n{v}[:, :2] += {u}[:, 2:]"),
    (1, "n = {t}.size(0) + {k}"),
    (1, "n = (n * 3 + {k}) % 5"),
    (1, "n = int({t}.abs().sum().item()) % 4"),
    (0.7, "n = len(xs) + len(d) + len(s)"),
    (1, "f = float(n) * 0.25 - f"),
    (0.7, "f = min(max(float({t}.mean()), -1.0), 1.0)"),
    (2, "xs.append({e})"),
    (1, "xs = [{t}, {u}] + xs[-2:]"),
    (1, "if len(xs) > 0:\n    {v} = {u} + xs[{j}]"),
    (0.7, "for item in xs[-3:]:\n    {v} = torch.tanh({v} + item)"),
    (0.5, "if len(xs) > 2:\n    xs.pop(0)"),
    (1.5, 'd["k" + str(n % 3)] = {e}'),
    (1, 'if "k1" in d:\n    {v} = {v} - d["k1"]'),
    (0.7, "for key, value in d.items():\n    {v} = torch.tanh({v} + value * len(key))"),
    (1, "o = maybe({t}, True)"),
    (0.5, "o = maybe({t}, False)"),
    (1, "if o is not None:\n    {v} = torch.tanh(o) + {u}"),
    (1, "p = ({e}, n)"),
    (1, "{v} = p[0] * (p[1] % 3)"),
    (0.7, 's = s + "ab"[n % 2]'),
    (0.7, 's = f"{{s[:3]}}{{n}}"'),
    (0.5, 's = s.replace("a", "b").upper().lower()'),
    (1, "self.calls += 1"),
    (0.7, "self.scale = self.scale * 0.5 + f"),
    (0.7, "self.flag = not self.flag"),
    (0.5, "self.name = self.name[-3:] + s[:1]"),
    (1, "self.seen.append(torch.tanh({t}.mean(0)))\nif len(self.seen) > 3:\n    self.seen.pop(0)"),
    (1, "self.last = torch.tanh({t}.mean(0))"),
    (1, "last = self.last\nif last is not None:\n    {v} = {v} + last"),
    (1, "self.kept[s[:1]] = {t}.mean(0, keepdim=True)"),
    (1, "if s[:1] in self.kept:\n    {v} = torch.tanh({v} + self.kept[s[:1]])"),
    (1, "self.mean.mul_(0.5).add_(torch.tanh({t}).mean(0))"),
    (0.5, "self.mean = torch.tanh(self.mean + {t}.mean(0))"),
    (0.5, 'if bool({t}.abs().sum() > 1e9):\n    raise ValueError("large " + s)'),
    (0.5, 'assert {t}.size(1) == 4, "columns"'),
    # Containers of known length, with names, in one another.
    (1, "q = Point({e}, n)"),
    (1, "{v} = torch.tanh(q.place) * (q.number % 3)"),
    (1, "ts[{i}] = {e}"),
    (1, "{v} = torch.stack(ts, 0).mean(0) - ts[{j}]"),
    (0.7, "first, second = torch.chunk({t}, 2, 1)\n{v} = torch.cat([second, first], 1)"),
    (0.7, "one, two, three = torch.unbind(torch.stack([{t}, {u}, {t}]), 0)\n{v} = one * two - three"),
    (0.7, "g[n % 3] = [{t}, {u}]"),
    (0.7, "if n % 3 in g:\n    {v} = torch.tanh({v} + g[n % 3][{j}])"),
    (0.7, "xs = [torch.tanh(item) for item in xs[-2:]]"),
    (0.5, "for one, two in zip(xs[-2:], [{t}, {u}]):\n    {v} = torch.tanh(one + two)"),
    (0.5, 'if "k1" in d:\n    {v} = {v} - d.pop("k1")'),
    (0.5, 'd.update({{"k2": {t}, "u": {u}}})'),
    (0.5, "if len(d) > 0:\n    {v} = {v} + list(d.values())[0]"),
    (0.5, "d.clear()"),
    # State of other kinds.
    (1, "self.state = (h, c)"),
    (1, "state = self.state\nif state is not None:\n    {v} = {v} + torch.tanh(state[0].mean(0)) - state[1].mean(0)"),
    (0.5, "self.state = None"),
    (0.7, "self.kind = Kind.FIRST if {c} else Kind.SECOND"),
    (0.5, "self.mean[{i}] = {f}"),
    (0.5, "self.seen[-1] = torch.tanh(self.seen[-1] + {t}.sum(0))"),
    # Parts of other kinds.
    (1, "h, c = self.cell({t}, (h, c))\n{v} = torch.relu(h)"),
    (0.7, "{v} = torch.tanh(self.rnn({t}[None])[0][0] + {u})"),
    (0.7, "out, last_h = self.rnn({t}[:, None])\n{v} = out[:, 0] + last_h[0]"),
    (0.7, "{v} = self.mapping.forward({t}) + {u}"),
    (0.7, "{v} = self.traced({t}) * {f}"),
    (0.7, "{v} = torch.tanh({v} + 0.01 * self.quantised({t}))"),
    (0.7, "{v}, n = self.mixed({t}, None, {k})"),
    (0.7, "{v}, n = self.mixed({t}, {u}, rounds)"),
    (0.5, "{v} = torch.jit.wait(torch.jit.fork(self.b, {t}))"),
    (0.5, "with torch.no_grad():\n    {v} = torch.tanh({v} - {u})"),
    # Enumerations, texts and numbers.
    (0.7, "kind = Kind.FIRST if n > {k} else Kind.SECOND"),
    (0.7, "f = f * 0.5 + kind.value"),
    (0.7, "if kind == self.kind:\n    {v} = torch.relu({v}) + 1"),
    (0.5, 's = "{{}}-{{}}".format(n, s[:2])'),
    (0.5, "n = int(n / 2) + rounds"),
    (0.5, "n = torch.nonzero({t}[:, 0] > {f}).size(0)"),
    (0.5, "f = float(torch.tanh(torch.tensor([f, {f}])).sum())"),
    (0.5, "if extra is not None:\n    {v} = {v} + extra"),
    (0.7, "if given is not None:\n    {v} = {v} + given[0]"),
    (0.7, "if given is not None and len(given[1]) > 1:\n    {v} = torch.tanh({v} - given[1][{j}])"),
    (
        0.5,
        "if given is not None:\n    first, several = given\n    {v} = {v} + torch.stack(several).sum(0) + len(several)",
    ),
    (0.5, "{v} = torch.tanh({t}.half().float() - {u}.to(torch.float64).float())"),
    (0.5, "{v} = torch.relu({t}.to(torch.bfloat16) * 2).float() + {v}"),
    (0.5, "{v} = {v} + {t}[{t} > 0].sum() * 0.01"),
    (0.5, "{v} = torch.tanh({v} + {t}[torch.argmax({t}.sum(1))])"),
    (0.5, "if {t}.dim() == 2 and {t}.dtype == torch.float32:\n    {v} = {v} * 0.5"),
)
CONDITIONS = (
    "bool({t}.sum() > {f})",
    "bool(({t} > {f}).any())",
    "{t}.mean().item() > 0.1",
    "n > {k}",
    "x.size(0) > 2",
    "len(xs) > 1",
    "self.flag",
    "self.calls % 2 == 0",
    's.startswith("a")',
    "f > 0.2 and n < 4",
    "len(d) == 1",
    "factor > 1.0",
    "kind == Kind.FIRST",
    "self.state is None",
    "q.number > {k}",
    "extra is None",
)
LOOPS = (
    "for index in range({k}):",
    "for index in range(n % 4):",
    "for index in range(x.size(0)):",
    "for index in range(rounds):",
    "for index, layer in enumerate(self.parts):",
    "for word in s[:3].split('b'):",
)
RESULTS = (
    "y, z",
    "y, z, n, s",
    "y, (z, n), [y, z]",
    "y, xs, d",
    "y, d, f",
    "[y, z]",
    '{"y": y, "z": z}',
    "y, o, p",
    "y",
    "y, self.calls, self.scale, self.name",
    "q, y",
    "y, ts, z",
    "y, (h, c)",
)
