"""Graphs of torch.fx: traced here or by the user, with the user's lines and module paths."""

from __future__ import annotations

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
        (OnValue(), [], "the inputs do not fit the model: missing a required argument: 'x'"),
        (torch.export.export(nn.ReLU(), (torch.ones(2),)), None, "was given a ExportedProgram: use ir='dynamo'"),
    ],
)
def test_what_fx_cannot_trace(model: Any, inputs: Any, message: str) -> None:
    with pytest.raises(tp.UserError) as caught:
        tp.compile(model, inputs, ir="fx")
    assert message in str(caught.value)
