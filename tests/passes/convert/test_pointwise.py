"""Elementwise converters against eager; each test exports many functions at once, since an export costs a second."""

import pytest
import torch
import torch.nn.functional as F

from tests.oracle import check

BATCH = {"n": (2, 3, 7)}
x, y = torch.randn(3, 4), torch.randn(4)
i, j = torch.randint(-5, 6, (3, 4)), torch.randint(1, 5, (4,))
b = x > 0

FLOAT = "exp sqrt sin cos tan sinh cosh asin acos atan asinh acosh atanh erf log log2 log10 log1p expm1 exp2 rsqrt"
FLOAT += " reciprocal sigmoid tanh"
ANY = "abs neg sign ceil floor round trunc square relu isnan isinf isfinite logical_not"
ACTIVATIONS = "gelu silu mish leaky_relu elu selu celu softplus hardtanh relu6 hardsigmoid hardswish logsigmoid"
ACTIVATIONS += " softsign tanhshrink softshrink hardshrink glu"


def each(module, names):
    return lambda x: tuple(getattr(module, name)(x) for name in names.split())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_unary_functions_of_floats(dtype):
    check(each(torch, f"{FLOAT} {ANY} frac"), [x.to(dtype)], [{0: "n"}], BATCH, build=True)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_unary_functions_of_integers(dtype):
    check(each(torch, f"{FLOAT} {ANY}"), [i.to(dtype)], build=True)


def test_unary_functions_of_booleans():
    check(each(torch, "exp sigmoid sign isnan logical_not bitwise_not"), [b], build=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_activations(dtype):
    check(each(F, ACTIVATIONS), [x.to(dtype)], [{0: "n"}], BATCH, build=True)


def test_activations_with_arguments():
    def function(x, slope):
        return (
            F.gelu(x, approximate="tanh"),
            F.celu(x, 0.5),
            F.elu(x, 2.0),
            F.softplus(x, 2.0, 1.0),
            F.prelu(x, slope),
            torch.logit(x, 0.1),
            F.threshold(x, 0.1, 20.0),
        )

    check(function, [torch.randn(2, 3, 4), torch.randn(3)], [{0: "n"}, None], BATCH, build=True)


def test_small_arguments_keep_their_digits():
    tiny = torch.tensor([1e-7, -1e-7, 3e-6, 1e-3])
    check(lambda x: (torch.expm1(x), torch.log1p(x)), [tiny], tolerance=(1e-5, 0.0))


OPERANDS = [
    (x, y),
    (i, j),
    (x, j),
    (x.half(), y),
    (i.int(), j),
    (x.half(), torch.tensor(2.0)),
    (i, torch.tensor(2.5)),
    (torch.tensor(3), j.int()),
    (i.int(), 2.5),
    (x.half(), -3),
]


@pytest.mark.parametrize("operands", OPERANDS, ids=lambda pair: "-".join(str(getattr(v, "dtype", v)) for v in pair))
def test_binary_operators_promote_as_pytorch_does(operands):
    left, right = operands
    functions = [torch.add, torch.sub, torch.mul, torch.div, torch.floor_divide, torch.remainder, torch.fmod]
    functions += [torch.eq, torch.ne, torch.lt, torch.le, torch.gt, torch.ge]
    if isinstance(right, torch.Tensor):
        functions += [torch.maximum, torch.minimum, torch.logical_and, torch.logical_xor, torch.atan2]
        check(lambda a, c: tuple(function(a, c) for function in functions), [left, right], build=True)
    else:
        check(lambda a: tuple(function(a, right) for function in functions), [left], build=True)


def test_booleans_in_arithmetic():
    def function(b, c, x):
        return b + c, b * c, b & c, b | c, b ^ c, ~b, b + 1, b * 2.5, b + x, b > c, b == c, b <= c, torch.maximum(b, c)

    check(function, [b, y > 0, x], build=True)


def test_angles_of_infinite_points():
    values = torch.tensor([float("inf"), -float("inf"), 0.0, -0.0, 1.0, -2.0, float("nan")])
    check(torch.atan2, [item.contiguous() for item in torch.meshgrid(values, values, indexing="ij")])


def test_a_comparison_with_nan_is_false():
    values = torch.tensor([float("nan"), 1.0, float("inf")])
    check(lambda x: (x >= 1, x <= 1, x > 1, x != x, x == x, x.isfinite(), torch.where(x > 0, x, 0.0)), [values])


@pytest.mark.parametrize("values", [x.abs() + 0.1, i], ids=["float", "int"])
def test_powers(values):
    exponents = [0, 1, 2, 3, 5] + ([0.5, -0.5, -1, -2, 2.5] if values.is_floating_point() else [])
    check(lambda x: tuple(x**exponent for exponent in exponents), [values], build=True)


def test_scalars_alpha_and_rounding_modes():
    def function(x, y):
        return (
            torch.add(x, y, alpha=2),
            torch.sub(x, y, alpha=0.5),
            1 - x,
            2**x,
            torch.rsub(x, y, alpha=3),
            torch.div(x, y, rounding_mode="trunc"),
            torch.div(x, y, rounding_mode="floor"),
            torch.round(x, decimals=2),
            torch.round(x * 100, decimals=-1),
        )

    check(function, [x, y], [{0: "n"}, None], BATCH, build=True)


def test_clamps():
    def function(x, i, low, high):
        floats = x.clamp(-0.5, 0.5), x.clamp(min=0), x.clamp(max=0.3), x.clamp(low, high), x.clamp_min(0.1)
        return *floats, i.clamp(-1, 2), i.clamp(min=0), i.clamp(-1.5, 2.5)

    check(function, [x, i, y - 1, y + 1], build=True)


def test_selection():
    def function(c, x, y):
        filled = x.masked_fill(c, float("-inf")), x.masked_fill(c, torch.tensor(1.0))
        return torch.where(c, x, y), torch.where(c, x, 0.0), torch.where(c, 1, 0), torch.where(c, x.half(), y), *filled

    check(function, [b, x, y], [{0: "n"}, {0: "n"}, None], BATCH, build=True)


def test_bfloat16():
    check(lambda x: torch.exp(x) * 2 + 1.1, [x.bfloat16()], build=True)


@pytest.mark.parametrize("values", [x, y, x.half(), torch.tensor(2.0)], ids=["2d", "1d", "half", "0d"])
def test_softmax(values):
    def function(x):
        wide = F.softmax(x, -1, dtype=torch.float32)
        return F.softmax(x, 0), F.softmax(x, -1), F.log_softmax(x, 0), F.log_softmax(x * 50, -1), wide

    check(function, [values], build=True)


def test_booleans_added_zero_times():
    false = (lambda x, y: torch.add(x, y, alpha=False), lambda x, y: x.unsqueeze(0).add(y, alpha=False))
    check(lambda x, y: tuple(function(x, y) for function in false), [b, b[0]], [{0: "n"}, None], BATCH, build=True)
