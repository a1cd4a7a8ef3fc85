"""Functions beside the compilers, and passes and parts of graphs, under the names of Torch-TensorRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from torch.export import Dim, export
from trt_passes.compiler.compat.lowering_passes import PASSES
from trt_passes.torch_tensorrt import _features
from trt_passes.torch_tensorrt._utils import is_tensorrt_rtx_version_supported, is_tensorrt_version_supported
from trt_passes.torch_tensorrt.dynamo import CompilationSettings, types, utils
from trt_passes.torch_tensorrt.dynamo._engine_cache import DiskEngineCache
from trt_passes.torch_tensorrt.dynamo._tracer import get_dynamic_shapes, get_dynamic_shapes_args
from trt_passes.torch_tensorrt.dynamo.conversion import DYNAMO_CONVERTERS, converter_utils
from trt_passes.torch_tensorrt.dynamo.lowering import passes, post_lowering
from trt_passes.torch_tensorrt.dynamo.lowering.passes._aten_lowering_pass import get_lowering_pass_config
from trt_passes.torch_tensorrt.dynamo.partitioning import fast_partition, run_shape_analysis
from trt_passes.torch_tensorrt.dynamo.partitioning.common import get_input

aten = torch.ops.aten
X = torch.randn(4, 8)


class Varying(nn.Module):
    def forward(self, x: torch.Tensor, n: torch.Tensor) -> Any:
        return {"sum": x + n, "rows": x.sum(1)}


@pytest.fixture(scope="module")
def varying() -> Any:
    batch = Dim("batch", min=2, max=9)
    program = export(Varying(), (X, torch.ones(4, 8).double()), dynamic_shapes={"x": {0: batch}, "n": {0: batch}})
    return program.run_decompositions({}).module().graph


def test_what_tracing_recorded(varying: Any) -> None:
    x, n = varying.find_nodes(op="placeholder")
    assert utils.contains_sym_int(x.meta["val"])
    assert not utils.contains_sym_int(X)
    assert utils.extract_var_range_info(x.meta["val"].shape[0]) == {"min": 2, "opt": 4, "max": 9}
    assert utils.unwrap_tensor_shape(x.meta["val"]) == ((2, 9), 8)
    assert utils.unwrap_tensor_shape(x.meta["val"], "max_shape") == (9, 8)
    assert utils.unwrap_tensor_shape(x.meta["val"].shape[0]) == ((2, 9),)
    assert [utils.unwrap_tensor_dtype(item) for item in (X, x.meta["val"].shape[0], 2, True, 0.5)] == [
        *(torch.float32, torch.int64, torch.int64, torch.bool, torch.float32)
    ]
    assert utils.get_graph_io_attrs([x, n], "shape") == [((2, 9), 8), ((2, 9), 8)]
    assert utils.get_graph_io_attrs([x, n], "dtype") == [torch.float32, torch.float64]
    with pytest.raises(ValueError, match="attr_type is 'size'"):
        utils.get_graph_io_attrs([x], "size")
    output = varying.output_node()
    assert {kind.to(torch.dtype) for kind in utils.get_output_dtypes(output)} == {torch.float64, torch.float32}
    assert utils.get_output_dtypes(output, truncate_double=True) == [torch.float32] * 2
    assert utils.flatten_nodes([x, (n, {"a": x})]) == [x, n, x]
    found = get_input(x.meta["val"].shape, torch.float16, "x")
    assert found.shape == {"min_shape": (2, 8), "opt_shape": (4, 8), "max_shape": (9, 8)}
    assert get_input((2, 3), torch.int64).shape == (2, 3)
    assert "x f32[" in converter_utils.get_node_io(next(iter(x.users)), {})


def test_metadata_of_calls_is_read_and_set() -> None:
    module = export(nn.Sequential(nn.ReLU(), nn.ReLU()), (X,)).module()
    assert len(utils.get_metadata(module, aten.relu.default)) == 2
    utils.set_metadata(module, aten.relu.default, [{"a": 1}, {"a": 2}])
    assert utils.get_metadata(module, aten.relu.default) == [{"a": 1}, {"a": 2}]
    with pytest.raises(ValueError, match="called 2 times, and metadata has 1"):
        utils.set_metadata(module, aten.relu.default, [{}])


def test_types_of_three_libraries() -> None:
    assert utils.unified_dtype_converter(torch.float16, utils.Frameworks.NUMPY) is np.float16
    assert utils.unified_dtype_converter(np.int32, utils.Frameworks.TORCH) is torch.int32
    assert utils.unified_dtype_converter(torch.bfloat16, utils.Frameworks.TRT) == types.TRTDataType.BF16
    assert utils.unified_dtype_converter(types.TRTDataType.HALF, torch.dtype) is torch.float16
    with pytest.raises(TypeError, match="no counterpart"):
        utils.unified_dtype_converter(torch.bfloat16, utils.Frameworks.NUMPY)


def test_containers_and_options() -> None:
    nested = [{"a": torch.zeros(2, 3)}, torch_tensorrt.Input((4,))]
    assert utils.parse_complex_tensor_structs(nested, "shape", tuple) == [{"a": (2, 3)}, (4,)]
    program = export(nn.ReLU(), (X,))
    assert utils.get_flat_args_with_check(program, (X,), {})[0][0] is X
    with pytest.raises(ValueError, match="takes arguments of the structure"):
        utils.get_flat_args_with_check(program, (X, X), {})
    settings, cache = utils.parse_dynamo_kwargs({"min_block_size": 7, "optimization_level": None})
    assert (settings, cache) == (CompilationSettings(min_block_size=7), None)
    settings, cache = utils.parse_dynamo_kwargs({"options": {"cache_built_engines": True}})
    assert isinstance(cache, DiskEngineCache)
    with pytest.raises(TypeError, match="Did you mean 'min_block_size'"):
        utils.parse_dynamo_kwargs({"min_block_sizes": 7})
    assert utils.use_python_runtime_parser(None) is False
    assert utils.get_cpu_memory_usage() > 50
    assert utils.check_module_output(nn.ReLU(), nn.ReLU(), [torch_tensorrt.Input((2, 3), tensor_domain=(-1, 1))])
    assert not utils.check_module_output(nn.ReLU(), nn.Tanh(), [X])


def test_ranges_as_torch_export_takes_them() -> None:
    ranged = torch_tensorrt.Input(min_shape=(2, 8), opt_shape=(4, 8), max_shape=(9, 8), name="x")
    (dim,) = get_dynamic_shapes(ranged).values()
    assert (dim.min, dim.max) == (2, 9)
    shapes = get_dynamic_shapes_args(nn.ReLU(), [ranged])
    program = export(nn.ReLU(), (X,), dynamic_shapes=shapes)
    assert program.module()(torch.ones(9, 8)).shape == (9, 8)
    assert get_dynamic_shapes(torch_tensorrt.Input((2, 3))) == {}


class Folded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8))

    def forward(self, x: torch.Tensor) -> Any:
        torch._assert_async(torch.tensor(True))
        return x, (x @ (self.weight.detach().t() * 2)).detach()


def test_a_graph_is_lowered_by_hand() -> None:
    model = Folded()
    module = export(model, (X,)).run_decompositions({}).module()
    seen = []

    with PASSES.kept():

        @passes._aten_lowering_pass(index=0, anything=3)
        def look(gm: torch.fx.GraphModule, settings: Any) -> torch.fx.GraphModule:
            seen.append([str(node.target) for node in gm.graph.find_nodes(op="call_function", target=aten.mul.Tensor)])
            return gm

        lowered = post_lowering(module, CompilationSettings())
    assert seen == [[]]
    assert (get_lowering_pass_config(look), get_lowering_pass_config(post_lowering)) == ({"anything": 3}, {})
    targets = {node.target for node in lowered.graph.nodes if node.op == "call_function"}
    assert not targets & {aten.mul.Tensor, aten.detach.default, aten._assert_async.default, aten.permute.default}
    assert any(name.startswith("_frozen_param") for name, _ in lowered.named_buffers())
    given, found = lowered(X)
    assert given is not X
    torch.testing.assert_close((given, found), model(X))


def test_shapes_at_the_borders_of_parts() -> None:
    module = export(nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Softmax(1)), (X,)).run_decompositions({}).module()
    divided, _ = fast_partition(module, verbose=False, min_block_size=1, torch_executed_ops={"aten.relu"})
    taken, made = run_shape_analysis(divided, [torch_tensorrt.Input((4, 8))])
    assert {name: shapes for name, shapes in made.items() if "acc" in name} == {
        name: [(4, 3)] for name in made if "acc" in name
    }
    assert (4, 8) in taken[min(taken)]


def test_features_are_asked_for() -> None:
    assert _features.has_torch_tensorrt_runtime()
    assert _features.has_torchscript_frontend()

    @_features.needs_refit
    def refits(x: int) -> int:
        return x + 1

    assert refits(1) == 2

    @_features.for_all_methods(_features.needs_qdp_plugin, exclude=["plain"])
    class Plugins:
        def plain(self) -> int:
            return 1

        def make(self) -> int:
            return 2

    assert Plugins().plain() == 1
    with pytest.raises(NotImplementedError, match="make needs qdp_plugin"):
        Plugins().make()
    assert is_tensorrt_version_supported("10.8.0")
    assert not is_tensorrt_version_supported("99.0")
    rtx = torch_tensorrt.ENABLED_FEATURES.tensorrt_rtx
    assert is_tensorrt_rtx_version_supported("1.2") is rtx
    assert not is_tensorrt_rtx_version_supported("99.0")
    with pytest.raises(torch_tensorrt.runtime.StreamPlanError, match="say `with torch"):
        torch_tensorrt.runtime.stream_plan(nn.ReLU())


def test_functions_on_tensors_of_a_network() -> None:
    from trt_passes.compiler.compat.converters import REGISTERED
    from trt_passes.torch_tensorrt.dynamo.conversion import dynamo_tensorrt_converter

    assert converter_utils.calculate_strides((2, 3, 4)) == [12, 4, 1]
    assert converter_utils.args_bounds_check((1, None), 1, 5) == 5
    assert converter_utils.args_bounds_check((1, 2), 1) == 2

    with torch.library._scoped_library("compat_tools", "DEF") as library:
        library.define("mix(Tensor a, Tensor b, Tensor n) -> Tensor")

        def mix(a: torch.Tensor, b: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            wide, row = torch.broadcast_tensors(a, b)
            vector = torch.cat([n.to(a.dtype), torch.tensor([2.5])])
            vector = torch.cat([vector[:1], torch.tensor([7.0]), vector[2:]])
            return torch.where(n[0].to(torch.bool), wide * row, wide) + vector.sum() + (n / n).sum()

        library.impl("mix", mix, "CompositeExplicitAutograd")
        library.impl("mix", lambda a, b, n: torch.empty_like(a), "Meta")

        with REGISTERED.kept():

            @dynamo_tensorrt_converter(torch.ops.compat_tools.mix.default)
            def converter(ctx: Any, target: Any, args: Any, kwargs: Any, name: str) -> Any:
                tools, impl = converter_utils, torch_tensorrt.dynamo.conversion.impl
                a, b, n = args
                row = tools.broadcast(ctx, a, b, "a", "b")[1]
                wide, row = tools.broadcast_to_same_shape(ctx, target, None, name, a, row)
                as_float, _ = tools.promote_trt_tensors_to_same_dtype(ctx, n, a, name)
                vector = tools.append(ctx, target, None, name, as_float, 2.5)
                vector = tools.set_item(ctx, target, None, name, vector, 1, 7.0)
                truth = tools.cast_int_or_float_to_bool(ctx, name, impl.select.select(ctx, target, None, name, n, 0, 0))
                product = impl.elementwise.mul(ctx, target, None, name, wide, row)
                chosen = impl.condition.where(ctx, target, None, name, truth, product, wide)
                total = impl.reduce.sum(ctx, target, None, name, vector, [0], False)
                quotients = impl.elementwise.div(
                    ctx, target, None, name, *tools.cast_int_int_div_trt_tensor(ctx, n, n, name)
                )
                ones = impl.reduce.sum(ctx, target, None, name, quotients, [0], False)
                both = impl.elementwise.add(ctx, target, None, name, total, ones)
                return impl.elementwise.add(ctx, target, None, name, chosen, both)

            class Model(nn.Module):
                def forward(self, a: torch.Tensor, b: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
                    return torch.ops.compat_tools.mix(a.relu(), b, n)

            inputs = (X, torch.randn(8), torch.tensor([3, 1, 2], dtype=torch.int32))
            compiled = torch_tensorrt.compile(Model(), inputs=inputs, min_block_size=1, executor="reference")
            assert len(compiled.segments) == 1
            assert compiled.report.coverage == 1
            torch.testing.assert_close(compiled(*inputs), Model()(*inputs))


def test_operators_without_a_converter_for_a_while() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    program = export(model, (torch.ones(2, 4),))
    try:
        DYNAMO_CONVERTERS.set_disallowed_targets({"torch.ops.aten.relu.default"})
        assert torch.ops.aten.relu.default not in DYNAMO_CONVERTERS
        assert DYNAMO_CONVERTERS.get_disallowed_targets() == {"aten.relu.default"}
        divided, _ = fast_partition(post_lowering(program.module()), verbose=False, min_block_size=1)
    finally:
        DYNAMO_CONVERTERS.set_disallowed_targets(set())
    # What torch.export checks of calls, and modules of weights that parts have now, are no children any more.
    assert [name for name, _ in divided.named_children()] == ["_run_on_acc_0", "_run_on_gpu_1", "_run_on_acc_2"]
    assert torch.ops.aten.relu.default in DYNAMO_CONVERTERS
