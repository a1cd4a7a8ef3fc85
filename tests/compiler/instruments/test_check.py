"""A user is told when lower precision changes the answer, and where."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

HALF = {"enabled_precisions": {torch.float16}, "min_block_size": 1, "executor": "reference"}


class Pitch(nn.Module):
    """A weighted mean with weights of any size: x f32[B,8] -> f32[B]. The weights of `shift` -25 are 1e-11."""

    def __init__(self, shift: float = -25.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.shift = nn.Linear(8, 32), shift
        self.register_buffer("steps", torch.arange(32.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.sigmoid(self.layer(x) + self.shift)
        return (y * self.steps).sum(-1) / y.sum(-1)


class Large(nn.Module):
    """What is larger than halves can be on the way: x f32[B,8] -> f32[B,4]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(x) * 300.0)
        z = self.second(y * 400.0)
        return z / z.abs().amax()


class InHalves(nn.Module):
    """Underflow that is in the model: x f32[B,8] -> f32[B]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = (x.abs() * 1e-9).half()
        return (y.sum(-1) / y.sum(-1)).float()


def compiled(model: nn.Module, x: torch.Tensor, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tp.compile(model.eval(), [x], **{**HALF, **options})


def note(module: Any, start: str = "check: the") -> str:
    return next(text for text in module.report.notes if text.startswith(start))


X = torch.linspace(-1, 1, 32).reshape(4, 8)


@pytest.mark.parametrize("model", [Pitch(), Large()])
@pytest.mark.parametrize("ir", ["dynamo", "ts", "fx"])
def test_what_halves_cannot_hold_stays_in_float32_and_is_named(model: nn.Module, ir: str) -> None:
    given = torch.jit.trace(model.eval(), X) if ir == "ts" else model
    assert not torch.isfinite(compiled(given, X, ir=ir)(X)).all()
    checked = compiled(given, X, ir=ir, check=[X])
    torch.testing.assert_close(checked(X), model(X), rtol=5e-3, atol=5e-3)
    said = note(checked, "float16 cannot hold")
    assert ("sigmoid (aten.sigmoid" in said and "too small" in said) or (
        "mul_1 (aten.mul" in said and "too large" in said
    )
    assert "test_check.py:" in said or ir == "ts"  # what torch.jit.trace made knows no lines


def test_values_that_fit_go_to_halves_as_ever() -> None:
    model = Pitch(0.0)
    plain, checked = compiled(model, X), compiled(model, X, check=[X])
    assert [str(node) for node in plain.report.program.graph.nodes] == [
        str(node) for node in checked.report.program.graph.nodes
    ]
    assert not any("cannot hold" in text for text in checked.report.notes)


def test_the_inputs_of_the_check_decide() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
    assert not any("cannot hold" in text for text in compiled(model, X, check=[X]).report.notes)
    large = compiled(model, X, check=[X * 1e7])
    assert "linear (aten.linear" in note(large, "float16 cannot hold")
    torch.testing.assert_close(large(X * 1e7), model(X * 1e7), rtol=1e-2, atol=1e-2)


def test_an_error_above_the_tolerance_is_told_with_the_lines_that_bring_it() -> None:
    with pytest.warns(RuntimeWarning, match=r"which it exceeds\. Most of the error is added by .*test_check\.py:\d+"):
        module = tp.compile(Pitch(0.0).eval(), [X], check=[X], tolerance=1e-6, **HALF)
    assert "the tolerance 1.0e-06, which it exceeds" in note(module)


def test_an_error_below_the_tolerance_is_noted_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        module = tp.compile(Pitch(0.0).eval(), [X], check=[X], tolerance=1e-2, **HALF)
    assert note(module).endswith("the tolerance 1.0e-02.")


def test_a_metric_judges_the_results_of_the_model() -> None:
    seen = []

    def far(expected: torch.Tensor, found: torch.Tensor) -> float:
        seen.append((expected, found))
        return float((expected - found).abs().max())

    module = compiled(Pitch(0.0), X, check=tp.Check((X,), metric=far), tolerance=1e-9)
    ((expected, found),) = seen
    torch.testing.assert_close(expected, Pitch(0.0)(X))
    assert f"check: far gives {float((expected - found).abs().max()):.2e}" in note(module, "check: far")


def test_a_metric_that_raises_is_the_users_mistake() -> None:
    def wrong(expected: Any, found: Any) -> float:
        raise KeyError("scores")

    with pytest.raises(tp.UserError, match="the metric wrong raises KeyError on the results"):
        compiled(Pitch(0.0), X, check=wrong)


@pytest.mark.parametrize(
    ("model", "inputs", "kind", "op"),
    [
        (Pitch().half(), X.half(), "NaN", "div (aten.div.Tensor"),
        (InHalves(), X, "NaN", "div (aten.div.Tensor"),
        (Large().half(), X.half(), "infinity", "mul_1 (aten.mul.Tensor"),
    ],
)
def test_what_first_made_nan_or_infinity_is_named(model: nn.Module, inputs: torch.Tensor, kind: str, op: str) -> None:
    with pytest.warns(RuntimeWarning, match="first makes"):
        module = tp.compile(model.eval(), [inputs], min_block_size=1, executor="reference", check=True)
    assert f"{op}, tests/compiler/instruments/test_check.py:" in note(module)
    assert f"first makes {kind}" in note(module)


def test_nan_of_the_model_itself_is_told_as_such() -> None:
    class Roots(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sqrt(x).nan_to_num(7.0) * torch.log(x)

    module = compiled(Roots(), X, check=[X])
    assert "The model itself makes NaN, in float64 too: sqrt (aten.sqrt" in note(module)


def test_masks_of_minus_infinity_are_no_trouble() -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.masked_fill(x > 0, float("-inf")).softmax(-1)

    assert "first makes" not in note(compiled(Masked(), X, check=[X]))


def test_a_check_leaves_the_state_of_the_model_alone() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls.add_(1)
            return x * self.calls

    model = Counting().eval()
    compiled(model, X, check=[X], tolerance=1e-12)
    assert model.calls.tolist() == [0.0] * 8


def test_inputs_that_the_model_does_not_take_are_the_users_mistake() -> None:
    with pytest.raises(tp.UserError, match="check: the model itself raises"):
        compiled(Pitch(), X, check=[torch.zeros(4, 9)])
    with pytest.raises(tp.UserError, match="option 'check' is 3: give the model's arguments"):
        compiled(Pitch(), X, check=3)
    with pytest.raises(tp.UserError, match="option 'tolerance' is -1: give a number above 0"):
        compiled(Pitch(), X, tolerance=-1)


def test_torch_compile_checks_each_graph_on_its_own_call() -> None:
    model = Pitch()
    fast: Any = tp.compile(model.eval(), ir="torch_compile", check=True, **HALF)
    with torch.no_grad():
        torch.testing.assert_close(fast(X), model(X), rtol=5e-3, atol=5e-3)
    (graph,) = fast.graphs
    assert any("cannot hold" in text for text in graph.report.notes)
    with pytest.raises(tp.UserError, match="give check=True"):
        tp.compile(model, ir="torch_compile", check=[X])
