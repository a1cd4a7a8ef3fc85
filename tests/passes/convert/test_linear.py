"""Matrix products against eager."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.oracle import check

BATCH = {"n": (2, 3, 5)}
x = torch.randn(2, 3, 4)
weight, bias = torch.randn(5, 4), torch.randn(5)


def test_linear_keeps_the_layout_of_its_weight():
    result = check(nn.Linear(4, 5), [x], [{0: "n"}], BATCH, build=True)
    assert result.layers() == ["CONSTANT", "CONSTANT", "MATRIX_MULTIPLY", "ELEMENTWISE"]
    kept = [tensor.data_ptr() for tensor in result.built.kept_alive]
    assert result.module.weight.data_ptr() in kept


def test_the_weight_of_halves_is_transposed_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4, bias=False)

        def forward(self, x):
            return self.layer(self.layer(x))

    result = check(Twice().half(), [x.half()], [{0: "n"}], BATCH, build=True)
    assert result.layers() == ["CONSTANT", "MATRIX_MULTIPLY", "MATRIX_MULTIPLY"]
    (kept,) = result.built.kept_alive
    assert kept.squeeze().equal(result.module.layer.weight.t())


def test_linear_of_half():
    check(nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3, bias=False)).half(), [x.half()], build=True)


def test_a_parameter_used_twice_is_one_constant():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x):
            return F.linear(F.linear(x, self.weight), self.weight)

    assert check(Tied(), [x]).layers().count("CONSTANT") == 1


def test_vectors_and_scaled_sums():
    def function(x, v):
        products = F.linear(x, weight, bias), F.linear(v, weight, bias), x @ v, v @ v, torch.mv(x[0], v), v @ x.mT
        sums = (
            torch.addmm(bias, x[0], weight.t()),
            torch.addmm(bias, x[0], weight.t(), beta=0.5, alpha=2),
            torch.baddbmm(x, x @ x.mT, x),
            torch.addmv(v[:3], x[0], v),
        )
        return *products, *sums

    check(function, [x, torch.randn(4)], build=True)


def test_batches_and_einsum():
    def function(a, c):
        return (
            torch.bmm(a, c),
            a @ c[0],
            a[:, None] @ c[None],
            torch.einsum("bij,bjk->bik", a, c),
            torch.einsum("bij,bjk->ki", a, c),
        )

    check(function, [x, torch.randn(2, 4, 5)], [{0: "n"}, {0: "n"}], BATCH, build=True)
