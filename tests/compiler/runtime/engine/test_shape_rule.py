from typing import Any

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.export import Dim
from torch.utils._sympy.functions import (
    CeilToInt,
    CleanDiv,
    FloorDiv,
    IntTrueDiv,
    Max,
    Min,
    Mod,
    ModularIndexing,
    PythonMod,
)
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.engine_spec import Binding, EngineSpec
from trt_passes.compiler.ir.shape_rule import ShapeRule


def rule(inputs: list[tuple[Any, ...]], outputs: list[tuple[Any, ...]], low: int = 1, high: int = 64) -> ShapeRule:
    def side(shapes: list[tuple[Any, ...]]) -> tuple[Binding, ...]:
        corners = [
            tuple(tuple(size if isinstance(size, int) else c for size in shape) for shape in shapes)
            for c in (low, high)
        ]
        return tuple(
            Binding(f"t{i}", torch.float32, shape, corners[0][i], corners[0][i], corners[1][i])
            for i, shape in enumerate(shapes)
        )

    return ShapeRule(EngineSpec("segment-00", "tensorrt_rtx", "1.6.1.120", side(inputs), side(outputs)))


a, b = sympy.symbols("s0 s1", integer=True, positive=True)
EXPRESSIONS = [
    a + 2 * b,
    FloorDiv(a - 1, 2) + 1,
    a * b - 3,
    Max(a, b, 3),
    Min(a, 5),
    Mod(a, 3),
    PythonMod(a, 3),
    ModularIndexing(a, 2, 3),
    CleanDiv(2 * a, 2),
    CeilToInt(IntTrueDiv(a, 3)),
    a**2,
    sympy.Rational(1, 2) * (4 * a),
    (a * a + a) / 2,
]


@pytest.mark.parametrize("expr", EXPRESSIONS, ids=str)
@settings(deadline=None)
@given(x=st.integers(1, 64), y=st.integers(1, 64))
def test_texts_mean_what_sympy_means(expr: sympy.Expr, x: int, y: int) -> None:
    shapes = rule([("s0", "s1")], [(str(expr),)]).output_shapes([(x, y)])
    assert shapes == ((int(expr.subs({a: x, b: y})),),)
    assert all(type(size) is int for size in shapes[0])


@settings(deadline=None)
@given(x=st.integers(1, 64))
def test_a_symbol_is_solved_for_where_it_is_no_size_itself(x: int) -> None:
    assert rule([("2*s0 + 1", 3)], [("3*s0",)]).output_shapes([(2 * x + 1, 3)]) == ((3 * x,),)


def test_a_direct_size_is_preferred_to_a_solution() -> None:
    assert rule([("2*s0",), ("s0",)], [("s0", 7)]).output_shapes([(8,), (4,)]) == ((4, 7),)


def test_a_symbol_that_no_input_tells_is_a_user_error() -> None:
    with pytest.raises(UserError, match="no input's shape tells s1"):
        rule([("s0",)], [("s1",)])


@pytest.mark.parametrize(
    "text",
    ["__import__('os').getcwd()", "s0.real", "(lambda: 1)()", "[s0][0]", "s0 if s0 else 1", "open(s0)", "'x'", "s0;1"],
)
def test_text_that_is_no_size_is_refused_before_it_runs(text: str) -> None:
    with pytest.raises(UserError, match="cannot compute"):
        rule([("s0",)], [(text,)])


def test_sizes_outside_the_profile_are_named() -> None:
    with pytest.raises(UserError, match=r"input 't0' has size 65 in dimension 1 .*takes 1 to 64"):
        rule([(3, "s0")], [("s0",)]).check([(3, 65)])
    with pytest.raises(UserError, match=r"input 't0' has size 4 in dimension 0 .*takes 3"):
        rule([(3, "s0")], [("s0",)]).check([(4, 5)])


def test_a_wrong_rank_is_named() -> None:
    with pytest.raises(UserError, match=r"'t0' has shape \(3,\), but the engine takes \[3, s0\]"):
        rule([(3, "s0")], [("s0",)]).check([(3,)])


def test_sizes_that_contradict_each_other_are_named() -> None:
    with pytest.raises(
        UserError, match=r"input 't1' has size 9 in dimension 0, but the other inputs make it 8 \(= 2\*s0\)"
    ):
        rule([("s0",), ("2*s0",)], [("s0",)]).check([(4,), (9,)])


def test_symbolic_sizes_stay_symbolic() -> None:
    class Probe(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shape = rule([("s0", 2)], [("Max(s0, 3) + 2*s0",)]).output_shapes([tuple(x.shape)])[0]
            return x.new_ones(shape[0])

    exported = torch.export.export(Probe(), (torch.ones(5, 2),), dynamic_shapes=({0: Dim("n", min=1, max=20)},))
    for size in (1, 2, 3, 11):
        assert exported.module()(torch.ones(size, 2)).shape == (max(size, 3) + 2 * size,)


def test_a_size_that_an_input_has_as_a_whole_is_read_there() -> None:
    assert rule([("s0*s1", 4)], [(2, "s0*s1")]).output_shapes([(6, 4)]) == ((2, 6),)
