"""TorchScript programs that mix what whole models have: perception, speech, and what streams.

Every one is made for a width, so that the same programs can be timed at sizes of real models. The others are in
`mixed_text.py`. Annotations are evaluated here, since TorchScript does not read those of attributes as text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import trt_passes as tp
from torch import Tensor, nn


@dataclass(frozen=True)
class Mixed:
    """One program.

    Attributes:
        make: the module for a width, in eval mode; nothing else makes its numbers random.
        declared: the inputs for a width, of 1 to 6 rows, usually 3.
        call: arguments of a call for a number of rows and a width.
        wrap: what is done to the module to get TorchScript.
        whole: whether all of it is one graph.
    """

    make: Callable[[int], nn.Module]
    declared: Callable[[int], list[Any]]
    call: Callable[[int, int], tuple[Any, ...]]
    wrap: Callable[[nn.Module], Any] = torch.jit.script
    whole: bool = False


def rows(*sizes: int, dtype: torch.dtype = torch.float32) -> tp.Input:
    """An input of 1 to 6 rows."""
    return tp.Input(min_shape=(1, *sizes), opt_shape=(3, *sizes), max_shape=(6, *sizes), dtype=dtype)


def plain(*sizes: int, wide: bool = True) -> dict[str, Any]:
    """The inputs of a program that takes rows of some sizes, the last of which is the width."""
    full: Callable[[int], tuple[int, ...]] = lambda width: (*sizes, width) if wide else sizes  # noqa: E731
    return {
        "declared": lambda width: [rows(*full(width))],
        "call": lambda count, width: (torch.randn(count, *full(width)),),
    }


class Detector(nn.Module):
    """Boxes of a picture: anchors, decoding, and suppression by a loop over what is left."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, width, 3, stride=2, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, 5, 1)
        self.register_buffer("grid", torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="xy")))

    def forward(self, x: Tensor, limit: float = 0.5) -> list[dict[str, Tensor]]:
        found = self.head(torch.relu(self.b(torch.relu(self.a(x)))))
        scores = torch.sigmoid(found[:, 4]).flatten(1)
        center = (torch.sigmoid(found[:, :2]) + self.grid).flatten(2)
        half = torch.exp(found[:, 2:4].clamp(-2, 2)).flatten(2)
        boxes = torch.cat([center - half, center + half], 1).transpose(1, 2)
        results: list[dict[str, Tensor]] = []
        for picture in range(x.size(0)):
            best, order = scores[picture].topk(10)
            own = boxes[picture][order]
            kept = self.suppressed(own, limit)
            results.append({"boxes": own[kept], "scores": best[kept]})
        return results

    def suppressed(self, boxes: Tensor, limit: float) -> Tensor:
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        low, high = torch.max(boxes[:, None, :2], boxes[:, :2]), torch.min(boxes[:, None, 2:], boxes[:, 2:])
        shared = (high - low).clamp(min=0).prod(-1)
        overlap = shared / (area[:, None] + area - shared)
        alive = torch.ones(boxes.size(0), dtype=torch.bool, device=boxes.device)
        for index in range(boxes.size(0)):
            if bool(alive[index]):
                alive[index + 1 :] &= overlap[index, index + 1 :] <= limit
        return torch.nonzero(alive).squeeze(1)


class Voice(nn.Module):
    """A voice detector: context and state kept between calls, made anew when the batch or the rate changes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("basis", torch.randn(34, 1, 32) * 0.1)
        self.encoder = nn.ModuleList(
            [nn.Conv1d(17, width, 3, padding=1), nn.Conv1d(width, width, 3, stride=2, padding=1)]
        )
        self.cell, self.head = nn.LSTMCell(width, width), nn.Conv1d(width, 1, 1)
        self._state, self._context = torch.zeros(0), torch.zeros(0)
        self._rate, self._rows = 0, 0

    @torch.jit.export
    def reset_states(self, count: int = 1) -> None:
        self._state, self._context = torch.zeros(0), torch.zeros(0)
        self._rate, self._rows = 0, 0

    def forward(self, x: Tensor, rate: int) -> Tensor:
        if x.dim() == 1:
            x = x.unsqueeze(0)
        if x.dim() > 2:
            raise ValueError(f"too many dimensions: {x.dim()}")
        if rate not in [8000, 16000]:
            raise ValueError("a rate of 8000 or 16000 is needed")
        if self._rate != rate or self._rows != x.size(0):
            self.reset_states(x.size(0))
        if len(self._context) == 0:
            self._context = torch.zeros(x.size(0), 16, device=x.device)
        sound = torch.cat([self._context, x], 1)
        spectrum = F.conv1d(F.pad(sound[:, None], (0, 16), mode="reflect"), self.basis, stride=16)
        y = torch.sqrt(spectrum[:, :17] ** 2 + spectrum[:, 17:] ** 2 + 1e-6)
        for layer in self.encoder:
            y = torch.relu(layer(y))
        last = y.mean(-1)
        if len(self._state):
            h, c = self.cell(last, (self._state[0], self._state[1]))
        else:
            h, c = self.cell(last)
        self._state = torch.stack([h, c])
        self._context = sound[:, -16:]
        self._rate, self._rows = rate, x.size(0)
        return torch.sigmoid(self.head(torch.relu(h[:, :, None]))).squeeze(1).mean(1, keepdim=True)


class Recogniser(nn.Module):
    """Streaming recognition: a recurrent layer whose state is Optional, and letters of what is not blank."""

    state: tuple[Tensor, Tensor] | None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.front = nn.Conv1d(8, width, 3, padding=1)
        self.rnn, self.out = nn.LSTM(width, width, num_layers=2, batch_first=True), nn.Linear(width, 6)
        self.letters = ["", "a", "b", "c", "d", " "]
        self.state = None
        self.last: list[int] = []

    def forward(self, x: Tensor) -> tuple[list[str], Tensor]:
        y = F.gelu(self.front(x)).transpose(1, 2)
        out, state = self.rnn(y, self.state)
        self.state = state
        scores = F.log_softmax(self.out(out), -1)
        texts: list[str] = []
        best = scores.argmax(-1)
        for row in range(best.size(0)):
            text, before = "", 0
            for step in range(best.size(1)):
                letter = int(best[row, step])
                if letter != before and letter != 0:
                    text += self.letters[letter]
                before = letter
            texts.append(text)
        return texts, scores

    @torch.jit.export
    def reset(self) -> None:
        self.state = None


class Features(nn.Module):
    """A spectrogram, mel bands, their logarithm and what follows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(64))
        self.register_buffer("mel", torch.rand(33, 12))
        self.layers = nn.Sequential(nn.Linear(12, width), nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spectrum = torch.stft(x, 64, hop_length=16, window=self.window, return_complex=True)
        power = spectrum.abs().pow(2).transpose(1, 2)
        logs = torch.log(torch.clamp(power @ self.mel, min=1e-5))
        logs = (logs - logs.mean(1, keepdim=True)) / (logs.std(1, keepdim=True) + 1e-3)
        return logs, self.layers(logs)


class Heads(nn.Module):
    """A dictionary and lists of modules, in loops, with a branch on their names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.Identity(), nn.LayerNorm(width)])
        self.heads = nn.ModuleDict({"kind": nn.Linear(width, 5), "box": nn.Linear(width, 4)})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for index, (layer, norm) in enumerate(zip(self.stem, self.norms)):  # noqa: B905
            y = torch.relu(norm(layer(x)))
            x = x + y if index > 0 else y
        found: dict[str, Tensor] = {}
        for name, head in self.heads.items():
            y = head(x)
            found[name] = torch.sigmoid(y) if name == "box" else torch.softmax(y, -1)
        found["first"] = self.stem[0](x)
        return found


class Blocks(nn.Module):
    """Properties, a length, and parts that are called by their place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
        self.factor = 2.0

    @property
    def scale(self) -> float:
        return self.factor * len(self.parts)

    def forward(self, x: Tensor) -> Tensor:
        y = self.parts[0](x) * self.scale
        y = self.parts[-1](y) / (1 + self.scale)
        for part in self.parts:
            y = y + torch.tanh(part(y))
        return y


class Colour(Enum):
    RED = 1
    BLUE = 2


class Coloured(nn.Module):
    """An enumeration as an attribute, compared in branches."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.colour: Colour = Colour.BLUE

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        y = torch.relu(self.a(x))
        if self.colour == Colour.RED:
            y = torch.tanh(self.b(y))
        elif self.colour == Colour.BLUE:
            y = torch.sigmoid(self.b(y)) * 2
        return y - x, self.colour.value


@torch.jit.script
class Running:
    """A mean that runs."""

    def __init__(self, start: Tensor) -> None:
        self.total = start
        self.count = 0

    def add(self, x: Tensor) -> None:
        self.total = self.total + x
        self.count += 1

    def mean(self) -> Tensor:
        return self.total / max(self.count, 1)


class Averages(nn.Module):
    """An object of a class of TorchScript's own, made and changed in a call."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        running = Running(torch.zeros_like(x))
        y = x
        for layer in self.layers:
            y = torch.tanh(layer(y)) + x
            running.add(y)
        return torch.softmax(running.mean(), -1), running.count


class Scored(NamedTuple):
    score: Tensor
    parts: list[Tensor]
    rows: int


class Named(nn.Module):
    """Results with names, one in another."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Scored:
        y = torch.relu(self.a(x))
        z = self.b(y)
        return Scored(torch.softmax(z, -1), [y * 2, z + 1], 4)


class Cells(nn.Module):
    """Cells of three kinds in layers, over steps of a fixed number, with states as lists of tuples."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.long = nn.ModuleList([nn.LSTMCell(width, width), nn.LSTMCell(width, width)])
        self.gru, self.rnn = nn.GRUCell(width, width), nn.RNNCell(width, width, nonlinearity="relu")

    def forward(
        self, x: Tensor, states: list[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        if states is None:
            zeros = torch.zeros_like(x[:, 0])
            states = [(zeros, zeros), (zeros, zeros)]
        h, g = x[:, 0], torch.zeros_like(x[:, 0])
        for step in range(x.size(1)):
            h = x[:, step]
            for index, cell in enumerate(self.long):
                states[index] = cell(h, states[index])
                h = states[index][0]
            g = self.gru(h, g)
        return self.rnn(g, h), states


class Pyramid(nn.Module):
    """A picture made smaller and larger again, to the sizes that it had."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)])
        self.up = nn.ModuleList([nn.Conv2d(2 * width, width, 3, padding=1), nn.Conv2d(width + 3, 2, 1)])
        self.norm = nn.GroupNorm(2, width)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        y = x
        for layer in self.down:
            kept.append(y)
            y = F.max_pool2d(torch.relu(self.norm(layer(y))), 2)
        for layer in self.up:
            skip = kept.pop()
            y = F.interpolate(y, size=[skip.size(2), skip.size(3)], mode="bilinear", align_corners=False)
            y = layer(torch.cat([y, skip], 1))
        return y


class Inner(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Linear(width, width)

    def forward(self, x: Tensor, flip: bool) -> Tensor:
        y = torch.relu(self.a(x))
        if flip:
            y = y.flip(-1)
        return y


class HoldsScript(nn.Module):
    """Traced, with a scripted module in it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.b = torch.jit.script(Inner(width)), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.b(self.inner(x, True))) + self.inner(x, False)


class HoldsTrace(nn.Module):
    """Scripted, with a traced module in a loop in it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)).eval()
        self.inner = torch.jit.trace(layers, torch.ones(2, width))

    def forward(self, x: Tensor, times: int = 2) -> Tensor:
        for _ in range(times):
            x = torch.relu(self.inner(x)) + x
        return x


class Halves(nn.Module):
    """Weights and arithmetic in half precision, results in single."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width).half(), nn.Linear(width, width).half()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x.half()))
        return torch.softmax(self.b(y).float(), -1, dtype=torch.float32)


def traced(*inputs: Tensor) -> Callable[[nn.Module], Any]:
    """What traces a module with examples."""
    return lambda model: torch.jit.trace(model, inputs)


def frozen(model: nn.Module) -> Any:
    """A module scripted and frozen."""
    return torch.jit.freeze(torch.jit.script(model))


def optimised(model: nn.Module) -> Any:
    """A module scripted, frozen and changed for inference."""
    return torch.jit.optimize_for_inference(torch.jit.script(model))
