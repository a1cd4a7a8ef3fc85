"""A selection of `make halves`, and the rule that it is made of."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.half_precision.__main__ import main
from tests.half_precision.judge import fault, findings

HALVES = [torch.float16, torch.bfloat16]

COMPOSITES = {
    "std": lambda x: x.std(-1),
    "variance and mean": lambda x: torch.var_mean(x, 0),
    "product": lambda x: x.prod(-1),
    "running product": lambda x: x.cumprod(-1),
    "running sum": lambda x: x.cumsum(-1),
    "mean": lambda x: x.mean(),
    "norm of a large order": lambda x: torch.linalg.vector_norm(x, 5, -1),
    "euclidean distance": lambda x: torch.dist(x, x.flip(0)),
    "softplus": lambda x: F.softplus(x, beta=0.3),
    "mish": F.mish,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "celu": lambda x: F.celu(x, 0.7),
    "elu": lambda x: torch.ops.aten.elu(x, 0.7, 1.3, 0.6),
    "logit": lambda x: torch.logit(x, 1e-3),
    "log sigmoid": F.logsigmoid,
    "expm1": torch.expm1,
    "log1p": lambda x: torch.log1p(x.abs()),
    "log10": lambda x: torch.log10(x.abs()),
    "power": lambda x: x**4,
    "atan2": lambda x: torch.atan2(x, x.flip(0)),
    "ldexp": lambda x: torch.ldexp(x, torch.tensor(17)),
    "round to decimals": lambda x: torch.round(x, decimals=2),
    "floor of a quotient": lambda x: torch.div(x, x.flip(0), rounding_mode="floor"),
    "scaled sum": lambda x: torch.add(x, x, alpha=-0.9),
    "scaled difference": lambda x: torch.sub(x, x, alpha=0.99),
    "scaled product": lambda x: torch.addmm(x, x[:, :5], x, beta=0.2, alpha=0.01),
    "scaled products": lambda x: torch.baddbmm(x[None], x[None, :, :5], x[None], beta=0, alpha=0.01),
    "logsumexp": lambda x: x.logsumexp(-1),
    "softmax": lambda x: x.softmax(-1),
    "log softmax": lambda x: x.log_softmax(-1),
    "group norm": lambda x: F.group_norm(x[None], 1, x[:, 0], x[:, 1]),
    "layer norm": lambda x: F.layer_norm(x, (6,)),
    "average pooling": lambda x: F.avg_pool2d(x[None], 2, divisor_override=3),
    "adaptive average pooling": lambda x: F.adaptive_avg_pool1d(x[None], 4),
    "scaled index add": lambda x: x.index_add(0, torch.tensor([0, 2]), x[:2], alpha=0.3),
    "cross entropy": lambda x: F.cross_entropy(x, torch.tensor([0, 1, 2, 3, 4])),
    "lerp": lambda x: torch.lerp(x, x.flip(0), 0.3),
    "addcmul": lambda x: torch.addcmul(x, x, x.flip(0), value=0.01),
    "linspace": lambda x: torch.linspace(-3, 500, 41, dtype=x.dtype) + x[0, 0],
}


class Module(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("name", COMPOSITES)
def test_composite_operators_are_as_exact_as_in_pytorch(name):
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    for dtype in HALVES:
        assert findings(Module(COMPOSITES[name]), (x,), dtype) == []


def test_the_sum_of_many_losses_does_not_overflow():
    scores, labels = torch.zeros(9000, 8), torch.zeros(9000, dtype=torch.long)
    scores[:, 1] = 30
    assert findings(Module(lambda x: F.cross_entropy(x, labels)), (scores,), torch.float16) == []


def test_overflows_and_roundings_are_found():
    exact = torch.tensor([320.0, 1.0], dtype=torch.float64)
    eager = exact.half()
    assert fault(eager, eager, exact) is None
    assert "inf in place of 320" in fault(torch.tensor([torch.inf, 1]).half(), eager, exact)
    assert "in place of 1," in fault(torch.tensor([320, 1.02]).half(), eager, exact)
    assert fault(eager, torch.tensor([torch.inf, 1]).half(), exact) is None


def test_the_command_counts(capsys):
    assert main(["std", "--most", "1", "--processes", "1"]) == 0
    assert "2 right" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("head", [8, 16, 64])
def test_attention_with_scores_of_every_size(head, dtype):
    def attention(x):
        query, key, value = x.unbind()
        masked = F.scaled_dot_product_attention(query, key, value, query[:, :9, :1] * key[..., 0][:, None])
        return F.scaled_dot_product_attention(query, key, value), masked

    x = torch.randn(3, 2, 9, head, generator=torch.Generator().manual_seed(1))
    assert not findings(Module(attention), (x,), dtype, rounds_parts=True)


def test_the_norm_of_one_number_is_its_magnitude():
    for shape in ((), (1,), (1, 1)):
        assert not findings(Module(lambda x: torch.linalg.vector_norm(x, 6)), (torch.full(shape, 2.0),), torch.bfloat16)
