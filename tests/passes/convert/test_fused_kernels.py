"""Arithmetic that TensorRT-RTX computed wrong in one kernel, in the forms that it computes right."""

import re

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp
from torch import nn
from torch._higher_order_ops.while_loop import while_loop
from trt_passes.compiler.instruments.numerics import distance

from tests.marks import gpu
from tests.oracle import check, converted, kernels_of


class Function(nn.Module):
    """A function of tensors, with a linear layer and a vector that it may use."""

    def __init__(self, function, size=8):
        super().__init__()
        torch.manual_seed(0)
        self.function, self.layer, self.vector = function, nn.Linear(size, size), nn.Parameter(torch.randn(size))

    def forward(self, x):
        return self.function(self, x)


def relu(x):
    return torch.relu(x)


def gelu(x):
    return F.gelu(x)


def gelu_by_tanh(x):
    return F.gelu(x, approximate="tanh")


AFTER = {
    "number": lambda m, y: y * 0.5,
    "itself": lambda m, y: y * y,
    "gate": lambda m, y: y * m.vector,
    "norm": lambda m, y: F.batch_norm(y, m.vector, m.vector.abs() + 0.5),
    "rms": lambda m, y: F.rms_norm(y, (8,)),
}
ACTIVATIONS = pytest.mark.parametrize("activation", [relu, gelu, gelu_by_tanh])
TIMES = pytest.mark.parametrize("after", AFTER)


def biased(activation, after):
    return Function(lambda m, x: AFTER[after](m, activation(m.layer(x)))).eval()


@ACTIVATIONS
@TIMES
@pytest.mark.parametrize("half", [False, True])
def test_a_bias_before_an_activation_and_a_multiplication_is_in_a_kernel(activation, after, half):
    function, x = biased(activation, after), torch.randn(4, 8)
    function, x = (function.half(), x.half()) if half else (function, x)
    check(function, [x])
    # TensorRT-RTX names kernels after what is fused: `Fc` alone has neither the bias nor the activation.
    names = [kernel["name"] for kernel in kernels_of(converted(function, [x]).built)]
    assert not [name for name in names if re.fullmatch(r"__myl_Fc_myl\d+_\d+", name)]


def error_on_the_gpu(function, x, half):
    """The relative L2 error of an engine, beside PyTorch in float64."""
    function, x = (function.half(), x.half()) if half else (function, x)
    options = {"enabled_precisions": {torch.float16}} if half else {}
    module = tp.compile(function, (x,), executor="tensorrt", min_block_size=1, **options).cuda()
    with torch.no_grad():
        expected = function.cpu().double()(x.double())
        found = module(x.cuda()).double()
    return distance(expected, found)[1]


@pytest.mark.parametrize("half", [False, True])
@ACTIVATIONS
@TIMES
@gpu
def test_biases_are_there_on_a_gpu(activation, after, half):
    assert error_on_the_gpu(biased(activation, after), torch.randn(4, 8), half) < 5e-3


def norm(x):
    return F.layer_norm(x, x.shape[-1:])


SLICED = {
    "row": lambda m, x: norm(x - x[:, :1]),
    "column": lambda m, x: norm(x * 2 - x[..., :1]),
    "batch": lambda m, x: (x + x[:1]).softmax(-1),
    "rolled": lambda m, x: norm(x + torch.roll(x, 1, 1)),
    "rotated": lambda m, x: norm(x * 2 + torch.cat([-x[..., 4:], x[..., :4]], -1)),
    "shifted": lambda m, x: norm(x + F.pad(x, (0, 0, 1, 0))[:, :-1]),
    "summed": lambda m, x: (x * 2 - x[:, :1]).sum(-1),
    "largest": lambda m, x: (x * x[:, :1]).amax(-1),
    "of a linear layer": lambda m, x: (lambda y: norm(y - y[:, :1]))(m.layer(x)),
    "of a norm": lambda m, x: (lambda y: norm(y + torch.roll(y, 1, 1)))(norm(x)),
    "of a view": lambda m, x: norm(x - x.view(-1, 8)[:1]),
    "mean of two": lambda m, x: norm(x - x.mean(0, keepdim=True)),
    "mean of four": lambda m, x: norm(x - x.mean(1, keepdim=True)),
    "largest of two": lambda m, x: norm(x - x.amax(0, keepdim=True)),
    "halves of a product": lambda m, x: norm(torch.cat((x * x[:, :1]).chunk(2, -1)[::-1], -1)),
    "two branches": lambda m, x: norm(torch.roll(x, 1, -1)) * (m.layer(norm(x)) @ m.layer.weight),
    "softmax of two": lambda m, x: norm(x.softmax(0)),
    "softmax of four": lambda m, x: norm(x.softmax(1) * m.vector),
    "softmax and slice": lambda m, x: (lambda y: norm(y * 2 - y[:, :1]))(x.softmax(0)),
    "norm of two": lambda m, x: norm(F.layer_norm(x.reshape(2, 4, 4, 2), (2,)).reshape(x.shape)),
    "product of a softmax": lambda m, x: norm((x @ x.mT).softmax(-1) @ x),
    "product and residual": lambda m, x: (lambda y: norm(y + y @ torch.tanh(y.mT @ y)))(x.mT),
    "norm of four": lambda m, x: norm(F.layer_norm(x.mT, (4,), m.vector[:4], m.vector[4:]).mT),
}
X = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SLICED)
def test_slices_are_of_a_copy_where_a_kernel_reads_the_whole_too(name):
    assert "GATHER" in check(Function(SLICED[name]), [X]).layers()


@pytest.mark.parametrize("name", SLICED)
@pytest.mark.parametrize("half", [False, True])
@gpu
def test_slices_are_read_where_they_are_on_a_gpu(name, half):
    assert error_on_the_gpu(Function(SLICED[name]), X, half) < 5e-3


OF_FEW = {
    "softmax": lambda m, x: norm(x.softmax(1)),
    "log softmax": lambda m, x: norm(x.log_softmax(1)),
    "sum": lambda m, x: norm(x / (x.abs().sum(1, keepdim=True) + 1)),
    "variance": lambda m, x: norm(x / (x.var(1, keepdim=True) + 1)),
    "softmax and more": lambda m, x: torch.roll(torch.sigmoid(F.rms_norm(x.softmax(1) * 3, (8,))) * x, 1, -1),
}


@pytest.mark.parametrize("name", OF_FEW)
@pytest.mark.parametrize("size", [5, 6])
def test_sums_of_up_to_six_elements_are_of_a_copy_too(name, size):
    function, x = Function(OF_FEW[name]), torch.randn(2, size, 8)
    check(function, [x])
    names = "".join(kernel["name"] for kernel in kernels_of(converted(function, [x]).built))
    assert "Slic" in names
    assert all("Gath" in before for before in names.split("SlicSlicAdd")[:-1])


@pytest.mark.parametrize("name", OF_FEW)
def test_larger_sums_are_not_copied(name):
    function, x = Function(OF_FEW[name]), torch.randn(2, 7, 8)
    names = "".join(kernel["name"] for kernel in kernels_of(converted(function, [x]).built))
    assert "SlicSlicAdd" not in names
    assert "Gath" not in names


@pytest.mark.parametrize("name", OF_FEW)
@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("half", [False, True])
@gpu
def test_sums_of_up_to_six_elements_are_right_on_a_gpu(name, size, half):
    assert error_on_the_gpu(Function(OF_FEW[name]), torch.randn(2, size, 8), half) < 5e-3


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: torch.tanh(x - x[:, :1]),
        lambda m, x: norm(x[:, :1] * x[:, 1:2]),
        lambda m, x: (x * 2 + torch.cat([-x[..., 4:], x[..., :4]], -1)) @ x.mT,
        lambda m, x: norm(torch.cat([x[:, ::2], x[:, 1::2]], -1)) + norm(m.layer(x)).sum(),
        lambda m, x: (lambda y: norm(torch.cat([y[:, ::2], y[:, 1::2]], -1)))(x + m.layer(norm(x))),
        lambda m, x: norm(x - x.flip(1)),
        lambda m, x: norm(x.mean(0)),
        lambda m, x: norm(x.mean(0)) + norm(x).sum(),
        lambda m, x: norm(x[..., :6]).sum() + norm(x).sum(),
        lambda m, x: norm(m.layer(x)[:, :2].mean(1)),
        lambda m, x: norm(x) * 2 - norm(x)[:, :1],
        lambda m, x: x.softmax(1) @ x.mT,
        lambda m, x: F.layer_norm(x.mT, (4,)) * 2,
    ],
)
def test_other_slices_are_not_copied(function):
    assert "GATHER" not in check(Function(function), [X]).layers()


def test_slices_of_varying_sizes_are_not_copied():
    for dim in (0, 1):
        layers = check(Function(SLICED["row"]), [X], [{dim: "n"}], {"n": (2, 4, 6)}).layers()
        assert "GATHER" not in layers


def test_slices_are_copied_in_loops_and_branches_too():
    def looped(step):
        def body(i, y):
            return i + 1, step(y)

        def function(x):
            return while_loop(lambda i, y: i < 3, body, (torch.zeros((), dtype=torch.int64), x))[1]

        return function

    def branches(x):
        return torch.cond(x.sum() > 0, lambda x: norm(x - x[:, :1]), lambda x: norm(x - x.mean(0, keepdim=True)), (x,))

    for function in (looped(lambda y: norm(y * 2 - y[:, :1])), looped(lambda y: norm((y * 2).softmax(0))), branches):
        assert "GATHER" in check(function, [X], build=True).layers()
