"""The reference executor on layers made by hand, against torch expressions of what TensorRT documents for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp
from torch import Tensor
from trt_passes.compiler.tensorrt import dtypes
from trt_passes.compiler.tensorrt.executor import ExecutorError

F16, BF16, F32 = torch.float16, torch.bfloat16, torch.float32
I32, I64, BOOL = torch.int32, torch.int64, torch.bool


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def close(got: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


# -- element by element ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "alpha", "beta", "expected"),
    [
        ("RELU", 0, 0, F.relu),
        ("SIGMOID", 0, 0, torch.sigmoid),
        ("TANH", 0, 0, torch.tanh),
        ("LEAKY_RELU", 0.2, 0, lambda x: F.leaky_relu(x, 0.2)),
        ("ELU", 1.5, 0, lambda x: F.elu(x, 1.5)),
        ("SELU", 1.6732632423543772, 1.0507009873554805, F.selu),
        ("SOFTSIGN", 0, 0, F.softsign),
        ("SOFTPLUS", 2.0, 3.0, lambda x: 2 * torch.log1p(torch.exp(3 * x))),
        ("CLIP", -0.5, 1.0, lambda x: x.clamp(-0.5, 1.0)),
        ("CLIP", 1.0, -1.0, torch.ones_like),
        ("HARD_SIGMOID", 1 / 6, 0.5, F.hardsigmoid),
        ("SCALED_TANH", 2.0, 0.5, lambda x: 2 * torch.tanh(0.5 * x)),
        ("THRESHOLDED_RELU", 0.7, 0, lambda x: F.threshold(x, 0.7, 0.0)),
        ("GELU_ERF", 0, 0, F.gelu),
        ("GELU_TANH", 0, 0, lambda x: F.gelu(x, approximate="tanh")),
    ],
)
def test_activation(net: Any, kind: str, alpha: float, beta: float, expected: Any) -> None:
    layer = net.network.add_activation(net.input("x", F32, (-1, 9)), net.module.ActivationType.__members__[kind])
    layer.alpha, layer.beta = alpha, beta
    net.output(layer.get_output(0))
    x = torch.linspace(-4, 4, 27).reshape(3, 9)
    close(net.result(x=x), expected(x))


@pytest.mark.parametrize("dtype", [F16, BF16])
def test_each_layer_rounds_to_its_type(net: Any, dtype: torch.dtype) -> None:
    ops = net.module.ElementWiseOperation
    x, y = net.input("x", dtype, (64,)), net.input("y", dtype, (64,))
    total = net.network.add_elementwise(x, y, ops.SUM).get_output(0)
    net.output(net.network.add_elementwise(total, y, ops.PROD).get_output(0))
    a, b = torch.randn(64).to(dtype), torch.randn(64).to(dtype)
    torch.testing.assert_close(net.result(x=a, y=b), (a + b) * b, rtol=0, atol=0)


def test_half_precision_reductions_accumulate_in_single(net: Any) -> None:
    net.output(
        net.network.add_reduce(net.input("x", F16, (4096,)), net.module.ReduceOperation.SUM, 1, False).get_output(0)
    )
    x = torch.full((4096,), 1.0009765625, dtype=F16)
    close(net.result(x=x), (4096 * x[0].float()).to(F16), 0)


@pytest.mark.parametrize("operation", ["DIV", "FLOOR_DIV", "POW", "MAX", "SUB"])
@pytest.mark.parametrize("dtype", [I32, I64])
def test_integer_elementwise(net: Any, operation: str, dtype: torch.dtype) -> None:
    a, b = np.array([7, -7, 7, -8, 5]), np.array([2, 2, 3, 3, 1])
    expected = {
        "DIV": np.fix(a / b),
        "FLOOR_DIV": np.floor(a / b),
        "POW": a**b,
        "MAX": np.maximum(a, b),
        "SUB": a - b,
    }[operation]
    layer = net.network.add_elementwise(
        net.input("a", dtype, (5,)),
        net.input("b", dtype, (5,)),
        net.module.ElementWiseOperation.__members__[operation],
    )
    net.output(layer.get_output(0))
    result = net.result(a=torch.from_numpy(a).to(dtype), b=torch.from_numpy(b).to(dtype))
    torch.testing.assert_close(result, torch.from_numpy(expected).to(dtype))


@pytest.mark.parametrize(("operation", "divisor"), [("DIV", 0), ("FLOOR_DIV", 0), ("POW", -1)])
def test_integer_results_without_a_value_are_errors(net: Any, operation: str, divisor: int) -> None:
    op = net.module.ElementWiseOperation.__members__[operation]
    layer = net.network.add_elementwise(net.input("a", I32, (2,)), net.input("b", I32, (2,)), op)
    layer.name, layer.metadata = "quotient", "[fx:div_3]"
    net.output(layer.get_output(0))
    with pytest.raises(ExecutorError, match=r"ELEMENTWISE layer 'quotient' \[fx:div_3\].*integer"):
        net.run(a=torch.tensor([1, 2], dtype=I32), b=torch.tensor([1, divisor], dtype=I32))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (I32, [2**31 - 1, -(2**31), 0, 2**31 - 1, 300, -300, 0, 1]),
        (I64, [2**63 - 1, -(2**63), -(2**63), 3_000_000_000, 300, -300, 0, 1]),
        (torch.int8, [-1, 0, 0, -1, 44, -44, 0, 1]),
        (torch.uint8, [255, 0, 0, 0, 44, 0, 0, 1]),
        (BOOL, [True, True, True, True, True, True, True, True]),
    ],
)
def test_casts_to_integers_as_measured_on_a_gpu(net: Any, dtype: torch.dtype, expected: list[int]) -> None:
    net.output(net.network.add_cast(net.input("x", F32, (8,)), dtypes.to_trt(net.module, dtype)).get_output(0))
    x = torch.tensor([math.inf, -math.inf, math.nan, 3e9, 300.9, -300.9, -0.5, 1.5])
    close(net.result(x=x), torch.tensor(expected, dtype=dtype), 0)


def test_clip_and_sign_of_nan_as_measured_on_a_gpu(net: Any) -> None:
    x = net.input("x", F32, (4,))
    clip = net.network.add_activation(x, net.module.ActivationType.CLIP)
    clip.alpha, clip.beta = 0.5, 2.0
    net.output(clip.get_output(0), "clipped")
    net.output(net.network.add_unary(x, net.module.UnaryOperation.SIGN).get_output(0), "sign")
    results = net.run(x=torch.tensor([math.nan, -math.inf, math.inf, 1.0]))
    close(results["clipped"], torch.tensor([0.5, 0.5, 2.0, 1.0]), 0)
    torch.testing.assert_close(results["sign"], torch.tensor([math.nan, -1.0, 1.0, 1.0]), equal_nan=True)


@pytest.mark.parametrize("mode", ["UNIFORM", "CHANNEL", "ELEMENTWISE"])
def test_scale(net: Any, mode: str) -> None:
    shape = {"UNIFORM": (1,), "CHANNEL": (3,), "ELEMENTWISE": (3, 4, 5)}[mode]
    shift, factor, power = torch.randn(shape), torch.rand(shape) + 0.5, torch.full(shape, 2.0)
    layer = net.network.add_scale_nd(
        net.input("x", F32, (2, 3, 4, 5)),
        net.module.ScaleMode.__members__[mode],
        net.weights(shift),
        net.weights(factor),
        net.weights(power),
        1,
    )
    net.output(layer.get_output(0))
    x = torch.randn(2, 3, 4, 5)
    broadcast = [t.reshape(3, 1, 1) if mode == "CHANNEL" else t for t in (factor, shift, power)]
    close(net.result(x=x), (x * broadcast[0] + broadcast[1]) ** broadcast[2])


# -- contractions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_shape", "left_op", "right_shape", "right_op", "equation"),
    [
        ((2, 3, 4), "NONE", (2, 4, 5), "NONE", "bij,bjk->bik"),
        ((2, 4, 3), "TRANSPOSE", (1, 5, 4), "TRANSPOSE", "bji,zkj->bik"),
        ((2, 3, 4), "NONE", (2, 4), "VECTOR", "bij,bj->bi"),
        ((2, 4), "VECTOR", (2, 4, 5), "NONE", "bj,bjk->bk"),
        ((2, 4), "VECTOR", (2, 4), "VECTOR", "bj,bj->b"),
        ((4,), "VECTOR", (4,), "VECTOR", "j,j->"),
    ],
)
def test_matrix_multiply(
    net: Any, left_shape: Any, left_op: str, right_shape: Any, right_op: str, equation: str
) -> None:
    ops = net.module.MatrixOperation.__members__
    x, y = net.input("x", F32, left_shape), net.input("y", F32, right_shape)
    net.output(net.network.add_matrix_multiply(x, ops[left_op], y, ops[right_op]).get_output(0))
    a, b = torch.randn(left_shape), torch.randn(right_shape)
    close(net.result(x=a, y=b), torch.einsum(equation, a, b))


@pytest.mark.parametrize("as_inputs", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_convolution_with_asymmetric_padding(net: Any, as_inputs: bool, dims: int) -> None:
    x = net.input("x", F32, (-1, 4, *(9,) * dims))
    kernel, bias = torch.randn(6, 2, *(3,) * dims), torch.randn(6)
    own = (net.module.Weights(), net.module.Weights()) if as_inputs else (net.weights(kernel), net.weights(bias))
    layer = net.network.add_convolution_nd(x, 6, (3,) * dims, *own)
    if as_inputs:
        layer.set_input(1, net.constant(kernel))
        layer.set_input(2, net.constant(bias))
    layer.num_groups, layer.stride_nd, layer.dilation_nd = 2, (2,) * dims, (2,) * dims
    layer.pre_padding, layer.post_padding = (1,) * dims, (3,) * dims
    net.output(layer.get_output(0))
    value = torch.randn(2, 4, *(9,) * dims)
    function = F.conv2d if dims == 2 else F.conv3d
    padded = F.pad(value, (1, 3) * dims)
    close(net.result(x=value), function(padded, kernel, bias, 2, 0, 2, 2), 1e-4)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_same_padding_puts_the_odd_element_where_it_says(net: Any, mode: str) -> None:
    kernel = torch.randn(3, 2, 4, 4)
    layer = net.network.add_convolution_nd(net.input("x", F32, (1, 2, 7, 7)), 3, (4, 4), net.weights(kernel))
    layer.stride_nd, layer.padding_mode = (2, 2), net.module.PaddingMode.__members__[mode]
    net.output(layer.get_output(0))
    x = torch.randn(1, 2, 7, 7)
    amounts = (1, 2, 1, 2) if mode == "SAME_UPPER" else (2, 1, 2, 1)
    close(net.result(x=x), F.conv2d(F.pad(x, amounts), kernel, stride=2), 1e-4)


def test_deconvolution_crops_by_its_padding(net: Any) -> None:
    kernel = torch.randn(4, 3, 3, 3)
    layer = net.network.add_deconvolution_nd(net.input("x", F32, (1, 4, 5, 5)), 6, (3, 3), net.weights(kernel))
    layer.num_groups, layer.stride_nd = 2, (2, 2)
    layer.pre_padding, layer.post_padding = (1, 0), (0, 1)
    net.output(layer.get_output(0))
    x = torch.randn(1, 4, 5, 5)
    full = F.conv_transpose2d(x, kernel, stride=2, groups=2)
    close(net.result(x=x), full[:, :, 1:, :-1], 1e-4)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "MAX_AVERAGE_BLEND"])
@pytest.mark.parametrize("mode", ["EXPLICIT_ROUND_DOWN", "EXPLICIT_ROUND_UP"])
def test_pooling_by_brute_force(net: Any, exclude: bool, kind: str, mode: str) -> None:
    types, modes = net.module.PoolingType.__members__, net.module.PaddingMode.__members__
    layer = net.network.add_pooling_nd(net.input("x", F32, (1, 1, 8, 8)), types[kind], (3, 3))
    layer.stride_nd, layer.pre_padding, layer.post_padding = (2, 2), (1, 1), (0, 0)
    layer.padding_mode, layer.average_count_excludes_padding = modes[mode], exclude
    if kind == "MAX_AVERAGE_BLEND":
        layer.blend_factor = 0.25
    net.output(layer.get_output(0))
    x = torch.randn(1, 1, 8, 8)

    count = math.floor((9 - 3) / 2) + 1 if mode == "EXPLICIT_ROUND_DOWN" else math.ceil((9 - 3) / 2) + 1
    expected = torch.empty(1, 1, count, count)
    for i in range(count):
        for j in range(count):
            rows, columns = range(2 * i - 1, 2 * i + 2), range(2 * j - 1, 2 * j + 2)
            inside = [x[0, 0, r, c] for r in rows for c in columns if 0 <= r < 8 and 0 <= c < 8]
            padded = sum(-1 <= r < 8 and -1 <= c < 8 for r in rows for c in columns)
            largest = max(inside)
            average = sum(inside) / (len(inside) if exclude else padded)
            values = {"MAX": largest, "AVERAGE": average, "MAX_AVERAGE_BLEND": 0.75 * largest + 0.25 * average}
            expected[0, 0, i, j] = values[kind]
    close(net.result(x=x), expected)


# -- shapes and indices ------------------------------------------------------------------------------------------------


def test_shuffle_transposes_on_both_sides_of_a_dynamic_reshape(net: Any) -> None:
    x, dims = net.input("x", F32, (-1, 3, 4)), net.input("dims", I64, (2,))
    layer = net.network.add_shuffle(x)
    layer.first_transpose, layer.second_transpose = (2, 0, 1), (1, 0)
    layer.set_input(1, dims)
    net.output(layer.get_output(0))
    value = torch.randn(2, 3, 4)
    result = net.result(x=value, dims=torch.tensor([0, -1]))
    close(result, value.permute(2, 0, 1).reshape(4, 6).t())


def test_shuffle_can_mean_zero(net: Any) -> None:
    layer = net.network.add_shuffle(net.input("x", F32, (0, 3)))
    layer.zero_is_placeholder, layer.reshape_dims = False, (7, 0)
    net.output(layer.get_output(0))
    assert net.result(x=torch.empty(0, 3)).shape == (7, 0)


SLICES = [
    ("STRICT_BOUNDS", (1, 4), (2, 3), (1, -2)),
    ("STRICT_BOUNDS", (2, 0), (4, 2), (0, 3)),
    ("STRICT_BOUNDS", (0, 3), (0, 0), (1, 1)),
    ("FILL", (-2, 3), (7, 4), (1, 1)),
    ("FILL", (5, 1), (7, 3), (-2, 2)),
    ("WRAP", (-3, -8), (9, 20), (1, 1)),
    ("CLAMP", (-3, 7), (9, 12), (1, -1)),
    ("REFLECT", (-9, 13), (20, 24), (1, -1)),
]


def _sliced(x: np.ndarray, mode: str, start: Any, size: Any, stride: Any, value: float) -> np.ndarray:
    result = np.empty(size, x.dtype)
    for place in np.ndindex(*size):
        source = [s + i * d for s, i, d in zip(start, place, stride, strict=True)]
        missing = any(not 0 <= p < n for p, n in zip(source, x.shape, strict=True))
        if mode == "CLAMP":
            source = [min(max(p, 0), n - 1) for p, n in zip(source, x.shape, strict=True)]
        if mode == "WRAP":
            source = [p % n for p, n in zip(source, x.shape, strict=True)]
        if mode == "REFLECT":
            folded = [[*range(n), *range(n - 2, 0, -1)] for n in x.shape]
            source = [ring[p % len(ring)] for p, ring in zip(source, folded, strict=True)]
        result[place] = value if missing and mode == "FILL" else x[tuple(source)]
    return result


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("mode", "start", "size", "stride"), SLICES)
def test_slice_by_brute_force(net: Any, dynamic: bool, mode: str, start: Any, size: Any, stride: Any) -> None:
    x = net.input("x", F32, (5, 6))
    layer = net.network.add_slice(x, start, size, stride)
    layer.mode = net.module.SampleMode.__members__[mode]
    arguments = {}
    if dynamic:
        for index, (name, values) in enumerate((("start", start), ("size", size), ("stride", stride)), start=1):
            layer.set_input(index, net.input(name, I64, (2,)))
            arguments[name] = torch.tensor(values)
    if mode == "FILL":
        layer.set_input(4, net.constant(-1.5))
    net.output(layer.get_output(0))
    value = torch.randn(5, 6)
    expected = torch.from_numpy(_sliced(value.numpy(), mode, start, size, stride, -1.5))
    close(net.result(x=value, **arguments), expected, 0)


def test_slice_of_some_axes(net: Any) -> None:
    layer = net.network.add_slice(net.input("x", I32, (2, 5, 6)), (1,), (2,), (2,))
    layer.axes = (1,)
    net.output(layer.get_output(0))
    x = torch.arange(60, dtype=I32).reshape(2, 5, 6)
    close(net.result(x=x), x[:, 1:4:2], 0)


def test_strict_slice_out_of_bounds_is_an_error(net: Any) -> None:
    layer = net.network.add_slice(net.input("x", F32, (-1,)), (1,), (3,), (1,))
    layer.name = "tail"
    net.output(layer.get_output(0))
    with pytest.raises(ExecutorError, match=r"SLICE layer 'tail': element 3 of dimension 0, which has 3"):
        net.run(x=torch.zeros(3))


def test_gather_modes(net: Any) -> None:
    modes = net.module.GatherMode
    data = net.input("data", F32, (3, 4, 5))
    batched = net.network.add_gather(data, net.input("rows", I32, (3, 2)), 2)
    batched.num_elementwise_dims = 1
    nd = net.network.add_gather_v2(data, net.input("points", I64, (3, 2, 1)), modes.ND)
    nd.num_elementwise_dims = 1
    element = net.network.add_gather_v2(data, net.input("elements", I64, (3, 1, 5)), modes.ELEMENT)
    element.axis = 1
    for name, layer in (("batched", batched), ("nd", nd), ("element", element)):
        net.output(layer.get_output(0), name)
    value, rows = torch.randn(3, 4, 5), torch.tensor([[4, 0], [1, 1], [-1, 2]], dtype=I32)
    points, elements = torch.tensor([[[3], [0]], [[1], [1]], [[2], [0]]]), torch.randint(0, 4, (3, 1, 5))
    results = net.run(data=value, rows=rows, points=points, elements=elements)
    close(results["batched"], torch.stack([v[:, r.long()] for v, r in zip(value, rows, strict=True)]), 0)
    close(results["nd"], torch.stack([v[p.squeeze(1)] for v, p in zip(value, points, strict=True)]), 0)
    close(results["element"], value.gather(1, elements), 0)


def test_gather_out_of_range_is_an_error(net: Any) -> None:
    net.output(net.network.add_gather(net.input("x", F32, (3, 2)), net.input("i", I32, (1,)), 0).get_output(0))
    with pytest.raises(ExecutorError, match="index 3 is out of range for a dimension of 3"):
        net.run(x=torch.zeros(3, 2), i=torch.tensor([3], dtype=I32))


def test_scatter_nd_and_one_hot_and_nonzero(net: Any) -> None:
    data, points, updates = net.input("data", F32, (4, 3)), net.input("points", I32, (2, 2)), net.input("u", F32, (2,))
    net.output(net.network.add_scatter(data, points, updates, net.module.ScatterMode.ND).get_output(0), "scattered")
    hot = net.network.add_one_hot(net.input("classes", I32, (3,)), net.constant([-1.0, 2.0]), net.constant(4, I32), 0)
    net.output(hot.get_output(0), "hot")
    net.output(net.network.add_non_zero(data, net.module.DataType.INT64).get_output(0), "found")
    value = torch.randn(4, 3) * torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    where, classes = torch.tensor([[0, 2], [3, 1]], dtype=I32), torch.tensor([0, 3, 2], dtype=I32)
    results = net.run(data=value, points=where, u=torch.tensor([7.0, 8.0]), classes=classes)
    expected = value.clone()
    expected[0, 2], expected[3, 1] = 7, 8
    close(results["scattered"], expected, 0)
    close(results["hot"], F.one_hot(classes.long(), 4).t() * 3.0 - 1, 0)
    close(results["found"], value.nonzero().t(), 0)


def test_linspace(net: Any) -> None:
    fill = net.network.add_fill((), net.module.FillOperation.LINSPACE, net.module.DataType.INT64)
    fill.set_input(0, net.input("dims", I64, (2,)))
    fill.set_input(1, net.constant(10))
    fill.set_input(2, net.constant([100, 3]))
    net.output(fill.get_output(0), "grid")
    ramp = net.network.add_fill((5,), net.module.FillOperation.LINSPACE)
    ramp.alpha, ramp.beta = 0.5, 0.25
    net.output(ramp.get_output(0), "ramp")
    results = net.run(dims=torch.tensor([2, 3]))
    close(results["grid"], torch.tensor([[10, 13, 16], [110, 113, 116]]), 0)
    close(results["ramp"], torch.tensor([0.5, 0.75, 1.0, 1.25, 1.5]))


def test_squeeze_unsqueeze_concat_padding_reverse(net: Any) -> None:
    x = net.input("x", F32, (1, 3, 1, 4))
    net.output(net.network.add_squeeze(x, net.constant([0, -2])).get_output(0), "squeezed")
    net.output(net.network.add_unsqueeze(x, net.constant([0, -1])).get_output(0), "unsqueezed")
    net.output(net.network.add_padding_nd(x, (1, -1), (0, 2)).get_output(0), "padded")
    y = net.input("y", F32, (3, 5))
    reverse = net.network.add_reverse_sequence(y, net.input("lengths", I64, (3,)))
    reverse.batch_axis, reverse.sequence_axis = 0, 1
    net.output(reverse.get_output(0), "reversed")
    a, b = torch.randn(1, 3, 1, 4), torch.randn(3, 5)
    results = net.run(x=a, y=b, lengths=torch.tensor([5, 1, 3]))
    close(results["squeezed"], a.reshape(3, 4), 0)
    close(results["unsqueezed"], a[None, ..., None], 0)
    close(results["padded"], F.pad(a, (-1, 2, 1, 0)), 0)
    close(results["reversed"], torch.stack([b[0].flip(0), b[1], torch.cat((b[2, :3].flip(0), b[2, 3:]))]), 0)


# -- along axes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exclusive", "reverse"), [(False, False), (True, False), (False, True), (True, True)])
def test_cumulative(net: Any, exclusive: bool, reverse: bool) -> None:
    operation = net.module.CumulativeOperation.SUM
    layer = net.network.add_cumulative(net.input("x", I64, (2, 4)), net.constant(1), operation, exclusive, reverse)
    net.output(layer.get_output(0))
    x = torch.tensor([[1, 2, 3, 4], [10, 20, 30, 40]])
    j, k = torch.arange(4), torch.arange(4)[:, None]
    taken = (k >= j if reverse else k <= j) & (k != j if exclusive else torch.tensor(True))
    close(net.result(x=x), x @ taken.long(), 0)


@pytest.mark.parametrize(
    ("operation", "value"), [("SUM", 0.0), ("PROD", 1.0), ("MAX", -math.inf), ("MIN", math.inf), ("AVG", math.nan)]
)
def test_reduction_of_nothing(net: Any, operation: str, value: float) -> None:
    op = net.module.ReduceOperation.__members__[operation]
    net.output(net.network.add_reduce(net.input("x", F32, (3, -1)), op, 0b10, False).get_output(0))
    torch.testing.assert_close(net.result(x=torch.empty(3, 0)), torch.full((3,), value), equal_nan=True)


def test_topk_with_k_from_an_input_puts_lower_indices_first(net: Any) -> None:
    layer = net.network.add_topk(net.input("x", F32, (1, 6)), net.module.TopKOperation.MIN, 1, 0b10)
    layer.set_input(1, net.input("k", I32, ()))
    net.output(layer.get_output(0), "values")
    net.output(layer.get_output(1), "indices")
    results = net.run(x=torch.tensor([[2.0, 1.0, 3.0, 1.0, 1.0, 0.0]]), k=torch.tensor(4, dtype=I32))
    close(results["values"], torch.tensor([[0.0, 1.0, 1.0, 1.0]]), 0)
    close(results["indices"], torch.tensor([[5, 1, 3, 4]], dtype=I32), 0)


def test_topk_of_many_equals_keeps_their_order(net: Any) -> None:
    layer = net.network.add_topk(net.input("x", F32, (1, 2000)), net.module.TopKOperation.MAX, 1000, 0b10)
    net.output(layer.get_output(1))
    x = torch.tensor([[1.0, 0.0]]).repeat(1, 1000)
    close(net.result(x=x), torch.arange(0, 2000, 2, dtype=I32)[None], 0)


def test_topk_of_nan_is_an_error(net: Any) -> None:
    layer = net.network.add_topk(net.input("x", F32, (1, 3)), net.module.TopKOperation.MAX, 2, 0b10)
    net.output(layer.get_output(0))
    with pytest.raises(ExecutorError, match="the input contains NaN"):
        net.run(x=torch.tensor([[1.0, math.nan, 2.0]]))


def test_ragged_softmax(net: Any) -> None:
    layer = net.network.add_ragged_softmax(net.input("x", F32, (1, 3, 5)), net.input("bounds", I32, (1, 3, 1)))
    net.output(layer.get_output(0))
    x = torch.randn(1, 3, 5)
    result = net.result(x=x, bounds=torch.tensor([5, 2, 1], dtype=I32).reshape(1, 3, 1))
    expected = torch.stack([F.pad(row[:n].softmax(0), (0, 5 - n)) for row, n in zip(x[0], (5, 2, 1), strict=True)])
    close(result, expected[None])


@pytest.mark.parametrize("version", [1, 2])
def test_group_normalization_of_both_versions(net: Any, version: int) -> None:
    per = 3 if version == 1 else 6
    scale, bias = torch.randn(1, per, 1, 1), torch.randn(1, per, 1, 1)
    add = net.network.add_normalization if version == 1 else net.network.add_normalization_v2
    layer = add(net.input("x", F32, (2, 6, 4, 5)), net.constant(scale), net.constant(bias), 0b1100)
    layer.num_groups, layer.epsilon = 3, 1e-3
    net.output(layer.get_output(0))
    x = torch.randn(2, 6, 4, 5)
    repeats = 6 // per
    weight, shift = scale.flatten().repeat_interleave(repeats), bias.flatten().repeat_interleave(repeats)
    close(net.result(x=x), F.group_norm(x, 3, weight, shift, 1e-3))


def test_layer_normalization_of_half_precision_keeps_statistics_in_single(net: Any) -> None:
    ones, zeros = net.constant(torch.ones(1, 1, 64, dtype=F16)), net.constant(torch.zeros(1, 1, 64, dtype=F16))
    net.output(net.network.add_normalization_v2(net.input("x", F16, (2, 3, 64)), ones, zeros, 0b100).get_output(0))
    x = (torch.randn(2, 3, 64) * 200 + 3000).to(F16)
    close(net.result(x=x), F.layer_norm(x.float(), (64,)).to(F16), 1e-3)


def test_local_response_normalization(net: Any) -> None:
    net.output(net.network.add_lrn(net.input("x", F32, (2, 7, 3, 3)), 5, 0.5, 0.75, 2.0).get_output(0))
    x = torch.randn(2, 7, 3, 3)
    squares = F.pad(x * x, (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1).sum(-1)
    close(net.result(x=x), x / (2 + 0.5 / 5 * squares) ** 0.75)


# -- resize ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ["HALF_UP", "HALF_DOWN", "FLOOR", "CEIL"])
@pytest.mark.parametrize("transformation", ["ASYMMETRIC", "HALF_PIXEL", "ALIGN_CORNERS"])
def test_nearest_resize_by_formula(net: Any, rounding: str, transformation: str) -> None:
    layer = net.network.add_resize(net.input("x", F32, (1, 1, 1, 8)))
    layer.shape = (1, 1, 1, 12)
    layer.nearest_rounding = net.module.ResizeRoundMode.__members__[rounding]
    layer.coordinate_transformation = net.module.ResizeCoordinateTransformation.__members__[transformation]
    net.output(layer.get_output(0))
    x = torch.randn(1, 1, 1, 8)
    origin = {
        "ASYMMETRIC": lambda i: i * 8 / 12,
        "HALF_PIXEL": lambda i: (i + 0.5) * 8 / 12 - 0.5,
        "ALIGN_CORNERS": lambda i: i * 7 / 11,
    }[transformation]
    rounded = {
        "HALF_UP": lambda v: math.floor(v + 0.5),
        "HALF_DOWN": lambda v: math.ceil(v - 0.5),
        "FLOOR": math.floor,
        "CEIL": math.ceil,
    }[rounding]
    places = [min(max(rounded(origin(i)), 0), 7) for i in range(12)]
    close(net.result(x=x), x[..., places], 0)


@pytest.mark.parametrize(
    ("mode", "transformation", "options"),
    [
        ("LINEAR", "HALF_PIXEL", {"mode": "bilinear", "align_corners": False}),
        ("LINEAR", "ALIGN_CORNERS", {"mode": "bilinear", "align_corners": True}),
        ("CUBIC", "HALF_PIXEL", {"mode": "bicubic", "align_corners": False}),
        ("NEAREST", "ASYMMETRIC", {"mode": "nearest"}),
    ],
)
def test_resize_to_a_shape_from_an_input(net: Any, mode: str, transformation: str, options: Any) -> None:
    layer = net.network.add_resize(net.input("x", F32, (2, 3, 5, 6)))
    layer.resize_mode = net.module.InterpolationMode.__members__[mode]
    layer.coordinate_transformation = net.module.ResizeCoordinateTransformation.__members__[transformation]
    layer.nearest_rounding = net.module.ResizeRoundMode.FLOOR
    layer.set_input(1, net.input("shape", I64, (4,)))
    net.output(layer.get_output(0))
    x = torch.randn(2, 3, 5, 6)
    for size in ((9, 4), (3, 17)):
        result = net.result(x=x, shape=torch.tensor([2, 3, *size]))
        close(result, F.interpolate(x, size=size, **options), 1e-5)
    assert net.result(x=x, shape=torch.tensor([2, 3, 0, 4])).shape == (2, 3, 0, 4)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_scales_that_do_not_divide_evenly_are_used_as_they_are(net: Any, mode: str) -> None:
    """As in torch without recompute_scale_factor, and as measured on a GPU."""
    half_pixel = mode != "nearest"
    layer = net.network.add_resize(net.input("x", F32, (1, 2, 7, 9)))
    layer.resize_mode = net.module.InterpolationMode.LINEAR if half_pixel else net.module.InterpolationMode.NEAREST
    transformations = net.module.ResizeCoordinateTransformation
    layer.coordinate_transformation = transformations.HALF_PIXEL if half_pixel else transformations.ASYMMETRIC
    layer.nearest_rounding = net.module.ResizeRoundMode.FLOOR
    layer.scales = (1, 1, 1.6, 1.3)
    net.output(layer.get_output(0))
    x = torch.randn(1, 2, 7, 9)
    expected = F.interpolate(x, scale_factor=(1.6, 1.3), mode=mode, recompute_scale_factor=False)
    assert not torch.allclose(expected, F.interpolate(x, size=expected.shape[2:], mode=mode))
    close(net.result(x=x), expected)


def test_cubic_resize_can_leave_out_what_is_outside(net: Any) -> None:
    layer = net.network.add_resize(net.input("x", F32, (1, 1, 4, 4)))
    layer.resize_mode, layer.exclude_outside, layer.cubic_coeff = net.module.InterpolationMode.CUBIC, 1, -0.5
    layer.coordinate_transformation = net.module.ResizeCoordinateTransformation.HALF_PIXEL
    layer.scales = (1, 1, 2, 2)
    net.output(layer.get_output(0))
    close(net.result(x=torch.full((1, 1, 4, 4), 3.0)), torch.full((1, 1, 8, 8), 3.0))
    x = torch.randn(1, 1, 4, 4)
    expected = torch.from_numpy(
        pytest.importorskip("onnx.reference").ReferenceEvaluator(_cubic_resize_model()).run(None, {"x": x.numpy()})[0]
    )
    close(net.result(x=x), expected)


def _cubic_resize_model() -> Any:
    helper = pytest.importorskip("onnx.helper")
    node = helper.make_node(
        "Resize",
        ["x", "", "scales"],
        ["y"],
        mode="cubic",
        coordinate_transformation_mode="half_pixel",
        cubic_coeff_a=-0.5,
        exclude_outside=1,
    )
    graph = helper.make_graph(
        [node],
        "resize",
        [helper.make_tensor_value_info("x", 1, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", 1, [1, 1, 8, 8])],
        [helper.make_tensor("scales", 1, [4], [1.0, 1.0, 2.0, 2.0])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_results_lie_in_memory_as_those_of_engines_do():
    """A view of two numbers as one complex number, behind an engine, needs the last dimension in one piece."""

    class Model(torch.nn.Module):
        def forward(self, x):
            return torch.view_as_complex((x * 2).mT.contiguous()).abs()

    x = torch.randn(3, 2, 8)
    compiled = tp.compile(Model(), (x,), min_block_size=1, executor="reference")
    torch.testing.assert_close(compiled(x), Model()(x))
