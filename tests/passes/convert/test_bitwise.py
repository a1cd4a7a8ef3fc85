"""Bitwise operators and shifts of integers against eager."""

import pytest
import torch
from trt_passes.compiler.ir.call import Call
from trt_passes.passes.convert import default_registry

from tests.oracle import check, traced

WIDTHS = [torch.int32, torch.int64]


def extremes(dtype):
    limits = torch.iinfo(dtype)
    fixed = [0, 1, -1, 5, -6, limits.max, limits.min, limits.min + 1, limits.max - 1]
    drawn = torch.randint(limits.min, limits.max, (7,), dtype=dtype, generator=torch.Generator().manual_seed(1))
    return torch.cat([torch.tensor(fixed, dtype=dtype), drawn])


@pytest.mark.parametrize("dtype", WIDTHS)
def test_all_pairs(dtype):
    x = extremes(dtype)
    check(lambda a, b: (a & b, a | b, a ^ b, ~a), [x[:, None], x[None]], build=True)


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("number", [0, 1, -1, 255, 6, -8, 2**30, 2**31 - 1, -(2**31)])
def test_numbers(dtype, number):
    check(lambda x: (x & number, x | number, x ^ number, number | x), [extremes(dtype)])


def test_mixed_types_and_scalars():
    flags, small = torch.tensor([True, False, True]), torch.tensor([-7, 6, 5], dtype=torch.int32)

    def function(flags, small, zero):
        return flags & small, small | small.long(), flags ^ 3, zero & small, ~zero, flags | flags, zero ^ zero, ~flags

    check(function, [flags, small, torch.tensor(-12)], build=True)


@pytest.mark.parametrize("dtype", WIDTHS)
def test_shifts(dtype):
    width = torch.iinfo(dtype).bits
    x, by = extremes(dtype), torch.tensor([0, 1, 2, 7, width - 2, width - 1, width, width + 9, -1, -70], dtype=dtype)
    check(lambda x, by: (x << by, x >> by), [x[:, None], by[None]], build=True)


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("by", [0, 3, 30, 31, 32, 62, 63, 64])
def test_shifts_by_numbers(dtype, by):
    check(lambda x: (x << by, x >> by), [extremes(dtype)])


def test_shifts_of_numbers():
    aten = torch.ops.aten
    by = torch.tensor([0, 3, 5])
    check(lambda by: (aten.bitwise_left_shift(5, by), aten.bitwise_right_shift(-100, by)), [by], build=True)


def test_shifts_of_scalars():
    check(lambda x, by: (x << by, x >> by), [torch.tensor(-41), torch.tensor(3)], build=True)


def test_dynamic():
    x = torch.arange(-6, 6).view(3, 4)
    check(lambda x: (x & 6, x | x.t()[:, :1].t(), x << 2, x >> x.abs()), [x], [{0: "n"}], {"n": (1, 3, 5)}, build=True)


def test_empty():
    check(lambda x: (x & 6, x | x, x << 2), [torch.zeros(0, 3, dtype=torch.long)])


def test_rank_8_integers_are_refused():
    _, program = traced(lambda x: x & x, [torch.ones((1,) * 8, dtype=torch.long)])
    (call,) = (Call(node) for node in program.op_nodes)
    (reason,) = default_registry().get(call.target).violations(call)
    assert reason.code == "TP202"
    assert "rank 8" in reason.message
