"""Matrix products against eager."""

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp
from torch import nn
from trt_passes.passes.convert import activation, linear

from tests.marks import gpu
from tests.oracle import check, converted, kernels_of

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
    assert [layer for layer in result.layers() if layer != "CAST"] == ["CONSTANT", "MATRIX_MULTIPLY", "MATRIX_MULTIPLY"]
    (kept,) = result.built.kept_alive
    assert kept.squeeze().equal(result.module.layer.weight.t())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_weight_of_a_varying_number_of_rows(dtype):
    weight = tp.Input(min_shape=(1, 4), opt_shape=(5, 4), max_shape=(9, 4), dtype=dtype)
    x = torch.randn(1, 3, 4, dtype=dtype)
    for function in (F.linear, lambda x, w: F.silu(F.linear(x, w)) * F.linear(x, w * 2)):
        compiled = tp.compile(Applied(function), [x, weight], min_block_size=1, executor="reference")
        assert compiled.report.coverage == 1
        for rows in (1, 5, 9):
            given = torch.randn(rows, 4, dtype=dtype)
            torch.testing.assert_close(compiled(x, given), function(x, given), rtol=1e-2, atol=1e-2)


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, weight):
        return self.function(x, weight)


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


def halves(*shape):
    return torch.randn(shape).half()


@pytest.mark.parametrize(
    ("function", "inputs", "dynamic"),
    [
        (nn.Linear(64, 32).half(), [halves(2, 16, 64)], None),
        (nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)).half(), [halves(2, 16, 64)], [{0: "n"}]),
        (lambda a, c: a @ c, [halves(4, 16, 64), halves(4, 64, 16)], None),
        (lambda a, c: a[:, None] @ c, [halves(4, 16, 64), halves(2, 64, 16)], None),
        (lambda a, b, c: torch.addmm(a, b, c), [halves(32), halves(16, 64), halves(64, 32)], None),
    ],
)
def test_halves_are_added_up_in_float32_in_kernels_for_halves(function, inputs, dynamic):
    ranges = {"n": (2, 3, 5)} if dynamic else None
    check(function, inputs, dynamic, ranges)
    network = converted(function, inputs, dynamic, ranges).built
    assert sum(line.count("f32") for line in network.text().splitlines() if "MATRIX_MULTIPLY" in line)
    products = [kernel for kernel in kernels_of(network) if kernel["type"] in ("gemm", "runtime_fusion")]
    assert products
    for kernel in products:
        assert all(" f16" in tensor for tensor in (*kernel["inputs"], *kernel["outputs"]))


@pytest.mark.parametrize(("many", "dynamic"), [(True, None), (True, [{0: "n"}]), (False, None)])
def test_gelu_of_many_halves_is_no_part_of_the_product_before_it(many, dynamic, monkeypatch):
    ranges = {"n": (2, 3, 5)} if dynamic else None
    inputs = [halves(3, 16, 64)]
    monkeypatch.setattr(activation, "MANY", 3 * 16 * 128 + (not many))
    function = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)).half()
    check(function, inputs, dynamic, ranges)
    kernels = kernels_of(converted(function, inputs, dynamic, ranges).built)
    fused = [kernel for kernel in kernels if kernel["type"] == "runtime_fusion" and "gelu" in kernel["nodes"]]
    alone = [kernel for kernel in kernels if kernel["type"] == "kgen" and "gelu" in kernel["nodes"]]
    assert (len(fused), len(alone)) == ((0, 1) if many else (1, 0))


def test_a_product_of_halves_for_a_vocabulary_has_columns_to_spare(monkeypatch):
    monkeypatch.setattr(linear, "VOCABULARY", 100)
    for count, padded in ((100, 128), (104, 104), (99, 99)):
        for bias in (True, False):
            layer = nn.Linear(64, count, bias=bias).half()
            network = check(layer, [halves(2, 3, 64)], [{0: "n"}], BATCH, build=True).built
            (kept,) = (tensor for tensor in network.kept_alive if tensor.dim() == 3 and tensor.shape[1] == 64)
            assert kept.shape == (1, 64, padded)
            assert kept[0, :, :count].equal(layer.weight.t())
            assert not kept[..., count:].any()
    whole = check(nn.Linear(64, 100), [torch.randn(3, 64)])
    assert whole.layers() == ["CONSTANT", "CONSTANT", "MATRIX_MULTIPLY", "ELEMENTWISE"]


def test_weights_and_their_casts_are_not_counted_as_layers():
    result = converted(nn.Linear(64, 32).half(), [halves(16, 64)])
    assert result.layers() == ["CONSTANT", "CONSTANT", "CAST", "CAST", "MATRIX_MULTIPLY", "CAST", "ELEMENTWISE"]
    assert result.built.size == 4


def test_sums_in_half_precision_are_an_option():
    network = converted(nn.Linear(64, 32).half(), [halves(16, 64)], use_fp32_acc=False).built
    assert "f32" not in network.text()
    compiled = tp.compile(nn.Linear(64, 32).half(), [halves(16, 64)], min_block_size=1, use_fp32_acc=False)
    assert "CAST" not in compiled.report.program.segments[0].network.text()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_bias_of_zeros_is_not_added(dtype):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 4, 3)
            self.linear = nn.Linear(4, 5)
            self.weight, self.bias = nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.zeros(3))
            nn.init.zeros_(self.convolution.bias)
            nn.init.zeros_(self.linear.bias)

        def forward(self, x):
            rows = self.linear(self.convolution(x).mean((2, 3)))
            return torch.addmm(self.bias, rows, self.weight), self.linear(rows[0, :4])

    result = check(Model().to(dtype), [torch.randn(2, 3, 8, 8).to(dtype)], build=True)
    assert "ELEMENTWISE" not in result.layers()


@gpu
@pytest.mark.parametrize("use_fp32_acc", [True, False])
def test_products_of_halves_are_as_exact_as_eager_on_a_gpu(use_fp32_acc):
    torch.manual_seed(0)
    layer, inputs = nn.Linear(8192, 256).half().cuda().eval(), torch.randn(256, 8192).half().cuda()
    compiled = tp.compile(layer, [inputs], min_block_size=1, executor="tensorrt", use_fp32_acc=use_fp32_acc)
    exact = F.linear(inputs.double(), layer.weight.double(), layer.bias.double())
    ours, eager = (
        torch.linalg.vector_norm(result - exact) / torch.linalg.vector_norm(exact)
        for result in (compiled(inputs), layer(inputs))
    )
    assert (ours < 2 * eager) == use_fp32_acc


def test_gelu_of_as_many_dimensions_as_tensorrt_has(monkeypatch):
    monkeypatch.setattr(activation, "MANY", 1)
    check(nn.Sequential(nn.Linear(4, 6), nn.GELU()).half(), [halves(1, 1, 2, 1, 1, 1, 2, 4)])
    check(lambda x, w: F.gelu(F.linear(x, w)), [halves(4), halves(6, 4)])
    check(lambda x, w: F.gelu(x @ w), [halves(4), halves(4)])


class Gated(nn.Module):
    """down(silu(gate(x)) * up(x)), as in Llama."""

    def __init__(self, bias):
        super().__init__()
        self.gate, self.up = nn.Linear(64, 128, bias=bias), nn.Linear(64, 128, bias=bias)
        self.down = nn.Linear(128, 64, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


def test_a_gate_is_a_part_of_its_product():
    function, inputs = Gated(False).half(), [halves(1, 16, 64)]
    check(function, inputs)
    kernels = kernels_of(converted(function, inputs).built)
    (gated,) = [kernel for kernel in kernels if "silu" in kernel["nodes"]]
    assert gated["type"] == "runtime_fusion"
    assert "mul" in gated["nodes"]


def test_products_that_are_no_such_gates_keep_their_shape():
    class Twice(Gated):
        def forward(self, x):
            up = self.up(x)
            return self.down(F.silu(self.gate(x)) * up + up)

    class Apart(Gated):
        def forward(self, x):
            return self.down(F.silu(self.gate(x)) * self.up(x + 1))

    def text(function, *shape, dynamic=None):
        return converted(function, [halves(*shape)], dynamic, {"n": (1, 3, 5)}).built.text()

    assert ".rows" in text(Gated(False).half(), 1, 16, 64)
    for others in (Gated(True), Twice(False), Apart(False)):
        assert ".rows" not in text(others.half(), 1, 16, 64)
    assert ".rows" not in text(Gated(False).half(), 3, 16, 64)
    assert ".rows" not in text(Gated(False).half(), 3, 16, 64, dynamic=[{0: "n"}])
    assert ".rows" not in text(Gated(False).half(), 16, 64)
    assert ".rows" not in converted(Gated(False), [torch.randn(1, 16, 64)]).built.text()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_attention_to_one_key_has_no_softmax_layer(dtype):
    class OneKey(nn.Module):
        def forward(self, x, y):
            return (x @ y.mT).softmax(-1) @ y, F.scaled_dot_product_attention(x, y, y)

    layers = check(OneKey().eval(), [torch.randn(2, 6, 4).to(dtype), torch.randn(2, 1, 4).to(dtype)]).layers()
    assert "SOFTMAX" not in layers
