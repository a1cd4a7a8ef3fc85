"""Symbolic sizes: where they are read from, and their ranges."""

import pytest
import sympy
import torch
from torch.export import Dim
from torch.utils._sympy.functions import FloorDiv
from trt_passes.compiler.ir.input import Input
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.ir.symbol_ranges import symbol_ranges
from trt_passes.compiler.ir.symbols import (
    NO_LIMIT,
    UNBOUNDED_FACTOR,
    UnderivableSize,
    dim_range,
    dims_of,
    product,
    same,
    symbol_sources,
)

s, t, u = sympy.symbols("s t u", integer=True, positive=True)


def evaluate(sources, symbol, shapes):
    """A symbol's value from concrete shapes, by its sources."""
    source = sources[symbol]
    formula = source.formula
    values = {source.size: shapes[source.tensor][source.dim]}
    values |= {other: evaluate(sources, other, shapes) for other in formula.free_symbols if other in sources}
    return int(formula.subs(values))


def test_a_symbol_is_read_where_it_is_a_size():
    source = symbol_sources({"x": (2 * s, 3), "y": (4, s)})[s]
    assert (source.tensor, source.dim, source.formula) == ("y", 1, source.size)


@pytest.mark.parametrize("size", [2 * s + 1, s * t + s, 3 * s - 2 * t])
def test_linear_expressions_are_solved(size):
    sources = symbol_sources({"x": (size,), "y": (t,)})
    truth = {s: 5, t: 3}
    shapes = {"x": (int(size.subs(truth)),), "y": (3,)}
    assert evaluate(sources, s, shapes) == 5


def test_what_cannot_be_solved_is_missing():
    assert set(symbol_sources({"x": (s * s,), "y": (t + u,)})) == set()


def test_same_and_product():
    assert same(s + s, 2 * s)
    assert not same(s, t)
    assert same(product((2, s, 3)), 6 * s)
    assert product(()) == 1


@pytest.mark.parametrize("size", [2 * s + 1, 10 - s, (s + 1) * t])
def test_ranges_contain_every_value(size):
    ranges = {s: (1, 4, 8), t: (2, 3, 5)}
    low, usual, high = dim_range(size, ranges)
    values = [int(size.subs({s: a, t: b})) for a in range(1, 9) for b in range(2, 6)]
    assert low <= min(values)
    assert max(values) <= high
    assert usual == int(size.subs({s: 4, t: 3}))


def test_a_symbol_without_range_is_named():
    with pytest.raises(UnderivableSize, match="the size u "):
        dim_range(u + 1, {s: (1, 2, 3)})


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x, x], 0)


def exported(low, high):
    return torch.export.export(Model(), (torch.randn(4, 3),), dynamic_shapes={"x": {0: Dim("n", min=low, max=high)}})


def result_of(program):
    return program.output_node.args[0][0].meta["val"]


def shape_range(program, value):
    """The smallest, usual and largest shape of a tensor of the program."""
    corners = [dim_range(dim, symbol_ranges(program)) for dim in dims_of(value.shape)]
    return tuple(zip(*corners, strict=True))


def test_declared_inputs_decide_the_profile():
    program = Program(exported(2, 32), inputs=(Input(min_shape=(2, 3), opt_shape=(8, 3), max_shape=(16, 3)),))
    assert shape_range(program, result_of(program)) == ((4, 3), (16, 3), (32, 3))


def test_without_declared_inputs_the_export_decides():
    program = Program(exported(2, 32))
    assert shape_range(program, result_of(program)) == ((4, 3), (8, 3), (64, 3))


def test_an_unbounded_size_is_a_multiple_of_the_usual_one():
    program = Program(exported(2, None))
    low, usual, high = shape_range(program, program.user_inputs[0].meta["val"])
    assert (low, usual, high) == ((2, 3), (4, 3), (4 * UNBOUNDED_FACTOR, 3))


def test_dims_of_gives_numbers_where_it_can():
    program = Program(exported(2, 32))
    batch, width = dims_of(program.user_inputs[0].meta["val"].shape)
    assert isinstance(batch, sympy.Symbol)
    assert width == 3


def test_a_size_divided_by_what_may_be_zero_has_no_upper_bound():
    low, usual, high = dim_range(FloorDiv(s, t), {s: (1, 8, 16), t: (0, 2, 4)})
    assert (low, usual, high) == (0, 4, NO_LIMIT)
