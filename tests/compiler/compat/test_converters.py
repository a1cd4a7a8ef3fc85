"""Converters that were written for Torch-TensorRT."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.compiler.compat.converters import REGISTERED
from trt_passes.torch_tensorrt.dynamo.conversion import ConverterPriority, dynamo_tensorrt_converter
from trt_passes.torch_tensorrt.dynamo.conversion.converter_utils import get_trt_tensor

SMALL: dict[str, Any] = {"min_block_size": 1, "executor": "reference"}
X = torch.randn(3, 4)


@torch.library.custom_op("trt_passes_theirs::affine", mutates_args=())
def affine(x: torch.Tensor, weight: torch.Tensor, scale: float) -> torch.Tensor:
    """x @ weight * scale."""
    return x @ weight * scale


@affine.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, scale: float) -> torch.Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return affine(x, self.weight, 3.0).relu()


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with REGISTERED.kept():
        yield


def register(**options: Any) -> list[str]:
    called: list[str] = []

    @dynamo_tensorrt_converter(torch.ops.trt_passes_theirs.affine.default, **options)
    def convert(ctx: Any, target: Any, args: Any, kwargs: Any, name: str) -> Any:
        called.append(name)
        x, weight, scale = args
        assert isinstance(weight, torch.Tensor)
        import tensorrt_rtx as trt

        operation = trt.MatrixOperation.NONE
        matrix = get_trt_tensor(ctx, weight, f"{name}.weight")
        product = ctx.net.add_matrix_multiply(x, operation, matrix, operation).get_output(0)
        factor = get_trt_tensor(ctx, scale, f"{name}.scale", torch.float32, min_rank=2)
        return ctx.net.add_elementwise(product, factor, trt.ElementWiseOperation.PROD).get_output(0)

    return called


def test_a_registered_converter_is_used() -> None:
    pytest.importorskip("tensorrt_rtx")
    called = register(supports_dynamic_shapes=True, priority=ConverterPriority.HIGH)
    model = Model().eval()
    varying = torch_tensorrt.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4))
    compiled = torch_tensorrt.compile(model, inputs=[varying], **SMALL)
    assert called
    assert compiled.report.coverage == 1
    for size in (1, 6):
        x = torch.randn(size, 4)
        torch.testing.assert_close(compiled(x), model(x))
    with torch.no_grad():
        options = {"min_block_size": 1, "executor": "reference"}
        torch.testing.assert_close(torch.compile(model, backend="torch_tensorrt", options=options)(X), model(X))


@pytest.mark.parametrize(
    ("options", "varies", "converted"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"enabled": False}, False, False),
        ({"capability_validator": lambda node, settings: node.args[2] == 3.0}, False, True),
        ({"capability_validator": lambda node: node.args[2] != 3.0}, False, False),
    ],
)
def test_calls_that_a_converter_takes(options: Any, varies: bool, converted: bool) -> None:
    pytest.importorskip("tensorrt_rtx")
    register(**options)
    item = torch_tensorrt.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4)) if varies else X
    model = Model().eval()
    compiled = torch_tensorrt.compile(model, inputs=[item], **SMALL)
    assert (compiled.report.coverage == 1) == converted
    torch.testing.assert_close(compiled(X), model(X))
