"""TorchScript as people write it: cells, states, containers, strings, interfaces.

Annotations are evaluated here, since TorchScript does not read those of attributes as text.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Cell(nn.Module):
    """A recurrent cell whose state comes in and goes out, or is made where there is none."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cell, self.head = kind(4, 6), nn.Linear(6, 2)


class LongCell(Cell):
    def __init__(self) -> None:
        super().__init__(nn.LSTMCell)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        h, c = self.cell(x, state)
        return torch.sigmoid(self.head(h)), (h, c)


class ShortCell(Cell):
    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = self.cell(x, state)
        return torch.sigmoid(self.head(h)), h


class Packed(Cell):
    """A state that is one tensor, and empty at first."""

    def __init__(self) -> None:
        super().__init__(nn.LSTMCell)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if len(state):
            h, c = self.cell(x, (state[0], state[1]))
        else:
            h, c = self.cell(x)
        return torch.relu(self.head(h)), torch.stack([h, c])


class Layers(nn.Module):
    """A recurrent layer with all its results."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.layer = kind(4, 6, num_layers=2, batch_first=True)


class LongLayers(Layers):
    def __init__(self) -> None:
        super().__init__(nn.LSTM)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        out, (h, c) = self.layer(x, state)
        return torch.relu(out), h, c


class ShortLayers(Layers):
    def __init__(self) -> None:
        super().__init__(nn.GRU)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        out, h = self.layer(x, state)
        return torch.relu(out), h


class Kept(nn.Module):
    """State that is written to attributes, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 4)
        self.h = torch.zeros(2, 4)
        self.last = self.h
        self.register_buffer("calls", torch.zeros(1))
        self.mode = "relu"

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.h
        self.h = self.cell(x, self.h)
        self.calls += 1
        return F.relu(self.h) + self.last if self.mode == "relu" else self.h

    @torch.jit.export
    def reset(self) -> None:
        self.h = torch.zeros_like(self.h)


class Lists(nn.Module):
    """Lists of tensors of a fixed length, taken, made, changed and given."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.scales = [1.0, 2.0, 0.5]

    def forward(self, xs: list[Tensor], ks: list[int]) -> tuple[list[Tensor], Tensor]:
        made: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            made.append(layer(xs[index]))
        for index in range(len(made)):
            made[index] = made[index] * self.scales[index] + ks[-1]
        made.insert(0, xs[0])
        last = made.pop()
        made += [last * 2]
        return made, torch.cat([y * 2 for y in made], 1)


class Texts(nn.Module):
    """Texts, dictionaries, tuples with names, and early returns."""

    def forward(self, x: Tensor, mode: str = "mean") -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        sizes: dict[str, int] = {"rows": x.size(0), "columns": x.size(1)}
        for name in ["a", "b"]:
            found["{}_{}".format(name, sizes["columns"])] = x * len(name)
        if mode not in ["mean", "sum"]:
            raise ValueError("unknown mode " + mode)
        if mode.startswith("me"):
            found["y"] = x.mean(1)
            return found
        for key, value in found.items():
            found[key] = value + 1
        return found


class Pair(NamedTuple):
    first: Tensor
    second: Tensor | None


class Named(nn.Module):
    def inner(self, x: Tensor, twice: bool) -> Pair:
        return Pair(x, x * 2 if twice else None)

    def forward(self, x: Tensor) -> Tensor:
        pair = self.inner(x, True)
        second = pair.second
        assert second is not None
        alone = self.inner(second, False)
        return pair.first + second if alone.second is None else x


class Rounds(nn.Module):
    """Loops: of a fixed length, over a size that does not vary, until a number is reached, left early."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor, rounds: int) -> Tensor:
        for index in range(1, rounds, 2):
            x = torch.tanh(self.a(x)) / index
        total = x[:, 0]
        for column in range(x.size(1)):
            if column == 2:
                continue
            total = total + x[:, column] * column
        left = 10.0
        while left > 1:
            left = left / 2
            if left < 2:
                break
            total = total * left
        return total


@torch.jit.interface
class Step(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pass


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x)


class Interfaces(nn.Module):
    first: Step
    second: Step

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Doubled(), Linear()

    def forward(self, x: Tensor) -> Tensor:
        return self.second.forward(self.first.forward(x))


class Attributes(nn.Module):
    """Attributes that may be None, constants of every kind, numbers of several kinds."""

    bias: Tensor | None

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(4)) if bias else None
        self.table = {"low": 0.5, "high": 2.0}
        self.plain = torch.arange(4.0)

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.plain + torch.tensor([1, 2, 3, 4]) * self.table["low"]
        bias = self.bias
        if bias is not None:
            y = y + bias
        z = torch.zeros([x.size(0), 4], dtype=y.dtype, device=x.device)
        z[:, 1:3] = y[:, 1:3].clamp(-1, self.table["high"])
        return torch.where(z > 0, z, y).to(torch.float32) + float(int(2.9)) + 7 // 2 + (-7) % 3


class Traced(nn.Module):
    """Scripted code that calls traced, and may be traced itself."""

    def __init__(self) -> None:
        super().__init__()
        self.traced = torch.jit.trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval(), torch.ones(2, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.traced(x) + self.traced(x * 2)


class Convolutions(nn.Module):
    """In place, with branches on ranks and lists of sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            x = x.unsqueeze(0)
        y = self.act(self.n(self.a(x)))
        y += self.b(y)
        y.mul_(0.5)
        y = F.interpolate(y, scale_factor=2.0, mode="nearest")
        y = F.pad(y, [1, 1, 1, 1], mode="replicate" if y.size(3) > 4 else "constant")
        return F.adaptive_avg_pool2d(y, (2, 2)).flatten(1)


ROWS = torch.linspace(-2, 2, 8).reshape(2, 4)


def programs() -> dict[str, tuple[nn.Module, tuple[Any, ...]]]:
    """All of them by name, with arguments."""
    torch.manual_seed(0)
    h = torch.ones(2, 6)
    return {
        "lstm cell": (LongCell(), (ROWS,)),
        "lstm cell with state": (LongCell(), (ROWS, (h, h * 2))),
        "gru cell": (ShortCell(nn.GRUCell), (ROWS,)),
        "rnn cell with state": (ShortCell(nn.RNNCell), (ROWS, h)),
        "empty state": (Packed(), (ROWS, torch.zeros(0))),
        "packed state": (Packed(), (ROWS, torch.ones(2, 2, 6))),
        "lstm": (LongLayers(), (ROWS.repeat(3, 1, 1).transpose(0, 1), (torch.ones(2, 2, 6), torch.ones(2, 2, 6)))),
        "gru without state": (ShortLayers(), (ROWS.repeat(3, 1, 1), None)),
        "gru with state": (ShortLayers(), (ROWS.repeat(3, 1, 1), torch.ones(2, 3, 6))),
        "kept": (Kept(), (ROWS,)),
        "lists": (Lists(), ([ROWS, ROWS * 2, ROWS + 1], [1, 3])),
        "texts": (Texts(), (ROWS,)),
        "texts in another mode": (Texts(), (ROWS, "sum")),
        "named": (Named(), (ROWS,)),
        "rounds": (Rounds(), (ROWS, 5)),
        "interfaces": (Interfaces(), (ROWS,)),
        "attributes": (Attributes(bias=True), (ROWS,)),
        "attributes that are None": (Attributes(bias=False), (ROWS,)),
        "traced": (Traced(), (ROWS,)),
        "convolutions": (Convolutions(), (torch.linspace(-1, 1, 3 * 5 * 5).reshape(1, 3, 5, 5),)),
    }
