"""Scatters that combine values, and writes under masks, against eager."""

import math

import pytest
import torch
from trt_passes.compiler.ir.call import Call
from trt_passes.passes.convert import default_registry

from tests.oracle import check, traced

aten = torch.ops.aten
generator = torch.Generator().manual_seed(0)


def numbers(*shape, dtype=torch.float32):
    if dtype == torch.bool:
        return torch.rand(shape, generator=generator) > 0.5
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(-9, 9, shape, generator=generator, dtype=dtype)


def places(size, *shape):
    return torch.randint(0, size, shape, generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.int32])
def test_scatter_add(dtype):
    x, src = numbers(4, 5, dtype=dtype), numbers(6, 5, dtype=dtype)

    def function(x, index, src):
        return (
            x.scatter_add(0, index, src),
            x.scatter_add(-1, index.t()[:3] % 5, src.t()[:3]),
            x.scatter_add(0, index[:2, :3], src),
        )

    check(function, [x, places(4, 6, 5), src], build=True)


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_scatter_reduce(reduce, dtype):
    x, src = numbers(4, 3, dtype=dtype), numbers(5, 3, dtype=dtype)

    def function(x, index, src):
        return tuple(x.scatter_reduce(0, index, src, reduce, include_self=flag) for flag in (True, False))

    check(function, [x, places(3, 5, 3), src], build=True)


def test_scatter_with_reduce():
    def function(x, index, src):
        added, scaled = x.scatter(1, index, src, reduce="add"), x.scatter(1, index, src, reduce="multiply")
        return added, scaled, x.scatter(1, index, 2.5, reduce="multiply"), x.scatter(1, index, 2, reduce="add")

    check(function, [numbers(2, 4), places(4, 2, 6), numbers(2, 6)], build=True)


@pytest.mark.parametrize("reduce", ["sum", "mean", "amax"])
def test_dynamic_scatter(reduce):
    def function(x, index, src):
        return x.scatter_reduce(1, index, src, reduce, include_self=False), x.scatter_add(1, index, src)

    inputs = [numbers(3, 4), places(2, 3, 6), numbers(3, 6)]
    names = [{0: "n", 1: "m"}, {0: "n", 1: "k"}, {0: "n", 1: "k"}]
    check(function, inputs, names, {"n": (1, 3, 4), "m": (2, 4, 5), "k": (1, 6, 8)}, build=True)


def test_nan_and_infinity_stay_at_their_places():
    src = torch.tensor([1.0, math.nan, math.inf, -math.inf, 2.0])
    x = torch.tensor([0.0, math.nan, 1.0, -math.inf])
    index = torch.tensor([0, 2, 3, 3, 0])

    def function(x, index, src):
        reduced = [x.scatter_reduce(0, index, src, r) for r in ("sum", "prod", "mean", "amax", "amin")]
        return *reduced, x.scatter_add(0, index, src), x.index_add(0, index, src)

    check(function, [x, index, src])


def test_scalars_and_empty_tensors():
    def function(x, index, src, empty):
        none = x.expand(3).scatter_add(0, empty, src.expand(0)), x.expand(3).index_put([empty], src)
        return x.scatter_add(0, index, src), x.scatter_add(-1, index.view(1), src.view(1)), *none

    check(function, [numbers(), torch.tensor(0), numbers(), torch.zeros(0, dtype=torch.long)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_index_add(dtype):
    def function(x, index, source):
        plain = x.index_add(1, index, source), x.index_add(-2, index, source, alpha=2)
        return *plain, x[0, :, 0].index_add(0, index, source[0, :, 0]), x.index_copy(1, index[:1], source[:, :1])

    inputs = [numbers(2, 4, 3, dtype=dtype), places(4, 6), numbers(2, 6, 3, dtype=dtype)]
    check(function, inputs, [{0: "n"}, {0: "k"}, {0: "n", 1: "k"}], {"n": (1, 2, 3), "k": (1, 6, 7)}, build=True)


@pytest.mark.parametrize("reduce", ["prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_index_reduce(reduce, dtype):
    def function(x, index, source):
        return tuple(x.index_reduce(0, index, source, reduce, include_self=flag) for flag in (True, False))

    check(function, [numbers(4, 3, dtype=dtype), places(3, 6), numbers(6, 3, dtype=dtype)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64, torch.bool])
def test_accumulating_index_put(dtype):
    def function(x, a, c, v):
        return (
            x.index_put([a], v[0], accumulate=True),
            x.index_put([a, c], v[:, 0], accumulate=True),
            aten.index_put(x, [None, a - 3, c], v[:, 0, 0], True),
            aten.index_put(x, [a, None, c], v[0, :, :3], True),
            x.index_put([a], v[0, 0, 0], accumulate=True),
        )

    x = numbers(3, 3, 4, dtype=dtype)
    check(function, [x, torch.tensor([0, 2, 0]), torch.tensor([1, 1, 1]), numbers(1, 3, 4, dtype=dtype)], build=True)


def test_dynamic_accumulating_index_put():
    def function(x, a, v):
        return x.index_put([a], v, accumulate=True), x.index_put([a, a], v[:, 0], accumulate=True)

    inputs = [numbers(3, 4), places(3, 5), numbers(5, 4)]
    names = [{0: "n"}, {0: "k"}, {0: "k"}]
    check(function, inputs, names, {"n": (3, 3, 6), "k": (1, 5, 7)}, build=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_masks(dtype):
    mask = torch.tensor([[True, False, True, True], [False, False, True, False]])

    def function(x, mask, source):
        return (
            x.masked_scatter(mask, source),
            x[0].masked_scatter(mask, source),
            x.masked_scatter(mask[:, :1], source),
            x.index_put([mask], source[:4]),
            x.index_put([mask], source[:4], accumulate=True),
            x.index_put([mask], source[0], accumulate=True),
            x.index_put([mask[:, 2]], source[:8].view(2, 4)),
            x.index_put([mask[:, 2]], source[:4]),
        )

    check(function, [numbers(2, 4, dtype=dtype), mask, numbers(9, dtype=dtype)], build=True)


def test_dynamic_masked_scatter():
    def function(x, mask, source):
        return x.masked_scatter(mask, source)

    inputs = [numbers(3, 4), numbers(3, 4, dtype=torch.bool), numbers(40)]
    check(function, inputs, [{0: "n"}, {0: "n"}, None], {"n": (1, 3, 9)}, build=True)


def reasons(function, inputs, *dynamic):
    _, program = traced(function, inputs, *dynamic)
    found = [(default_registry().get(node.target), Call(node)) for node in program.op_nodes]
    return [reason for converter, call in found if converter for reason in converter.violations(call)]


def test_many_values_are_combined_in_order():
    count = 9000

    def function(x, i, v):
        reduced = (x.scatter_reduce(0, i, v, r, include_self=r != "amax") for r in ("sum", "mean", "amax"))
        return *reduced, x.index_put([i], v, accumulate=True), x.put(i, v, accumulate=True)

    x, values = torch.zeros(count), torch.randint(-9, 9, (count,)).float()
    values[:3] = torch.tensor([math.nan, math.inf, -math.inf])
    check(function, [x, places(50, count), values])


def test_many_rows_are_combined_in_order():
    def function(x, i, v):
        return x.index_add(0, i, v), x.index_put([i], v, accumulate=True)

    inputs = [numbers(2000, 8), places(2000, 5000), numbers(5000, 8)]
    assert not reasons(function, inputs)
    converted = check(function, inputs, [None, {0: "k"}, {0: "k"}], {"k": (100, 5000, 6000)})
    assert "LOOP_OUTPUT" in converted.layers()  # the sorting network


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_values_at_rank_8_are_combined_in_order(dtype):
    shape = (2, 1, 3, 1, 2, 1, 2, 4)
    x, values, index = numbers(*shape, dtype=dtype), numbers(*shape, dtype=dtype), places(3, *shape)

    def function(x, i, v):
        reduced = (x.scatter_reduce(2, i, v, r, include_self=False) for r in ("sum", "prod", "mean", "amax", "amin"))
        return (
            *reduced,
            x.scatter_add(-6, i, v),
            aten.index_put(x, [None, None, i[0, 0, 0, 0, 0, 0, 0]], v[:, :, :1], True),
        )

    check(function, [x, index, values], build=True)


def test_too_many_values_are_refused():
    x, index = torch.zeros(2, device="meta"), torch.zeros(70_000_000, dtype=torch.long, device="meta")
    (reason,) = reasons(lambda x, i: x.scatter_add(0, i, i.float()), [x, index])
    assert reason.code == "TP205"
    assert "`index` is 70000000 = 70000000 elements, but at most 67108864" in reason.message


def test_dynamic_work_counts_at_its_largest():
    def function(x, i):
        return x[:5].index_add(0, i, x)

    inputs, names = [torch.zeros(6, 8), torch.zeros(6, dtype=torch.long)], [{0: "n"}, {0: "n"}]
    assert not reasons(function, inputs, names, {"n": (5, 6, 1000)})
    (reason,) = reasons(function, inputs, names, {"n": (5, 6, 20_000_000)})
    assert "20000000 x 8 = 160000000" in reason.message


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_put(dtype):
    def function(x, i, v):
        return x.put(i, v), x.put(i, v, accumulate=True), x[0, 0].put(i[:1, :1] * 0, v[0, :1]), x.put(i[:0], v[:0])

    x, index = numbers(3, 4, dtype=dtype), torch.tensor([[0, -1], [5, 7]])
    check(function, [x, index, numbers(2, 2, dtype=dtype)], [{0: "n"}, None, None], {"n": (3, 3, 5)}, build=True)


def test_a_mask_among_indices_is_refused():
    x, mask, a = numbers(3, 4), torch.tensor([True, False, True]), torch.tensor([1, 2])
    found = reasons(lambda x, m, a: aten.index_put(x, [m, a], x[:2, 0], True), [x, mask, a])
    assert [reason.code for reason in found] == ["TP204"]


def test_booleans_added_zero_times():
    x, source, index = numbers(3, 4, dtype=torch.bool), numbers(3, 2, dtype=torch.bool), torch.tensor([1, 3])

    def function(x, index, source):
        return x.index_add(1, index, source, alpha=False).logical_not(), x.index_add(1, index, source)

    check(function, [x, index, source], build=True)
