"""Small programs as users write them: through every front end, at all ends of their ranges, saved and loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp
from torch import nn
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Case:
    """A module, what it takes, and which front ends take it.

    Attributes:
        make: makes the module.
        shapes: of the arguments; a text names a size of `sizes`.
        sizes: smallest, usual and largest.
        dtypes: of the arguments; float32 for those beyond the end. Whole numbers are 0 to 3.
        fronts: besides "dynamo".
    """

    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int | str, ...], ...]
    sizes: Mapping[str, tuple[int, int, int]] = field(default_factory=lambda: {"n": (1, 4, 9)})
    dtypes: tuple[torch.dtype, ...] = ()
    fronts: tuple[str, ...] = ("torch_compile", "ts", "fx")

    def inputs(self) -> list[tp.Input]:
        return [
            tp.Input(
                min_shape=self.shape(index, 0),
                opt_shape=self.shape(index, 1),
                max_shape=self.shape(index, 2),
                dtype=self.dtype(index),
            )
            for index in range(len(self.shapes))
        ]

    def shape(self, index: int, end: int) -> tuple[int, ...]:
        return tuple(self.sizes[d][end] if isinstance(d, str) else d for d in self.shapes[index])

    def dtype(self, index: int) -> torch.dtype:
        return self.dtypes[index] if index < len(self.dtypes) else torch.float32

    def arguments(self, end: int) -> list[torch.Tensor]:
        torch.manual_seed(end)
        return [self._tensor(self.shape(index, end), self.dtype(index)) for index in range(len(self.shapes))]

    @staticmethod
    def _tensor(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.randn(shape).to(dtype) if dtype.is_floating_point else torch.randint(0, 4, shape).to(dtype)


class Model(nn.Module):
    """A module of one function of itself and its arguments; `parts` are its attributes."""

    def __init__(self, body: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, torch.Tensor):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)
        self.body = body

    def forward(self, *args: torch.Tensor) -> Any:
        return self.body(self, *args)


class Boxes(NamedTuple):
    boxes: torch.Tensor
    scores: torch.Tensor


def boxes(m, x):
    scores, _ = x[..., 4:].sigmoid().max(-1)
    best, index = scores.topk(min(3, x.shape[1]), dim=1)
    corners = torch.cat([x[..., :2] - x[..., 2:4].exp() / 2, x[..., :2] + x[..., 2:4].exp() / 2], -1)
    return Boxes(corners.gather(1, index[..., None].expand(-1, -1, 4)), best)


def kept_boxes(m, x):
    return x[x[:, 4] > 0.2][:, :4].clamp(-1, 1)


def experts(m, x):
    weight, chosen = m.gate(x).softmax(-1).topk(2, -1)
    result = torch.zeros_like(x)
    for index, expert in enumerate(m.experts):
        share = (weight * (chosen == index)).sum(-1, keepdim=True)
        result = result + share * expert(x)
    return result


def routed(m, x):
    chosen = m.gate(x).argmax(-1)
    result = torch.zeros_like(x)
    for index, expert in enumerate(m.experts):
        rows = (chosen == index).nonzero().squeeze(1)
        result = result.index_add(0, rows, expert(x[rows]))
    return result


def early_exit(m, x):
    first = m.first(x)
    sure = first.softmax(-1).amax() > 0.5
    return torch.cond(sure, lambda a, b, w: a * 1, lambda a, b, w: a + b.tanh() @ w.t(), (first, x, m.second.weight))


def beam(m, scores, logits):
    _, width, words = logits.shape
    total = (scores[..., None] + logits.log_softmax(-1)).flatten(1)
    best, place = total.topk(width, -1)
    return best, place // words, place % words


def recurrent(m, x):
    h = x.new_zeros(x.shape[0], 5)
    states = []
    for step in range(4):
        h = torch.tanh(m.into(x[:, step]) + m.again(h))
        states.append(h)
    return torch.stack(states, 1), h


def averages(m, x):
    m.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
    m.count.add_(1)
    return (x - m.mean) / m.count


def masked_attention(m, x, length):
    mask = torch.arange(x.shape[1], device=x.device) < length[:, None].clamp(min=1)
    scores = x @ x.mT / math.sqrt(x.shape[-1])
    return scores.masked_fill(~mask[:, None], float("-inf")).softmax(-1) @ x


def padded_windows(m, x):
    pad = -x.shape[1] % 4
    y = F.pad(x, (0, 0, 0, pad)).unflatten(1, (-1, 4))
    return (y - y.mean(2, keepdim=True)).flatten(1, 2)[:, : x.shape[1]]


def resized(m, x, y):
    return F.interpolate(x, size=y.shape[-2:], mode="bilinear", align_corners=False) + y


def positions(m, x):
    half = x.shape[-1] // 2
    rate = torch.exp(torch.arange(half, device=x.device) * -(math.log(100.0) / half))
    angle = torch.arange(x.shape[1], device=x.device)[:, None] * rate
    return x + torch.cat([angle.sin(), angle.cos()], -1)


def rotary(m, x):
    a, b = x[..., ::2], x[..., 1::2]
    angle = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)[:, None] / 10 ** torch.arange(a.shape[-1])
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).flatten(-2)


def windows(m, x):
    return x.unfold(1, 3, 2).mean(-1), x.unfold(-1, 2, 1).amax(-1)


def prefixes(m, x):
    return x.cumsum(1), x.sigmoid().cumprod(1), x.cummax(1).values, x.logcumsumexp(1)


def edges(m, x, start, end):
    out = torch.zeros_like(x).index_add(0, end % x.shape[0], x[start % x.shape[0]])
    degree = torch.zeros(x.shape[0]).index_add(0, end % x.shape[0], torch.ones(end.shape[0]))
    return out / degree.clamp(min=1)[:, None]


def halves(m, x):
    k = math.ceil(x.shape[1] / 2)
    return x[:, :k].topk(k, 1).values, x[:, k:]


def einsums(m, x, y):
    return torch.einsum("nik,njk->nij", x, y), torch.einsum("nik,nil->kl", x, y)


def last_valid(m, x, length):
    place = (length.long() - 1).clamp(0, x.shape[1] - 1)
    return x[torch.arange(x.shape[0]), place]


def crossing(m, x):
    sign = (x[:, 1:] * x[:, :-1] < 0).float()
    return sign.sum(1), F.pad(sign, (1, 0)).cumsum(1)


def histogram(m, x):
    return F.one_hot((x * 2).long().clamp(-3, 3) + 3, 7).sum(1), (x[..., None] > torch.linspace(-1, 1, 5)).sum(1)


def tied(m, x):
    return F.linear(m.embed(x), m.embed.weight)


def shifted(m, x):
    right = torch.roll(x, 1, 1)
    right[:, 0] = 0
    return right * 2 - x


def written_view(m, x):
    y = x * 1
    y[:, ::2] += 1
    y[..., -1:].mul_(3)
    y.transpose(0, 1)[0] = 7
    return y


def written_input(m, x):
    x[:, -1] = x.sum(1)
    return x / x.shape[1]


def standardised(m, x):
    return (x - x.mean(1, keepdim=True)) * x.shape[1] ** -0.5 / (x.std(1, keepdim=True, unbiased=False) + 1e-3)


def losses(m, x, y):
    return F.cross_entropy(x, y), F.cross_entropy(x, y, reduction="none", label_smoothing=0.1)


def spread(m, x):
    return (
        x.median(1).values,
        x.quantile(0.25, dim=1),
        x.amax(1) - x.amin(1),
        x.argmax(1),
        x.argsort(dim=1, stable=True),
    )


def bilinear_points(m, x, y):
    grid = y[..., None, :].tanh()
    return F.grid_sample(x, grid, align_corners=True)[..., 0]


def distances(m, x, y):
    return torch.cdist(x, y), (x[:, :, None] - y[:, None]).abs().sum(-1).argmin(-1)


def bits(m, x):
    x = x.long()
    return x & 1, x | 2, x ^ 3, x << 1, x >> 1, (x % 2 == 0) & (x > 1), ~x


def triangle(m, x):
    n = x.shape[1]
    mask = torch.ones(n, n, device=x.device).tril().bool()
    return x.masked_fill(~mask[..., : x.shape[2]], 0.0) if x.shape[2] <= n else x


def segments(m, x, y):
    total = torch.zeros(4, x.shape[1]).scatter_add(0, y[:, None].expand(-1, x.shape[1]), x)
    most = torch.full((4, x.shape[1]), -1e4).scatter_reduce(0, y[:, None].expand(-1, x.shape[1]), x, "amax")
    return total, most


def gated(m, x):
    a, b = m.both(x).chunk(2, -1)
    return F.silu(a) * b, (a * b.sigmoid()).sum(-1, keepdim=True)


def spectral(m, x):
    return (m.weight / m.weight.norm()) @ x.mT, torch.fft.rfft(x).abs()


def nested(m, x):
    parts = {"even": x[:, ::2], "rest": [x[:, 1::2], (x.sum(), x.shape[0])]}
    return {"parts": parts, "none": None, "size": x.shape[1] * 2}


def dynamic_filter(m, x):
    weight = m.make(x.mean(1)).view(-1, 1, 3)
    return F.conv1d(
        x.mT.reshape(1, -1, x.shape[1]),
        weight.repeat_interleave(x.shape[2], 0),
        groups=weight.shape[0] * x.shape[2],
        padding=1,
    )


def layers(size: int, count: int = 3) -> nn.ModuleList:
    torch.manual_seed(1)
    return nn.ModuleList(nn.Linear(size, size) for _ in range(count))


def linear(i: int, o: int) -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(i, o)


N, NK = ("n", 6), {"n": (1, 4, 9), "k": (2, 5, 8)}
NE = {"n": (2, 4, 9), "e": (1, 5, 12)}
LONG = torch.int64
CASES: dict[str, Case] = {
    "boxes": Case(lambda: Model(boxes), (("n", "k", 8),), NK, fronts=("torch_compile", "fx")),
    "kept boxes": Case(lambda: Model(kept_boxes), (N,)),
    "experts": Case(lambda: Model(experts, gate=linear(6, 3), experts=layers(6)), (N,)),
    "routed": Case(lambda: Model(routed, gate=linear(6, 3), experts=layers(6)), (N,), fronts=()),
    "early exit": Case(lambda: Model(early_exit, first=linear(6, 6), second=linear(6, 6)), (N,), fronts=()),
    "beam": Case(lambda: Model(beam), (("n", 3), ("n", 3, 7))),
    "recurrent": Case(lambda: Model(recurrent, into=linear(6, 5), again=linear(5, 5)), (("n", 4, 6),)),
    "averages": Case(lambda: Model(averages, mean=torch.zeros(6), count=torch.tensor(1.0)), (N,)),
    "masked attention": Case(lambda: Model(masked_attention), (("n", "k", 6), ("n",)), NK, (torch.float32, LONG)),
    "padded windows": Case(lambda: Model(padded_windows), (("n", "k", 3),), {"n": (1, 2, 3), "k": (5, 6, 8)}),
    "resized": Case(lambda: Model(resized), ((1, 2, 5, 4), (1, 2, "n", "k")), {"n": (3, 6, 9), "k": (2, 8, 9)}),
    "positions": Case(lambda: Model(positions), (("n", "k", 6),), NK),
    "rotary": Case(lambda: Model(rotary), (("n", "k", 6),), NK),
    "windows": Case(lambda: Model(windows), (("n", "k", 6),), {"n": (1, 2, 3), "k": (5, 6, 11)}),
    "prefixes": Case(lambda: Model(prefixes), (("n", 6),)),
    "edges": Case(
        lambda: Model(edges), (N, ("e",), ("e",)), {"n": (2, 4, 9), "e": (1, 5, 12)}, (torch.float32, LONG, LONG)
    ),
    "halves": Case(lambda: Model(halves), ((2, "k"),), {"k": (3, 6, 9)}, fronts=("torch_compile", "ts")),
    "einsums": Case(lambda: Model(einsums), (("n", "k", 6), ("n", "k", 6)), NK),
    "last valid": Case(lambda: Model(last_valid), (("n", "k", 6), ("n",)), NK, (torch.float32, torch.int32)),
    "crossing": Case(lambda: Model(crossing), (("n", 7),)),
    "histogram": Case(lambda: Model(histogram), (("n", 7),)),
    "tied": Case(lambda: Model(tied, embed=nn.Embedding(5, 6)), (("n", 3),), dtypes=(LONG,)),
    "shifted": Case(lambda: Model(shifted), (("n", "k"),), NK),
    "written view": Case(lambda: Model(written_view), (("n", 3, 6),)),
    "written input": Case(lambda: Model(written_input), (("n", "k"),), NK),
    "standardised": Case(lambda: Model(standardised), (("n", "k"),), NK),
    "losses": Case(lambda: Model(losses), (("n", 6), ("n",)), dtypes=(torch.float32, LONG)),
    "spread": Case(lambda: Model(spread), (("n", 7),)),
    "points": Case(lambda: Model(bilinear_points), ((2, 3, 5, 4), (2, "n", 2))),
    "distances": Case(lambda: Model(distances), ((2, "n", 3), (2, "k", 3)), NK),
    "bits": Case(lambda: Model(bits), (("n", 6),), dtypes=(torch.int32,)),
    "triangle": Case(lambda: Model(triangle), ((2, "n", "n"),), {"n": (2, 4, 9)}),
    "segments": Case(lambda: Model(segments), (N, ("n",)), dtypes=(torch.float32, LONG)),
    "gated": Case(lambda: Model(gated, both=linear(6, 8)), (("n", "k", 6),), NK),
    "spectral": Case(lambda: Model(spectral, weight=torch.ones(3, 6)), (("n", 6),)),
    "nested": Case(lambda: Model(nested), (("n", 6),), fronts=("torch_compile", "fx")),
    "dynamic filter": Case(
        lambda: Model(dynamic_filter, make=linear(4, 3)), (("n", "k", 4),), {"n": (2, 3, 4), "k": (3, 5, 8)}
    ),
}


def compiled(case: Case, front: str) -> tuple[nn.Module, Any]:
    """The module, in PyTorch and compiled, with equal weights."""
    torch.manual_seed(0)
    model = case.make().eval()
    torch.manual_seed(0)
    twin = case.make().eval()
    return model, tp.compile(twin, case.inputs(), ir=front, min_block_size=1, executor="reference")


def check(case: Case, model: nn.Module, module: Any) -> None:
    for end in (1, 0, 2):
        given, expected_given = case.arguments(end), case.arguments(end)
        expected = [*pytree.tree_leaves(model(*expected_given)), *expected_given]
        found = [*pytree.tree_leaves(module(*given)), *given]
        expected, found = ([leaf for leaf in leaves if leaf is not None] for leaves in (expected, found))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_program_is_right_compiled_and_loaded(name: str, tmp_path: Any) -> None:
    case = CASES[name]
    model, module = compiled(case, "dynamo")
    check(case, model, module)
    tp.save(compiled(case, "dynamo")[1], tmp_path / "model.pt2")
    check(
        case, case.make().eval() if name == "averages" else model, tp.load(tmp_path / "model.pt2", executor="pytorch")
    )


@pytest.mark.long
@pytest.mark.parametrize(("name", "front"), [(name, front) for name, case in CASES.items() for front in case.fronts])
def test_other_front_ends_agree(name: str, front: str) -> None:
    case = CASES[name]
    check(case, *compiled(case, front))
