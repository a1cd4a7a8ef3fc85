"""What Torch-TensorRT's converters, lowering passes and decompositions are written with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.compiler.compat.converters import REGISTERED
from trt_passes.compiler.compat.lowering_passes import PASSES
from trt_passes.torch_tensorrt.dynamo import SourceIR
from trt_passes.torch_tensorrt.dynamo.conversion import DYNAMO_CONVERTERS, dynamo_tensorrt_converter, impl
from trt_passes.torch_tensorrt.dynamo.lowering import passes
from trt_passes.torch_tensorrt.dynamo.partitioning import get_graph_converter_support

SMALL: dict[str, Any] = {"min_block_size": 1, "executor": "reference"}
X = torch.randn(3, 4)


@torch.library.custom_op("trt_passes_blocks::mix", mutates_args=())
def mix(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """relu(x @ weight) * 0.5 + 1, its softmax."""
    return torch.softmax(torch.relu(x @ weight) * 0.5 + 1, -1)


@mix.register_fake
def _(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[0], weight.shape[1])


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return mix(x, self.weight)


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    with REGISTERED.kept(), PASSES.kept():
        yield


def blocks_of(ctx: Any, target: Any, name: str) -> Callable[..., Any]:
    def block(function: Any, part: str, *args: Any, **kwargs: Any) -> Any:
        return function(ctx, target, SourceIR.ATEN, f"{name}_{part}", *args, **kwargs)

    return block


@pytest.mark.parametrize("dynamic", [False, True])
def test_building_blocks_make_a_converter(dynamic: bool) -> None:
    @dynamo_tensorrt_converter(torch.ops.trt_passes_blocks.mix.default, supports_dynamic_shapes=True)
    def convert(ctx: Any, target: Any, args: Any, kwargs: Any, name: str) -> Any:
        block = blocks_of(ctx, target, name)
        product = block(impl.matmul.matrix_multiply, "product", args[0], args[1])
        half = block(impl.elementwise.mul, "half", lhs_val=0.5, rhs_val=block(impl.activation.relu, "relu", product))
        return block(impl.normalization.softmax, "softmax", block(impl.elementwise.add, "add", half, 1), -1, False)

    model = Mixed().eval()
    declared = torch_tensorrt.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4))
    compiled = torch_tensorrt.compile(
        model, inputs=[declared if dynamic else X], require_full_compilation=True, **SMALL
    )
    for rows in (1, 3, 8) if dynamic else (3,):
        x = torch.randn(rows, 4)
        torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize(
    ("module", "function", "arguments", "expected"),
    [
        ("unary", "exp", (), torch.exp),
        ("elementwise", "max", (torch.ones(3, 4),), lambda x: torch.maximum(x, torch.ones(3, 4))),
        ("reduce", "sum", ((1,), True), lambda x: x.sum(1, keepdim=True)),
        ("shuffle", "reshape", ((2, 6),), lambda x: x.reshape(2, 6)),
        ("permutation", "permute", ((1, 0),), lambda x: x.permute(1, 0)),
        ("unsqueeze", "unsqueeze", (0,), lambda x: x.unsqueeze(0)),
        ("slice", "slice_op", (1, 1, 3), lambda x: x[:, 1:3]),
        ("select", "select", (0, 1), lambda x: x[1]),
        ("linear", "linear", (torch.ones(2, 4), torch.ones(2)), lambda x: x.sum(1, keepdim=True) + torch.ones(2)),
    ],
)
def test_a_building_block(module: str, function: str, arguments: Any, expected: Callable[..., Any]) -> None:
    library = torch.library.Library("trt_passes_block", "FRAGMENT")
    name, shape = f"{module}_{function}", expected(X).shape
    library.define(f"{name}(Tensor x) -> Tensor")
    library.impl(name, lambda x: expected(x).clone(), "CPU")
    library.impl(name, lambda x: x.new_empty(shape), "Meta")
    operator = getattr(torch.ops.trt_passes_block, name).default

    @dynamo_tensorrt_converter(operator)
    def convert(ctx: Any, target: Any, args: Any, kwargs: Any, name: str) -> Any:
        return getattr(getattr(impl, module), function)(ctx, target, SourceIR.ATEN, name, args[0], *arguments)

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return operator(x)

    compiled = torch_tensorrt.compile(Model(), inputs=[X], require_full_compilation=True, **SMALL)
    torch.testing.assert_close(compiled(X), expected(X))
    library._destroy()


def test_what_blocks_cannot_do_says_why() -> None:
    with pytest.raises(AttributeError, match="has no 'multiply' here"):
        _ = impl.elementwise.multiply
    said: list[str] = []

    @dynamo_tensorrt_converter(torch.ops.trt_passes_blocks.mix.default)
    def convert(ctx: Any, target: Any, args: Any, kwargs: Any, name: str) -> Any:
        try:
            impl.elementwise.mul(ctx, target, SourceIR.ATEN, name, args[0], factor=2)
        except TypeError as error:
            said.append(str(error))
        return impl.matmul.matrix_multiply(ctx, target, SourceIR.ATEN, name, args[0], args[1])

    torch_tensorrt.compile(Mixed().eval(), inputs=[X], **SMALL)
    assert "no argument 'factor'" in said[0]


class Difference(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x - 1.0)


def test_a_lowering_pass_of_theirs() -> None:
    @passes._aten_lowering_pass
    def add_instead(gm: torch.fx.GraphModule, settings: Any) -> torch.fx.GraphModule:
        for node in gm.graph.find_nodes(op="call_function", target=torch.ops.aten.sub.Tensor):
            with gm.graph.inserting_before(node):
                node.replace_all_uses_with(gm.graph.call_function(torch.add, node.args))
        return passes.clean_up_graph_after_modifications(gm)

    compiled = torch_tensorrt.compile(Difference(), inputs=[X], **SMALL)
    torch.testing.assert_close(compiled(X), torch.relu(X + 1.0))
    assert "lower.add-instead" in compiled.report.pipeline
    assert "add_instead" in passes.dump_lowering_passes()
    torch._dynamo.reset()
    by_dynamo = torch.compile(Difference(), backend="torch_tensorrt", options={**SMALL})
    torch.testing.assert_close(by_dynamo(X), torch.relu(X + 1.0))
    passes._remove_lowering_pass(index=0)
    torch.testing.assert_close(torch_tensorrt.compile(Difference(), inputs=[X], **SMALL)(X), Difference()(X))
    with pytest.raises(ValueError, match="none at place 0"):
        passes._remove_lowering_pass(index=0)


def test_a_decomposition_of_theirs() -> None:
    from trt_passes.torch_tensorrt.dynamo.lowering import TORCH_TRT_DECOMPOSITIONS, register_torch_trt_decomposition

    @register_torch_trt_decomposition(torch.ops.trt_passes_blocks.mix.default, registry=TORCH_TRT_DECOMPOSITIONS)
    def rule(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.softmax(torch.relu(x @ weight) * 0.5 + 1, -1)

    model = Mixed().eval()
    compiled = torch_tensorrt.compile(model, inputs=[X], require_full_compilation=True, **SMALL)
    torch.testing.assert_close(compiled(X), model(X))
    with pytest.raises(ValueError, match="another one"):
        register_torch_trt_decomposition(torch.ops.aten.relu.default, registry={})


def test_the_registry_tells_which_operators_are_converted() -> None:
    relu = torch.ops.aten.relu.default
    assert relu in DYNAMO_CONVERTERS
    assert torch.ops.aten.linalg_svd.default not in DYNAMO_CONVERTERS
    assert relu in DYNAMO_CONVERTERS.unique_targets()
    assert "aten.relu.default: 1 of trt_passes" in DYNAMO_CONVERTERS.display_all_available_converters().replace(
        "aten.relu:", "aten.relu.default:"
    )
    found, info = DYNAMO_CONVERTERS.get_all_converters_with_target(relu, return_registry_info=True)
    assert len(found) == 1
    assert info == {"trt_passes": 1}

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svd(torch.relu(x) + 1)[1]

    graph = torch.export.export(Model(), (X,)).run_decompositions().module()
    supported, total = get_graph_converter_support(graph)
    assert (supported, total) == (2, 3)
    assert get_graph_converter_support(graph, {relu})[0] == 1
