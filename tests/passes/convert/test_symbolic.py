"""Arithmetic on sizes against eager."""

import math

import pytest
import torch

from tests.oracle import check

CASES = {
    "min": lambda n, m: torch.sym_min(n, m),
    "max": lambda n, m: torch.sym_max(n, 4),
    "floor division": lambda n, m: (n // 2) * (m // 3) + (-n) // 2,
    "modulo": lambda n, m: n % 4 + (-n) % 4,
    "power": lambda n, m: n**2 + 2**m,
    "true division": lambda n, m: n / m,
    "float": lambda n, m: torch.sym_float(n),
    "root": lambda n, m: torch.sym_sqrt(n),
    "choice": lambda n, m: torch.sym_ite(n > 4, n, m),
    "negated choice": lambda n, m: torch.sym_ite(torch.sym_not(n > 4), 2, 3),
    "round": lambda n, m: round(n / 4) + math.ceil(n / 4) + math.floor(m / 3),
    "absolute": lambda n, m: abs(n - 5),
    "shift": lambda n, m: (n << 1) + (n >> 1),
    "low bits": lambda n, m: n & 3,
}


@pytest.mark.parametrize("name", CASES)
def test_arithmetic_on_sizes(name):
    function = CASES[name]
    check(lambda x: x * function(*x.shape), [torch.randn(6, 5)], [{0: "n", 1: "m"}], {"n": (3, 6, 9), "m": (2, 5, 7)})
