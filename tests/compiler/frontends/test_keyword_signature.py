"""Models that take `**keywords`: traced for ranges of shapes, and left as they were."""

import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.frontends.keyword_signature import named_keywords


class Open(nn.Module):
    """x f32[B,4], and anything else by keyword."""

    def forward(self, x: torch.Tensor, **others: torch.Tensor) -> torch.Tensor:
        return x * 2 + others["a"] - others["b"]


def test_keywords_may_have_dynamic_shapes():
    ranged = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4))
    model = Open()
    program = tp.trace(model, [ranged], {"a": ranged, "b": ranged})
    assert [node.name for node in program.user_inputs] == ["x", "a", "b"]
    assert "forward" not in vars(model)
    values = [torch.randn(5, 4) for _ in range(3)]
    found = program.exported.module()(values[0], a=values[1], b=values[2])
    torch.testing.assert_close(found, model(values[0], a=values[1], b=values[2]))


def test_a_replaced_forward_is_put_back():
    model = Open()
    model.forward = replacement = lambda x, **others: x
    with named_keywords(model, {"a": None}):
        assert model.forward is not replacement
    assert model.forward is replacement
