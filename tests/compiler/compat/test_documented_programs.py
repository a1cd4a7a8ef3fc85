"""Short programs in the way in which Torch-TensorRT's documentation writes them."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.compiler.frontends.torch_compile import TorchCompileBackend
from trt_passes.torch_tensorrt.dynamo._compiler import BindingNameMismatchError
from trt_passes.torch_tensorrt.dynamo.runtime import ResourceAllocationStrategy, TorchTensorRTModule

X = torch.randn(4, 10)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(10, 20), nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))


class TwoHeads(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.relu(x), torch.tanh(x)


class Cameras(nn.Module):
    def forward(self, cameras: Any, bias: torch.Tensor, *, gain: torch.Tensor) -> dict[str, torch.Tensor]:
        rows = [(camera["rgb"] + camera["depth"] + bias) * gain for camera in cameras]
        return {"primary": rows[0], "secondary": rows[1]}


def test_torch_compile_without_no_grad_runs_engines() -> None:
    torch._dynamo.reset()
    model = Mlp().eval()
    backend = TorchCompileBackend(gradients=False, min_block_size=1)
    found = torch.compile(model, backend=backend)(X)
    torch.testing.assert_close(found, model(X))
    assert backend.graphs[0].reason is None
    assert not found.requires_grad
    assert len(backend.graphs[0].report.segments) == 1
    torch._dynamo.reset()
    theirs = torch_tensorrt.compile(model, ir="torch_compile", inputs=[X], min_block_size=1)
    assert not theirs(X).requires_grad
    assert theirs.graphs[0].reason is None


@pytest.mark.skipif(
    not entry_points(group="torch_dynamo_backends", name="trt_passes"), reason="the package is not installed here"
)
def test_the_backend_of_this_package_keeps_gradients() -> None:
    torch._dynamo.reset()
    assert torch.compile(Mlp().eval(), backend="trt_passes", options={"min_block_size": 1})(X).requires_grad


@pytest.mark.parametrize(("size", "engines"), [(float("inf"), 0), (0, 1), (None, 1)])
def test_any_block_size(size: Any, engines: int) -> None:
    compiled = torch_tensorrt.compile(Mlp().eval(), inputs=[X], min_block_size=size, executor="reference")
    assert len(getattr(compiled, "segments", ())) == engines
    assert compiled(X).shape == (4, 5)


def test_options_that_are_none_are_as_usual() -> None:
    names = ("torch_executed_ops", "torch_executed_modules", "optimization_level", "device", "engine_cache_dir")
    compiled = torch_tensorrt.dynamo.compile(
        torch.export.export(Mlp().eval(), (X,)), [X], **dict.fromkeys(names), runtime_cache_path=""
    )
    assert len(compiled.segments) == 1


def test_profiles_by_their_long_names() -> None:
    rows = [(1, 1, 1), (1, 16, 32)]
    words = ("min_shape", "opt_shape", "max_shape")
    profiles = [{word: (size, 10) for word, size in zip(words, row, strict=True)} for row in rows]
    declared = torch_tensorrt.Input(profiles=profiles)
    assert declared.shape == {"min_shape": (1, 10), "opt_shape": (1, 10), "max_shape": (32, 10)}
    model = Mlp().eval()
    compiled = torch_tensorrt.compile(model, inputs=[declared], executor="reference")
    for size in (1, 7, 32):
        x = torch.randn(size, 10)
        torch.testing.assert_close(compiled(x), model(x))


def test_bindings_have_the_names_that_were_given() -> None:
    convert = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine
    exported = torch.export.export(TwoHeads(), (X,))
    engine = convert(
        exported,
        arg_inputs=(X,),
        arg_input_binding_names=("input_image",),
        output_binding_names=("relu_out", "tanh_out"),
    )
    assert (engine.arguments, engine.results) == (("input_image",), ("relu_out", "tanh_out"))
    assert b"relu_out" in engine
    assert b"input_image" in engine
    usual = convert(exported, arg_inputs=(X,))
    assert (usual.arguments, usual.results) == (("x",), ("output0", "output1"))
    with pytest.raises(BindingNameMismatchError, match="for each of the 2"):
        convert(exported, arg_inputs=(X,), output_binding_names=("only_one",))
    with pytest.raises(BindingNameMismatchError, match="twice"):
        convert(exported, arg_inputs=(X,), output_binding_names=("same", "same"))
    with pytest.raises(tp.UserError, match="two bindings of the engine are called 'x'"):
        convert(exported, arg_inputs=(X,), output_binding_names=("x", "y"))


def test_bindings_in_nested_containers() -> None:
    cameras = tuple({"rgb": torch.randn(2, 3), "depth": torch.randn(2, 3)} for _ in range(2))
    bias, gain = torch.randn(2, 3), torch.randn(2, 3)
    exported = torch.export.export(Cameras(), (cameras, bias), {"gain": gain})
    engine = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine(
        exported,
        arg_inputs=(cameras, bias),
        kwarg_inputs={"gain": gain},
        arg_input_binding_names=(
            ({"rgb": "rgb0", "depth": "depth0"}, {"rgb": "rgb1", "depth": "depth1"}),
            "global bias",
        ),
        output_binding_names={"primary": "p", "secondary": "s"},
    )
    assert engine.arguments == ("rgb0", "depth0", "rgb1", "depth1", "global bias", "gain")
    assert engine.results == ("p", "s")
    own = tp.convert_to_engine(TwoHeads(), [X], input_names=["a"], output_names="result_{}")
    assert (own.arguments, own.results) == (("a",), ("result_0", "result_1"))


def test_names_can_be_exchanged() -> None:
    class Model(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.relu(a) - b

    engine = tp.convert_to_engine(Model(), [X, X + 1], input_names=["b", "a"])
    assert engine.arguments == ("b", "a")


def test_a_module_of_one_engine() -> None:
    engine = torch_tensorrt.convert_method_to_trt_engine(Mlp().eval(), "forward", inputs=[X])
    module = TorchTensorRTModule(engine, ["x"], ["output0"], name="mine")
    assert module.spec.inputs[0].name == "x"
    with pytest.raises(Exception, match="executor='tensorrt' cannot run"):
        module(X)
    compiled = torch_tensorrt.compile(Mlp().eval(), inputs=[X])
    assert all(isinstance(segment, TorchTensorRTModule) for segment in compiled.segments.values())
    with pytest.raises(tp.UserError, match="without its specification"):
        TorchTensorRTModule(bytes(engine), ["x"], ["output0"])


def test_a_saved_program_is_refitted_to_a_program(tmp_path: Path) -> None:
    model, other, path = Mlp().eval(), Mlp().eval(), tmp_path / "model.ep"
    compiled = torch_tensorrt.compile(model, inputs=[X], immutable_weights=False)
    torch_tensorrt.save(compiled, path, inputs=[X])
    program = torch_tensorrt.load(path)
    refitted = torch_tensorrt.dynamo.refit_module_weights(program, torch.export.export(other, (X,)))
    torch.testing.assert_close(refitted.module()(X), other(X))
    torch.testing.assert_close(program.module()(X), model(X))


def test_memory_of_engines_is_kept() -> None:
    compiled = torch_tensorrt.compile(Mlp().eval(), inputs=[X], executor="pytorch")
    with ResourceAllocationStrategy(compiled, dynamically_allocate_resources=False):
        compiled(X)
    with pytest.warns(UserWarning, match="keep the memory"):
        ResourceAllocationStrategy(compiled, True)


def test_a_plugin_is_an_operator_of_pytorchs() -> None:
    plugins = torch_tensorrt.dynamo.conversion.plugins
    with pytest.warns(UserWarning, match="no plugins, so that aten::relu stays in PyTorch"):
        plugins.custom_op("aten::relu", supports_dynamic_shapes=True)
    plugins.generate_plugin_converter("aten::relu")
    with pytest.raises(tp.UserError, match="no operator"):
        plugins.generate_plugin_converter("aten::no_such_operator")


def test_calibration_data_is_for_models_that_are_no_torchscript() -> None:
    ptq = torch_tensorrt.ts.ptq
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, torch.zeros(4)), batch_size=2)
    algorithm = ptq.CalibrationAlgo.ENTROPY_CALIBRATION_2
    calibrator = ptq.DataLoaderCalibrator(data, cache_file="x", use_cache=False, algo_type=algorithm)
    assert [batch.shape for batch in calibrator.batches()] == [(2, 10), (2, 10)]
    with pytest.raises(RuntimeError, match="before it is scripted"):
        torch_tensorrt.compile(torch.jit.trace(Mlp().eval(), X), inputs=[X], calibrator=calibrator)
    with pytest.raises(RuntimeError, match="another network"):
        ptq.CacheCalibrator("calibration.cache")


def test_what_was_built_and_where(capsys: pytest.CaptureFixture[str]) -> None:
    torch_tensorrt.dump_build_info()
    assert "torch: " in capsys.readouterr().out
    torch_tensorrt.set_device(0)
    with pytest.raises(tp.UserError, match="number of a GPU"):
        torch_tensorrt.set_device(-1)


def test_a_process_group_must_be_that_of_the_module() -> None:
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore
    from trt_passes.torch_tensorrt.distributed import set_distributed_group
    from trt_passes.torch_tensorrt.distributed._nccl_utils import get_nccl_library_path

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        other, operators = dist.new_group([0]), torch.ops._c10d_functional

        class Summed(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                total = operators.all_reduce(torch.relu(x), "sum", dist.group.WORLD.group_name)
                return torch.tanh(operators.wait_tensor(total))

        program = torch.export.export(Summed(), (X,))
        options: dict[str, Any] = {"use_distributed_mode_trace": True, "min_block_size": 1, "executor": "pytorch"}
        compiled = torch_tensorrt.dynamo.compile(program, [X], **options)
        with torch_tensorrt.distributed_group(dist.group.WORLD, compiled) as module:
            torch.testing.assert_close(module(X), Summed()(X))
        with pytest.raises(RuntimeError, match="compile the model with the collectives of that group"):
            set_distributed_group(compiled, other)
    finally:
        dist.destroy_process_group()
    path = get_nccl_library_path()
    assert path is None or Path(path).name == "lib"
