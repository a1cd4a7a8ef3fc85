"""Graphs of torch.fx: traced here or by the user, with the user's lines and module paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.models import ConvNet, seeded

OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1, "pass_through_build_failures": True}
BATCH = tp.Input(min_shape=(1, 3, 16, 16), opt_shape=(2, 3, 16, 16), max_shape=(4, 3, 16, 16))


class Choice(nn.Module):
    """Decides on Python values: x f32[B,4], named, mask, k -> f32[B,4] in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(
        self, x: torch.Tensor, named: dict[str, torch.Tensor], mask: torch.Tensor | None = None, k: int = 2
    ) -> dict[str, torch.Tensor]:
        y = self.layer(x) * named["scale"]
        if k > 1:
            y = torch.relu(y)
        return {"y": y if mask is None else y * mask}


class OnValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Open(nn.Module):
    """Takes whatever it is given: x, *others f32[B,4], scale, w=f32[B,4] -> f32[B,4]."""

    def forward(self, x: torch.Tensor, *others: torch.Tensor, scale: float = 2.0, **named: torch.Tensor) -> Any:
        return sum(others, x * scale) * named.get("w", 1.0)


class Nested(nn.Module):
    def forward(self, given: dict[str, Any]) -> dict[str, Any]:
        x = given.pop("x")
        return {"o": sum(given["more"], x), "l": [x, (x * 2, [x])]}


class OnlyNested(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        return {"o": x + x + 2, "l": [x, (x * 2, [x])]}


class Remembers(nn.Module):
    """Counts and keeps what it saw: x f32[B,4] -> f32[B,4]."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen, self.last = 0, {"all": [torch.zeros(1)]}, torch.zeros(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen["all"].append(x)
        self.last = x.sum(0)
        return x + torch.tensor([1.0, 2.0, 3.0, 4.0])


class Replaces(Remembers):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = self.last + super().forward(x)
        return self.last * 2


def message_of(call: Callable[[], Any]) -> str:
    with pytest.raises(tp.UserError) as caught:
        call()
    return str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("traced", ["here", "by the user"])
def test_a_traced_model_keeps_lines_and_modules(traced: str) -> None:
    model = seeded(ConvNet())
    given = model if traced == "here" else torch.fx.symbolic_trace(model)
    compiled = tp.compile(given, [BATCH], ir="fx", **OPTIONS)
    assert isinstance(compiled, torch.fx.GraphModule)
    for batch in (1, 4):
        x = torch.randn(batch, 3, 16, 16)
        torch.testing.assert_close(compiled(x), model(x))
    rows = {row.op: row for row in compiled.report.ledger.rows}
    assert rows["aten.convolution"].module == "features.0"
    assert rows["aten.linear"].module == "head"
    if traced == "here":
        assert rows["aten.linear"].source == "tests/models.py:21"
    own = {tensor.data_ptr() for tensor in model.parameters()}
    assert {tensor.data_ptr() for name, tensor in compiled.named_parameters()} <= own


@torch.no_grad()
def test_none_numbers_and_nested_arguments() -> None:
    model = seeded(Choice())
    x, named, mask = torch.randn(3, 4), {"scale": torch.randn(3, 4)}, torch.ones(3, 4)
    for args in ((x, named), (x, named, None, 1), (x, named, mask)):
        compiled = tp.compile(model, args, ir="fx", **OPTIONS)
        torch.testing.assert_close(compiled(*args), model(*args))
    compiled = tp.compile(model, [x], kwarg_inputs={"named": named, "mask": mask}, ir="fx", **OPTIONS)
    torch.testing.assert_close(compiled(x, named=named, mask=mask), model(x, named, mask))


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (OnValue(), [torch.ones(3)], "torch.fx cannot trace the model (symbolically traced variables cannot be used"),
        (OnValue(), [], "the model takes (x), but is not given 'x'"),
        (torch.export.export(nn.ReLU(), (torch.ones(2),)), None, "was given a ExportedProgram: use ir='dynamo'"),
    ],
)
def test_what_fx_cannot_trace(model: Any, inputs: Any, message: str) -> None:
    with pytest.raises(tp.UserError) as caught:
        tp.compile(model, inputs, ir="fx")
    assert message in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("given", ["examples", "text"])
def test_keyword_and_open_arguments(given: str) -> None:
    model, x = Open(), torch.randn(3, 4)
    item = x if given == "examples" else "1..8x4"
    for count, named in ((0, {}), (0, {"scale": 3.0}), (2, {"w": x}), (1, {"w": x, "scale": 3.0})):
        declared = {name: item if name == "w" else value for name, value in named.items()}
        compiled = tp.compile(model, [item] * (count + 1), kwarg_inputs=declared, ir="fx", **OPTIONS)
        arguments = [x] * (count + 1)
        torch.testing.assert_close(compiled(*arguments, **named), model(*arguments, **named))
    assert "the graph contains" in message_of(lambda: compiled(x, x, w=x, scale=4.0))


@torch.no_grad()
@pytest.mark.parametrize("traced", ["here", "by the user"])
def test_results_are_plain_dicts_and_lists(traced: str) -> None:
    model, x = Nested(), torch.randn(3, 4)
    given = {"x": x, "more": [x, 2.0]}
    if traced == "here":
        compiled, call = tp.compile(model, [given], ir="fx", **OPTIONS), (given,)
    else:
        graph = torch.fx.symbolic_trace(OnlyNested())
        compiled, call = tp.compile(graph, [x], ir="fx", **OPTIONS), (x,)
    result = compiled(*call)
    assert set(given) == {"x", "more"}
    torch.testing.assert_close(result["o"], x + x + 2)
    assert (type(result), type(result["l"]), type(result["l"][1]), type(result["l"][1][1])) == (dict, list, tuple, list)


@torch.no_grad()
@pytest.mark.parametrize("kind", [Remembers, Replaces])
def test_tracing_leaves_the_model_as_it_was(kind: type[Remembers]) -> None:
    model, x = kind(), torch.randn(3, 4)
    before, last = set(vars(model)), model.last
    if kind is Replaces:
        assert "replaces its attribute 'last'" in message_of(lambda: tp.compile(model, [x], ir="fx", **OPTIONS))
    else:
        compiled = tp.compile(model, [x], ir="fx", **OPTIONS)
        torch.testing.assert_close(compiled(x), kind()(x))
    assert set(vars(model)) == before
    assert (model.calls, len(model.seen["all"])) == (0, 1)
    assert model.last is last
    torch.testing.assert_close(model(x), kind()(x))
