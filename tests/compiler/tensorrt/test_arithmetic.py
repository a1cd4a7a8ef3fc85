"""The shared arithmetic: promotion, division with signs, broadcasting, sizes."""

import itertools

import pytest
import sympy
import torch
from torch.utils._sympy.functions import CeilDiv, FloorDiv, Max, Min, Mod, PythonMod, ToFloat, TruncToInt, Where
from trt_passes.compiler.ir.symbols import symbol_sources
from trt_passes.compiler.tensorrt import arithmetic, shapes
from trt_passes.compiler.tensorrt.context import ConverterContext
from trt_passes.compiler.tensorrt.executor import ReferenceExecutor
from trt_passes.compiler.tensorrt.loader import load
from trt_passes.compiler.tensorrt.log import collecting_logger
from trt_passes.compiler.tensorrt.tensor import Tensor

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool]
s, t = sympy.symbols("s t", integer=True, positive=True)


class Bench:
    """A context with inputs, whose results can be evaluated."""

    def __init__(self, **inputs):
        self.library, trt = load(), load().module
        self.log = collecting_logger(trt)
        self.builder = trt.Builder(self.log)
        self.network = self.library.create_network(self.builder)
        self.ctx = ConverterContext(self.library, self.network, self.log, ranges={s: (1, 4, 64), t: (1, 4, 64)})
        self.ctx.begin("bench")
        for name, (dtype, shape) in inputs.items():
            dims = tuple(size if isinstance(size, int) else -1 for size in shape)
            tensor = self.network.add_input(name, self.ctx.data_type(dtype), dims)
            self.ctx.bind(name, Tensor(tensor, dtype, shape))
        self.ctx.sizes.sources = symbol_sources({name: shape for name, (_, shape) in inputs.items()})

    def __getitem__(self, name):
        return self.ctx.value(name)

    def run(self, result, **feeds):
        self.network.mark_output(result.trt)
        return ReferenceExecutor(self.library, self.network).run(feeds)[result.trt.name]


@pytest.mark.parametrize(("left", "right"), itertools.combinations_with_replacement(DTYPES, 2))
@pytest.mark.parametrize(("first", "second"), [((2,), (2,)), ((2,), ()), ((), (2,)), ((), ())])
def test_promotion_is_pytorchs(left, right, first, second):
    a, b = Tensor(None, left, first), Tensor(None, right, second)
    assert arithmetic.result_dtype(a, b) == torch.result_type(
        torch.ones(first, dtype=left), torch.ones(second, dtype=right)
    )


@pytest.mark.parametrize("number", [True, 2, 2.5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_give_way(dtype, number):
    wanted = torch.result_type(torch.ones(2, dtype=dtype), number)
    assert arithmetic.result_dtype(Tensor(None, dtype, (2,)), number) == wanted
    weak = Tensor(None, torch.tensor(number).dtype, (), weak=True)
    assert arithmetic.result_dtype(Tensor(None, dtype, (2,)), weak) == wanted


@pytest.mark.parametrize("sign_of_divisor", [True, False])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
def test_division_keeps_pytorchs_signs(dtype, sign_of_divisor):
    values = torch.tensor([-7, -6, -1, 0, 1, 6, 7]).to(dtype)
    divisors = torch.tensor([[-3], [-2], [2], [3]]).to(dtype)
    bench = Bench(a=(dtype, (1, 7)), b=(dtype, (4, 1)))
    result = arithmetic.remainder(bench.ctx, bench["a"], bench["b"], sign_of_divisor=sign_of_divisor)
    oracle = torch.remainder if sign_of_divisor else torch.fmod
    torch.testing.assert_close(bench.run(result, a=values[None], b=divisors), oracle(values, divisors))


def test_a_dynamic_dimension_broadcasts_against_a_static_one():
    assert shapes.broadcast((s, 1, 4), (1, t, 4)) == (s, t, 4)
    assert shapes.broadcast((s, 1), (1, 5)) == (s, 5)


def test_reduction_of_no_dimension_is_the_tensor_itself():
    bench = Bench(x=(torch.float32, ()))
    assert arithmetic.reduce(bench.ctx, "SUM", bench["x"], None) is bench["x"]


def test_equal_numbers_are_one_constant():
    bench = Bench(x=(torch.float32, (2,)))
    assert bench.ctx.scalar(2.0, torch.float32, 1).trt.name == bench.ctx.scalar(2.0, torch.float32, 1).trt.name
    assert bench.ctx.scalar(2, torch.int64, 1).trt.name != bench.ctx.scalar(2.0, torch.float32, 1).trt.name


EXPRESSIONS = [
    2 * s + 3 * t - 1,
    s * t,
    s**2,
    FloorDiv(s - 10, 3),
    CeilDiv(s, 3),
    Mod(s + t, 4),
    PythonMod(3 - s, 4),
    Max(s, t),
    Min(s, 2 * t, 9),
    Where(sympy.Gt(s, t), s, t),
    Where(sympy.Eq(s, 7), 1, 0),
    TruncToInt(1.5 * ToFloat(s)),
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
@pytest.mark.parametrize(("first", "second"), [(7, 3), (2, 5), (12, 12)])
def test_sizes_are_computed_from_the_inputs(expression, first, second):
    bench = Bench(x=(torch.float32, (s, 4)), y=(torch.float32, (2 * t,)))
    result = bench.run(bench.ctx.sizes.tensor(expression), x=torch.zeros(first, 4), y=torch.zeros(2 * second))
    assert result.tolist() == [int(expression.subs({s: first, t: second}))]


def test_sizes_without_a_counterpart_say_so():
    bench = Bench(x=(torch.float32, (s,)))
    with pytest.raises(NotImplementedError, match="has no counterpart in TensorRT"):
        bench.ctx.sizes.tensor(sympy.Function("unknown")(s))


@pytest.mark.parametrize(
    ("before", "after", "layers"),
    [
        ((s, 3, 4), (s, 12), 1),
        ((s, 3, 4), (3 * s, 4), 1),
        ((s, t, 4), (s, 1, t, 4), 1),
        ((6, 4), (2, 12), 1),
    ],
)
def test_a_reshape_uses_shape_tensors_only_where_needed(before, after, layers):
    bench = Bench(x=(torch.float32, before))
    shapes.reshape(bench.ctx, bench["x"], after)
    assert bench.network.num_layers == layers
