"""What the reference pages of Torch-TensorRT show of types, parts of graphs, and single engines."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.compiler.tensorrt.loader import load
from trt_passes.torch_tensorrt import Device, DeviceType, EngineCapability, Input, dtype, memory_format
from trt_passes.torch_tensorrt.dynamo import partitioning
from trt_passes.torch_tensorrt.dynamo._engine_cache import BaseEngineCache
from trt_passes.torch_tensorrt.dynamo._settings import CompilationSettings, settings_are_compatible
from trt_passes.torch_tensorrt.dynamo.conversion import _ConverterRegistry, converter_utils

trt = load().module
X = torch.randn(4, 10)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(10, 20), nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))


class Waves(nn.Module):
    """One operator of three that can be kept in PyTorch."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        total = torch.ops.aten.add.Tensor(x, y)
        return torch.ops.aten.mul.Tensor(torch.ops.aten.cos.default(total), total)


@pytest.mark.parametrize(
    ("member", "ours", "numpys", "theirs"),
    [
        (dtype.f32, torch.float32, np.float32, "FLOAT"),
        (dtype.f16, torch.float16, np.float16, "HALF"),
        (dtype.bf16, torch.bfloat16, None, "BF16"),
        (dtype.i8, torch.int8, np.int8, "INT8"),
        (dtype.i32, torch.int32, np.int32, "INT32"),
        (dtype.i64, torch.int64, np.int64, "INT64"),
        (dtype.b, torch.bool, np.bool_, "BOOL"),
        (dtype.u8, torch.uint8, np.uint8, "UINT8"),
    ],
)
def test_types_are_converted_by_keyword(member: Any, ours: Any, numpys: Any, theirs: str) -> None:
    kind = getattr(trt.DataType, theirs)
    assert member.to(t=torch.dtype) == member.try_to(t=torch.dtype) == ours
    assert dtype._from(t=ours) == dtype.try_from(t=kind) == member == ours
    assert member.to(t=trt.DataType) == kind
    if numpys is not None:
        assert member.to(t=np.dtype) == numpys
        assert dtype._from(numpys) == member == numpys


def test_other_enumerations() -> None:
    assert memory_format.linear.to(t=trt.TensorFormat) == trt.TensorFormat.LINEAR
    assert EngineCapability._from(t=trt.EngineCapability.SAFETY) == EngineCapability.SAFETY
    for text in ("cuda", "gpu:1", torch.device("cuda:0"), Device("cuda:1"), trt.DeviceType.GPU):
        assert DeviceType._from(text) == DeviceType.GPU
    assert DeviceType._from("dla:0") == DeviceType._from(Device("dla:0")) == DeviceType.DLA
    with pytest.raises(TypeError, match="no DeviceType"):
        DeviceType._from("tpu")


def test_an_input_has_an_example() -> None:
    declared = Input(min_shape=(1, 3), opt_shape=(2, 3), max_shape=(4, 3), tensor_domain=(5, 6))
    assert declared.torch_tensor.shape == (2, 3)
    assert declared.torch_tensor.min() >= 5
    assert declared.torch_tensor is declared.torch_tensor
    assert Input((2, 2), dtype=torch.int32).torch_tensor.dtype == torch.int32
    assert Input.from_tensor(X).torch_tensor is X
    assert Input._supported_input_size_type([1]) is not Input._supported_input_size_type({1})


def test_settings_are_compared_and_kept() -> None:
    settings = CompilationSettings(min_block_size=2, autocast_calibration_dataloader=None)
    assert pickle.loads(pickle.dumps(settings)) == copy.deepcopy(settings) == settings
    assert settings_are_compatible(settings, CompilationSettings()) == (True, set())
    assert settings_are_compatible(settings, CompilationSettings(disable_tf32=True)) == (False, {"disable_tf32"})
    module = torch.export.export(Mlp(), (X,)).module()
    key = BaseEngineCache.get_hash(module, [Input.from_tensor(X)], settings)
    other = torch.export.export(Mlp(), (X,)).module()
    assert BaseEngineCache.get_hash(other, [Input.from_tensor(X)], CompilationSettings()) == key
    assert BaseEngineCache.get_hash(other, [Input.from_tensor(X)], CompilationSettings(disable_tf32=True)) != key
    assert BaseEngineCache.get_hash(other, [Input((5, 10))], settings) != key


@pytest.mark.parametrize(
    ("partition", "stay", "least", "expected"),
    [
        (partitioning.fast_partition, (), 1, ["_run_on_acc_0"]),
        (partitioning.fast_partition, (), 4, ["_run_on_gpu_0"]),
        (partitioning.fast_partition, ("aten::cos",), 1, ["_run_on_acc_0", "_run_on_gpu_1", "_run_on_acc_2"]),
        (partitioning.global_partition, (torch.ops.aten.cos.default,), 1, ["_run_on_acc_0", "_run_on_acc_1"]),
        (partitioning.global_partition, (), 4, []),
    ],
)
def test_a_graph_is_divided(partition: Any, stay: Any, least: int, expected: list[str], capsys: Any) -> None:
    graph = torch.fx.symbolic_trace(Waves())
    divided, support = partition(graph, min_block_size=least, torch_executed_ops=stay)
    assert [name for name, _ in divided.named_children()] == expected
    assert sum(support.supported.values()) == 3 - len(stay)
    assert "not supported: " + ("aten.cos (1)" if stay else "nothing") in capsys.readouterr().out
    x, y = torch.randn(3), torch.randn(3)
    torch.testing.assert_close(divided(x, y), Waves()(x, y))
    if stay:
        with pytest.raises(RuntimeError, match="require_full_compilation is on"):
            partition(torch.fx.symbolic_trace(Waves()), torch_executed_ops=stay, require_full_compilation=True)


@pytest.mark.long
def test_parts_for_several_backends_are_compiled_one_by_one() -> None:
    model = Mlp().eval()
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(model, (X,), dynamic_shapes=({0: batch},))
    divided, _ = partitioning.hierarchical_adjacency_partition(
        program.module(),
        verbose=False,
        min_block_size=1,
        backend_priority=["inductor", "tensorrt"],
        backend_support_map={"inductor": {"torch.ops.aten.relu.default"}, "tensorrt": _keys()},
    )
    names = [name for name, _ in divided.named_children() if name.startswith("_run_on")]
    assert names == ["_run_on_acc_tensorrt_0", "_run_on_acc_inductor_1", "_run_on_acc_tensorrt_2"]
    for name in (names[0], names[2]):
        part = getattr(divided, name)
        inputs = partitioning.construct_submodule_inputs(part)
        assert [item.shape["max_shape"][0] for item in inputs] == [8]
        compiled = torch_tensorrt.dynamo.conversion.convert_module(part, inputs, name=name)
        assert len(compiled.segments) == 1
        setattr(divided, name, compiled)
    for rows in (2, 8):
        x = torch.randn(rows, 10)
        torch.testing.assert_close(divided(x), model(x))


def _keys() -> Any:
    return _ConverterRegistry.DYNAMO_CONVERTERS.keys()


def test_the_engine_of_a_graph() -> None:
    conversion = torch_tensorrt.dynamo.conversion
    graph = torch.export.export(Mlp().eval(), (X,)).module()
    found = conversion.interpret_module_to_result(graph, [Input((4, 10))], CompilationSettings(disable_tf32=True))
    assert (found.input_names, found.output_names) == (["x"], ["output0"])
    assert found.serialized_engine.spec.inputs[0].name == "x"
    assert conversion.TRTInterpreter(graph, [Input((4, 10))]).run().input_names == ["x"]

    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return torch.linalg.eigvals(x)

    with pytest.raises(conversion.UnsupportedOperatorException, match="eig"):
        conversion.interpret_module_to_result(torch.export.export(Sorted(), (X[:, :4],)).module(), [X[:, :4]])


def test_an_engine_of_the_fx_front_end() -> None:
    fx = torch_tensorrt.fx
    traced = fx.tracer.acc_tracer.acc_tracer.trace(Mlp().eval(), [X])
    found = fx.TRTInterpreter(traced, fx.InputTensorSpec.from_tensors([X]), explicit_batch_dimension=True).run(
        max_batch_size=4, lower_precision=fx.LowerPrecision.FP16
    )
    module = fx.TRTModule(found.engine, found.input_names, found.output_names)
    assert isinstance(module, torch_tensorrt.runtime.TorchTensorRTModule)
    with pytest.raises(Exception, match="executor='tensorrt' cannot run"):
        module(X)


def test_converters_by_operator() -> None:
    table = _ConverterRegistry.DYNAMO_ATEN_CONVERTERS
    assert torch.ops.aten.relu.default in table
    assert table[torch.ops.aten.relu.default][0].supports_dynamic_shapes
    with pytest.raises(KeyError):
        _ = table[torch.ops.aten.linalg_eig.default]
    batch = torch.export.Dim("batch", min=2, max=8)
    program = torch.export.export(Mlp(), (X,), dynamic_shapes=({0: batch},))
    relu = next(iter(program.graph.find_nodes(op="call_function", target=torch.ops.aten.relu.default)))
    assert _ConverterRegistry.has_dynamic_shapes(relu)
    assert _ConverterRegistry.has_dynamic_shapes_in_args([0])(relu)
    assert not _ConverterRegistry.has_static_shapes_in_args()(relu)


def test_small_functions_for_converters() -> None:
    utils = converter_utils
    assert (utils.get_positive_dim(-1, 4), utils.get_positive_dim([-1, 0], 4)) == (3, (3, 0))
    assert utils.get_axes_for_reduce_op((0, 2)) == 5
    assert utils.broadcastable(torch.ones(3, 1), torch.ones(2, 3, 4))
    assert not utils.broadcastable(torch.ones(3), torch.ones(2))
    assert utils.extend_attr_to_tuple(2, 3) == utils.extend_attr_to_tuple((2,), 3) == (2, 2, 2)
    with pytest.raises(ValueError, match="give 1 or 3"):
        utils.extend_attr_to_tuple((1, 2), 3)
    assert utils.to_numpy(torch.ones(2), torch.int32).dtype == np.int32
    assert utils.to_torch(np.ones(2), dtype.f16).dtype == torch.float16
    assert utils.flatten_dims(torch.ones(2, 3, 4), 1, -1) == (2, 12)
    seen: list[Any] = []

    @utils.enforce_tensor_types({0: (torch.Tensor,), "weight": (np.ndarray,), 3: (torch.Tensor,)})
    def convert(ctx: Any, target: Any, args: Any, kwargs: Any, name: str) -> None:
        seen.extend([*args, *kwargs.values()])

    convert(None, "op", (1.5, 2), {"weight": torch.ones(2)}, "name")
    assert [type(item) for item in seen] == [torch.Tensor, int, np.ndarray]


def test_what_is_not_here_says_what_is() -> None:
    with pytest.raises(RuntimeError, match=r"kernels\.cuda_kernel_op .* is not here: TensorRT-RTX has no plugins"):
        torch_tensorrt.kernels.cuda_kernel_op("my::op")
    with pytest.raises(tp.UserError, match="has no plugins"):
        torch_tensorrt.annotation.custom_plugin(None)
    with pytest.raises(tp.UserError, match="current stream"):
        torch_tensorrt.runtime.stream_plan(None)
    with pytest.raises(tp.UserError, match="cpu_memory_budget"):
        partitioning.resource_partition(None, cpu_memory_budget=1 << 30)


def test_limits_that_no_kernel_meets_are_raised_and_weights_that_do_not_stream_are_refused() -> None:
    with pytest.warns(UserWarning, match="finds no kernels"):
        compiled = torch_tensorrt.compile(
            Mlp().eval(), inputs=[X], workspace_size=1 << 20, pass_through_build_failures=True
        )
    assert len(compiled.segments) == 1
    with torch_tensorrt.runtime.weight_streaming(compiled) as weights:
        assert weights.total_device_budget == 0
        with pytest.raises(RuntimeError, match="enable_weight_streaming=True"):
            weights.device_budget = 10
