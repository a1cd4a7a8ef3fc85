"""More TorchScript programs that mix what whole models have: text, search, state and containers; see `mixed.py`."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Tokens(nn.Module):
    """A sentence cut into words of a vocabulary, which grows, and a recurrent layer over their embeddings."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vocabulary: dict[str, int] = {"<unk>": 0, "the": 1, "cat": 2, "sat": 3, "mat": 4}
        self.embedding, self.rnn = nn.Embedding(16, width), nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, 3)

    def ids(self, text: str, add: bool) -> list[int]:
        found: list[int] = []
        for word in text.lower().strip().split(" "):
            if add and word not in self.vocabulary and len(self.vocabulary) < 16:
                self.vocabulary[word] = len(self.vocabulary)
            found.append(self.vocabulary.get(word, 0))
        return found

    def forward(self, text: str, x: Tensor, add: bool = False) -> tuple[Tensor, list[int]]:
        ids = self.ids(text, add)
        y = self.embedding(torch.tensor(ids, device=x.device))[None] + x[:, None]
        out, _ = self.rnn(y)
        return F.softmax(self.head(torch.tanh(out[:, -1])), -1), ids


class Beam(nn.Module):
    """Search with beams: a cell, the best of all continuations, and the words gathered along."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.words = 11
        self.embedding, self.cell = nn.Embedding(self.words, width), nn.LSTMCell(width, width)
        self.out = nn.Linear(width, self.words)

    def forward(self, x: Tensor, beams: int = 3, steps: int = 4) -> tuple[Tensor, Tensor]:
        count = x.size(0)
        h = x.repeat_interleave(beams, 0)
        c = torch.zeros_like(h)
        words = torch.zeros(count * beams, 1, dtype=torch.long, device=x.device)
        scores = torch.full([count, beams], -math.inf, device=x.device)
        scores[:, 0] = 0
        for _ in range(steps):
            h, c = self.cell(self.embedding(words[:, -1]), (h, c))
            each = F.log_softmax(self.out(torch.tanh(h)), -1).reshape(count, beams, self.words)
            scores, places = (scores[:, :, None] + each).flatten(1).topk(beams, -1)
            before = torch.div(places, self.words, rounding_mode="floor")
            chosen = (before + torch.arange(count, device=x.device)[:, None] * beams).flatten()
            h, c = h[chosen], c[chosen]
            words = torch.cat([words[chosen], (places % self.words).flatten()[:, None]], 1)
        return words[:, 1:].reshape(count, beams, steps), scores


class Checked(nn.Module):
    """Assertions and errors with messages, a part that is only for Python, and numbers of every kind."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.width = width

    @torch.jit.unused
    def plot(self, x: Tensor) -> Tensor:
        return x.cpu() * math.nan

    def forward(
        self, x: Tensor, scale: float, times: int, name: str = "relu", twice: bool = False, shift: float | None = None
    ) -> Tensor:
        assert x.size(-1) == self.width, f"{self.width} columns are needed"
        if times < 0:
            self.plot(x)
        if name == "relu":
            y = torch.relu(self.a(x))
        elif name == "tanh":
            y = torch.tanh(self.a(x))
        else:
            raise ValueError("unknown: " + name)
        for index in range(times):
            y = torch.sigmoid(self.b(y)) * scale + index
        if shift is not None:
            y = y + shift
        return y * 2 if twice else y


class Nested(nn.Module):
    """Containers in containers, taken and given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, 2)

    def forward(
        self, given: dict[str, Tensor], pair: tuple[Tensor, tuple[Tensor, int]]
    ) -> dict[str, tuple[Tensor, list[Tensor]]]:
        found: dict[str, tuple[Tensor, list[Tensor]]] = {}
        first, (second, times) = pair
        for key in sorted(given.keys()):
            y = torch.relu(self.a(given[key] + first)) * times
            found[key + "_"] = (self.b(y), [y - second, y.mean(-1)])
        return found


@torch.jit.interface
class Activation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pass


class Swish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class Maxout(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.max(self.a(x), self.b(x))


class Exchanged(nn.Module):
    """Parts behind an interface."""

    first: Activation
    second: Activation

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.first, self.second = nn.Linear(width, width), Swish(), Maxout(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first.forward(self.a(x))
        return self.second.forward(y) - self.first.forward(y)


class Encoder(nn.Module):
    """Transformer layers with a mask of lengths and positions that are made when they are too short."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=True, norm_first=True)
        self.width = width
        self.places = self.made(4)

    def made(self, count: int) -> Tensor:
        place = torch.arange(count)[:, None] * torch.exp(torch.arange(0, self.width, 2) * (-math.log(1e4) / self.width))
        return torch.stack([torch.sin(place), torch.cos(place)], -1).flatten(1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if self.places.size(0) < x.size(1):
            self.places = self.made(2 * x.size(1)).to(x.device)
        y = x + self.places[: x.size(1)]
        mask = torch.arange(x.size(1), device=x.device)[None] >= lengths[:, None]
        return self.layer(y, src_key_padding_mask=mask)


class Decoder(nn.Module):
    """One step of attention over all steps before: keys and values in a list of tuples that comes and goes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.ModuleList([nn.Linear(width, 3 * width) for _ in range(2)])
        self.out = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])

    def forward(
        self, x: Tensor, cache: list[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        kept: list[tuple[Tensor, Tensor]] = []
        for index, (qkv, out) in enumerate(zip(self.qkv, self.out)):  # noqa: B905
            q, k, v = qkv(x).chunk(3, -1)
            if cache is not None:
                k, v = torch.cat([cache[index][0], k], 1), torch.cat([cache[index][1], v], 1)
            kept.append((k, v))
            x = x + out(F.scaled_dot_product_attention(q, k, v))
        return x, kept


class Path(nn.Module):
    """The best path through scores of steps, as conditional random fields look for it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, 4)
        self.moves = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, list[list[int]]]:
        scores = self.out(torch.tanh(x))
        total = scores[:, 0]
        back: list[Tensor] = []
        for step in range(1, scores.size(1)):
            best, place = (total[:, :, None] + self.moves).max(1)
            total = best + scores[:, step]
            back.append(place)
        ends = total.argmax(-1)
        paths: list[list[int]] = []
        for row in range(x.size(0)):
            here = int(ends[row])
            path = [here]
            for step in range(len(back)):
                here = int(back[len(back) - 1 - step][row, here])
                path.insert(0, here)
            paths.append(path)
        return total, paths


class Messages(nn.Module):
    """Messages along the edges of a graph, gathered and added up, in rounds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.message, self.update = nn.Linear(2 * width, width), nn.GRUCell(width, width)

    def forward(self, x: Tensor, edges: Tensor, rounds: int = 2) -> Tensor:
        y = x
        for _ in range(rounds):
            told = torch.relu(self.message(torch.cat([y[edges[0]], y[edges[1]]], -1)))
            total = torch.zeros_like(y)
            total.index_add_(0, edges[1], told)
            y = self.update(total, y)
        return y


class Exits(nn.Module):
    """Leaves early when it is sure, and counts how often."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
        self.heads = nn.ModuleList([nn.Linear(width, 3) for _ in range(3)])
        self.exits = [0, 0, 0]

    def forward(self, x: Tensor, sure: float = 0.6) -> tuple[Tensor, int]:
        y = x
        chosen = torch.zeros(x.size(0), 3, device=x.device)
        taken = 2
        done = False
        for index, (layer, head) in enumerate(zip(self.layers, self.heads)):  # noqa: B905
            if not done:
                y = torch.relu(layer(y)) + y
                chosen = torch.softmax(head(y), -1)
                if bool(chosen.max(-1)[0].min() > sure):
                    done = True
                    taken = index
        self.exits[taken] += 1
        return chosen, taken


class Waves(nn.Module):
    """A filter of frequencies, with complex numbers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.filter = nn.Parameter(torch.randn(17, 2))
        self.out = nn.Linear(32, width)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(torch.tanh(x) * 2) * torch.view_as_complex(self.filter)
        return torch.relu(self.out(torch.fft.irfft(spectrum, n=32)))


def activated(x: Tensor, name: str = "gelu", slope: float = 0.1) -> Tensor:
    """A function with defaults, which programs call."""
    if name == "gelu":
        return F.gelu(x)
    return F.leaky_relu(x, slope)


class Functions(nn.Module):
    """Functions, comprehensions, texts with numbers, mathematics of numbers, and several methods on one part."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.slopes = [0.1, 0.2]

    @torch.jit.export
    def encode(self, x: Tensor) -> Tensor:
        return activated(self.a(x), "leaky", self.slopes[-1])

    @torch.jit.export
    def decode(self, x: Tensor) -> Tensor:
        return activated(self.b(x))

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        parts = [self.decode(self.encode(part)) * (1 + index) for index, part in enumerate(x.unbind(1))]
        joined = torch.stack([torch.tanh(part) for part in parts], 1)
        factor = math.sqrt(float(len(parts))) + math.floor(2.5) - abs(-1)
        return joined * factor, f"{len(parts)} parts of {x.size(-1)}, {self.slopes[0]}"


class Sorted(nn.Module):
    """Rows sorted by lengths, packed, run through a recurrent layer and put back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rnn, self.out = nn.GRU(width, width, batch_first=True, bidirectional=True), nn.Linear(2 * width, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        order = torch.argsort(lengths, descending=True, stable=True)
        packed = nn.utils.rnn.pack_padded_sequence(x[order], lengths[order].cpu(), batch_first=True)
        out, _ = self.rnn(packed)
        padded, _ = nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=x.size(1))
        back = torch.zeros_like(order)
        back[order] = torch.arange(order.size(0), device=x.device)
        return torch.softmax(self.out(torch.relu(padded[back])), -1)


class Statistics(nn.Module):
    """Statistics of what was seen, in buffers that are written, and a history that is cut."""

    history: list[Tensor]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.history = []
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        self.seen += x.size(0)
        self.mean += (x.mean(0) - self.mean) / self.seen
        y = torch.relu(self.out(x - self.mean))
        self.history.append(y.mean(0))
        if len(self.history) > 3:
            self.history.pop(0)
        return y + torch.stack(self.history).mean(0)
