"""Distances, bags and overlapping blocks against eager."""

import math

import pytest
import torch
import torch.nn.functional as F
from trt_passes.compiler.ir.call import Call
from trt_passes.passes.convert import default_registry

from tests.oracle import check, traced

generator = torch.Generator().manual_seed(3)
ORDERS = [0.0, 1.0, 2.0, 3.0, 0.5, math.inf]


def numbers(*shape):
    return torch.randn(shape, generator=generator)


@pytest.mark.parametrize("p", ORDERS)
def test_distances_of_two_sets(p):
    names, ranges = [{0: "b", 1: "n"}, {0: "b"}], {"b": (1, 2, 3), "n": (1, 4, 6)}
    check(lambda a, c: torch.cdist(a, c, p), [numbers(2, 4, 3), numbers(2, 5, 3)], names, ranges, build=True)


def test_distances_of_many_and_of_none():
    def function(a, c, empty):
        return (
            torch.cdist(a, c),
            torch.cdist(a[None], c[None, None]),
            torch.cdist(a[:, :0], c[:, :0]),
            torch.cdist(empty, c),
        )

    check(function, [numbers(30, 3), numbers(31, 3), numbers(0, 3)])


@pytest.mark.parametrize("p", ORDERS)
def test_distances_within_a_set(p):
    check(lambda x: F.pdist(x, p), [numbers(5, 3)], [{1: "m"}], {"m": (1, 3, 4)}, build=True)


def test_a_dynamic_set_is_refused():
    _, program = traced(F.pdist, [numbers(5, 3)], [{0: "n"}], {"n": (3, 5, 6)})
    calls = [Call(node) for node in program.op_nodes if "_pdist" in str(node.target)]
    (reason,) = default_registry().get(calls[0].target).violations(calls[0])
    assert reason.code == "TP203"
    assert "the number of rows must be static" in reason.message


table = numbers(10, 4)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_bags(mode, dtype):
    def function(weight, indices, offsets):
        return (
            F.embedding_bag(indices, weight, offsets, mode=mode),
            F.embedding_bag(indices, weight, offsets, mode=mode, include_last_offset=True),
            F.embedding_bag(indices, weight, offsets, mode=mode, padding_idx=2),
            F.embedding_bag(indices.view(2, 4), weight, mode=mode),
        )

    indices, offsets = torch.tensor([1, 2, 9, 0, 2, 2, 7, 3]), torch.tensor([0, 3, 3, 5, 8])
    check(function, [table.to(dtype), indices, offsets], build=True)


def test_weighted_and_dynamic_bags():
    def function(weight, indices, offsets, factors):
        return F.embedding_bag(indices, weight, offsets, mode="sum", per_sample_weights=factors)

    inputs = [table, torch.tensor([1, 2, 9, 0, 2]), torch.tensor([0, 2, 2, 3]), numbers(5)]
    names = [None, {0: "k"}, {0: "b"}, {0: "k"}]
    check(function, inputs, names, {"k": (4, 5, 7), "b": (1, 4, 4)}, build=True)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2, "stride": 2},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 2), "stride": (2, 1), "dilation": (1, 2), "padding": (1, 0)},
        {"kernel_size": (2, 3), "stride": (2, 3), "padding": (1, 0)},
        {"kernel_size": 2, "stride": 3},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_fold(options, dtype):
    x = F.unfold(numbers(2, 3, 8, 6), **options).to(dtype)
    names, ranges = [{0: "n"}], {"n": (1, 2, 3)}
    check(lambda x: (F.fold(x, (8, 6), **options), F.fold(x[0], (8, 6), **options)), [x], names, ranges, build=True)


def test_infinities_of_blocks_do_not_spread():
    x = F.unfold(numbers(1, 2, 6, 6), 3)
    x[0, 0, 0] = math.inf
    check(lambda x: F.fold(x, (6, 6), 3), [x])
