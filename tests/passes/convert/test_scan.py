"""Scans against eager."""

import math

import pytest
import torch
from trt_passes.compiler.ir.call import Call
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.pass_base import Context
from trt_passes.passes.convert.scan import _distances
from trt_passes.passes.decompose import Decompose

from tests.oracle import check

x = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(2))
NUMERIC = [torch.float32, torch.float16, torch.int64, torch.int32]


def numbers(dtype):
    return x.to(dtype) if dtype.is_floating_point else (x * 3).to(dtype)


@pytest.mark.parametrize("dtype", NUMERIC)
def test_products(dtype):
    def function(x):
        return x.cumprod(1), x.cumprod(-1), x.cumprod(0, dtype=torch.float32), (x > 0).cumprod(1)

    check(function, [numbers(dtype)], build=True)


@pytest.mark.parametrize("dtype", [*NUMERIC, torch.bool])
def test_extremes(dtype):
    check(lambda x: (*x.cummax(1), *x.cummin(1), *x.cummax(-1), x.cummin(0)[1]), [numbers(dtype)], build=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_sums_of_exponentials(dtype):
    check(lambda x: (x.logcumsumexp(1), (x * 90).logcumsumexp(-3)), [numbers(dtype)], build=True)


def test_dynamic():
    def function(x):
        return x.cumprod(1), *x.cummax(1), *x.cummin(0), x.logcumsumexp(1)

    check(function, [x], [{0: "n", 1: "m"}], {"n": (1, 3, 4), "m": (1, 7, 19)}, build=True)


def test_without_a_bound_every_size_is_scanned():
    size = torch.export.Dim.AUTO
    exported = torch.export.export(_Scan(), (x[:, :2],), dynamic_shapes=({1: size},))
    program = Decompose().run(Program(exported), Context())
    (call,) = (Call(node) for node in program.op_nodes if node.target is torch.ops.aten.cumprod.default)
    assert list(_distances(call))[-1] == 2**30


class _Scan(torch.nn.Module):
    def forward(self, x):
        return x.cumprod(1)


def test_equal_elements_and_nans():
    rows = torch.tensor(
        [
            [1.0, 1.0, 0.0, 1.0, 2.0, 2.0],
            [1.0, math.nan, 3.0, math.nan, 9.0, -1.0],
            [-math.inf, -math.inf, math.inf, 1.0, math.inf, math.nan],
        ]
    )
    check(lambda x: (*x.cummax(1), *x.cummin(1), x.logcumsumexp(1), x.cumprod(1)), [rows])


def test_extreme_integers():
    limits = torch.iinfo(torch.int64)
    check(lambda x: (*x.cummax(0), *x.cummin(0)), [torch.tensor([limits.min, limits.min, limits.max, 0])])


def test_one_element_scalars_and_empty():
    def function(scalar, one, empty):
        single = scalar.cumprod(0), *scalar.cummax(-1), scalar.logcumsumexp(0), one.cumprod(0), *one.cummin(0)
        return *single, empty.cumprod(1), *empty.cummax(0), empty.logcumsumexp(0)

    check(function, [torch.tensor(2.0), torch.ones(1, 3), torch.zeros(0, 3)])
