"""Rules on pairs give what PyTorch gives on complex tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from trt_passes.passes.lower.complex import arithmetic, functions, products, reductions
from trt_passes.passes.lower.complex.pair import Pair

aten = torch.ops.aten

AXIS = [-1e3, -3.0, -1.0, -0.5, -1e-3, -1e-20, 0.0, 1e-20, 1e-3, 0.5, 1.0, 2.0, 30.0, 1e3]
PLANE = torch.tensor([complex(x, y) for x in AXIS for y in AXIS], dtype=torch.complex64)
SMALL = torch.tensor([complex(x, y) for x in AXIS[1:-2] for y in AXIS[1:-2]], dtype=torch.complex64)
GROWING = frozenset({aten.exp.default, aten.exp2.default, aten.expm1.default, aten.sigmoid.default, aten.silu.default})
TURNING = frozenset({aten.sin.default, aten.cos.default, aten.tan.default, aten.sinh.default, aten.cosh.default})


def pair_of(value: torch.Tensor) -> Pair:
    return Pair(value.real.clone(), value.imag.clone())


def whole(value: Any) -> Any:
    return torch.complex(value.real, value.imag) if isinstance(value, Pair) else value


ONE = [target for target in (*functions.RULES, *arithmetic.RULES) if len(target._schema.arguments) == 1]


@pytest.mark.parametrize("target", ONE, ids=str)
def test_functions_of_one_number(target: Any) -> None:
    """As exact as PyTorch in float32, measured with its complex128, on axes and branch cuts and near 0 and 1."""
    rule = functions.RULES.get(target) or arithmetic.RULES[target]
    points = SMALL if target in GROWING | TURNING else PLANE
    eager, actual = target(points), whole(rule(torch.float32, pair_of(points)))
    assert actual.dtype is eager.dtype
    if actual.dtype is torch.bool:
        assert torch.equal(actual, eager)
        return
    exact = target(points.to(torch.complex128))
    kept = torch.isfinite(exact) & (exact.abs() < 1e30)
    ours, theirs = ((part[kept] - exact[kept]).abs() / exact[kept].abs().clamp_min(1e-30) for part in (actual, eager))
    worse = ~(ours <= torch.maximum(torch.tensor(2e-6), 4 * theirs.nan_to_num(0.0)))
    assert not worse.any(), (points[kept][worse][:4], actual[kept][worse][:4], exact[kept][worse][:4])


@pytest.mark.parametrize("target", ONE, ids=str)
def test_functions_in_double_precision(target: Any) -> None:
    rule = functions.RULES.get(target) or arithmetic.RULES[target]
    points = (SMALL if target in GROWING | TURNING else PLANE).to(torch.complex128)
    actual = whole(rule(torch.float64, pair_of(points)))
    torch.testing.assert_close(actual, target(points), rtol=1e-7, atol=1e-12, equal_nan=True)


EXPONENTS = [0, 1, 2, 3, -1, 0.5, -0.5, 1.7, -2.3, 2 + 0j, 1.5 - 0.7j]


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_powers_by_numbers(exponent: complex) -> None:
    points = torch.tensor([0, 1, -1, 1j, -2j, 1.5 - 0.5j, -3 + 1e-3j, -3 - 4j, 20 + 5j], dtype=torch.complex64)
    actual = whole(functions.power(torch.float32, pair_of(points), exponent))
    expected = torch.pow(points.to(torch.complex128), exponent).to(torch.complex64)
    keep = torch.isfinite(expected)
    torch.testing.assert_close(actual[keep], expected[keep], rtol=1e-5, atol=1e-6)


def test_powers_by_tensors_and_of_numbers() -> None:
    base = torch.tensor([0, 0, 2 + 1j, -1 + 0.5j, 3], dtype=torch.complex64)
    exponent = torch.tensor([0, 2, 0, 1.5 - 1j, -2j], dtype=torch.complex64)
    actual = whole(functions.power(torch.float32, pair_of(base), pair_of(exponent)))
    torch.testing.assert_close(actual, torch.pow(base, exponent), equal_nan=True)
    real = torch.tensor([0.0, 2.0, 0.0, 1.5, -2.0])
    actual = whole(functions.power(torch.float32, pair_of(base), real))
    torch.testing.assert_close(actual, torch.pow(base, real), equal_nan=True)
    for number in (2, -1.5, 0.5 + 2j):
        actual = whole(functions.power(torch.float32, number, pair_of(exponent)))
        torch.testing.assert_close(actual, torch.pow(number, exponent))


LEFT = torch.tensor([1 + 2j, -3 + 1e25j, 1e-30 + 1e-25j, 4, 2e20 - 1e20j], dtype=torch.complex64)
RIGHT = torch.tensor([2 - 1j, 1e22 - 3e21j, 1e-27 - 2e-27j, 1j, 3e19 + 1e19j], dtype=torch.complex64)


@pytest.mark.parametrize("pair", [(0, 1), (1, 0)])
def test_quotients_of_numbers_whose_squares_overflow_or_vanish(pair: tuple[int, int]) -> None:
    one, other = (LEFT, RIGHT)[pair[0]], (LEFT, RIGHT)[pair[1]]
    actual = whole(arithmetic.div(torch.float32, pair_of(one), pair_of(other)))
    exact = one.to(torch.complex128) / other.to(torch.complex128)
    torch.testing.assert_close(actual.to(torch.complex128), exact, rtol=1e-5, atol=0.0)


KINDS = ("complex", "real", "number", "complex number")


@pytest.mark.parametrize(("left", "right"), [(a, b) for a in KINDS for b in KINDS if "complex" in (a, b)])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "eq"])
def test_arithmetic_of_complex_and_real(left: str, right: str, name: str) -> None:
    given = {
        "complex": torch.tensor([[1 + 2j], [3 - 1j]]),
        "real": torch.tensor([2.0, -0.5, 1.0]),
        "number": 3,
        "complex number": 1.5 - 2j,
    }
    values = [given[left], given[right]]
    rule = {"add": arithmetic.add, "sub": arithmetic.sub, "mul": arithmetic.mul, "div": arithmetic.div}
    pairs = [pair_of(item) if isinstance(item, torch.Tensor) and item.is_complex() else item for item in values]
    actual = rule.get(name, arithmetic.equal)(torch.float32, *pairs)
    result = whole(actual)
    tensors = [torch.as_tensor(item) for item in values]
    torch.testing.assert_close(result, getattr(torch, name)(*tensors).to(result.dtype))
    assert not isinstance(actual, Pair) or actual.real.shape == actual.imag.shape


@pytest.mark.parametrize("length", [0, 1, 2, 5, 8])
def test_products_along_a_dimension(length: int) -> None:
    values = torch.randn(2, length, 3, dtype=torch.complex64)
    pair = pair_of(values)
    torch.testing.assert_close(whole(reductions.prod(torch.float32, pair, 1)), values.prod(1))
    torch.testing.assert_close(whole(reductions.prod(torch.float32, pair, 1, True)), values.prod(1, True))
    torch.testing.assert_close(whole(reductions.prod(torch.float32, pair)), values.prod())
    torch.testing.assert_close(whole(reductions.cumprod(torch.float32, pair, 1)), values.cumprod(1))


def test_matrix_products_with_a_real_operand() -> None:
    left, right = torch.randn(3, 4, dtype=torch.complex64), torch.randn(4, 5)
    rule = products.RULES[aten.mm.default]
    torch.testing.assert_close(whole(rule(torch.float32, pair_of(left), right)), left @ right.to(torch.complex64))
