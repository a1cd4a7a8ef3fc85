"""How compiled modules run, changed without compiling again."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.compiler.compat.modes import compiled_modules
from trt_passes.compiler.runtime.engine.runtime_cache import RuntimeCache as KernelCache
from trt_passes.torch_tensorrt import runtime

X = torch.randn(2, 4)


@pytest.fixture
def compiled() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    return torch_tensorrt.compile(model, inputs=[X], min_block_size=1, executor="pytorch")


def test_options_of_a_compiled_module_change(compiled: Any) -> None:
    before = compiled.options
    with compiled.with_options(cuda_graphs=True, reuse_outputs=True) as same:
        assert same is compiled
        assert compiled.options.reuse_outputs
        assert compiled.cuda_graphs.reuse_outputs
        assert compiled(X).shape == (2, 3)
    assert compiled.options == before
    assert compiled.cuda_graphs is None
    compiled.change_options(executor="auto", cuda_graph_limit=3)
    assert [segment.executor for segment in compiled.segments.values()] == ["auto"]
    with pytest.raises(tp.UserError, match="is no option of a compiled module"):
        compiled.change_options(min_block_size=3)
    with pytest.raises(ZeroDivisionError), compiled.with_options(cuda_graphs=True):
        1 / 0  # noqa: B018
    assert not compiled.options.cuda_graphs


def test_cuda_graphs_for_a_while(compiled: Any) -> None:
    with runtime.enable_cudagraphs(compiled) as module:
        assert module.options.cuda_graphs
        assert not runtime.get_whole_cudagraphs_mode()
        torch.testing.assert_close(module(X), compiled(X))
    assert not compiled.options.cuda_graphs

    class Islands(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.i0((x + 1) * 2)

    other = torch_tensorrt.compile(Islands().eval(), inputs=[X], min_block_size=1, executor="pytorch")
    with runtime.enable_cudagraphs(nn.Sequential(other)):
        assert other.options.cuda_graphs
        assert runtime.get_whole_cudagraphs_mode()
    assert not runtime.get_whole_cudagraphs_mode()
    with pytest.raises(TypeError, match="has no engines"):
        runtime.enable_cudagraphs(nn.Linear(2, 2))


def test_the_mode_of_the_process(compiled: Any) -> None:
    assert not runtime.get_cudagraphs_mode()
    runtime.set_cudagraphs_mode(True)
    try:
        assert runtime.get_cudagraphs_mode()
        assert compiled.options.cuda_graphs
        later = torch_tensorrt.compile(nn.ReLU().eval(), inputs=[X], min_block_size=1)
        assert later.options.cuda_graphs
    finally:
        runtime.set_cudagraphs_mode(False)
    assert not compiled.options.cuda_graphs


def test_outputs_and_devices(compiled: Any) -> None:
    with runtime.enable_pre_allocated_outputs(compiled) as module:
        assert module.options.reuse_outputs
    with runtime.enable_output_allocator(compiled) as module, runtime.set_multi_device_safe_mode(True):
        torch.testing.assert_close(module(X), compiled(X))
    assert not compiled.options.reuse_outputs


def test_weights_that_are_streamed() -> None:
    model = nn.Linear(64, 64).eval()
    module = torch_tensorrt.compile(
        model, inputs=[torch.ones(1, 64)], min_block_size=1, enable_weight_streaming=True, executor="pytorch"
    )
    (segment,) = module.segments.values()
    with runtime.weight_streaming(module) as streaming:
        assert streaming.total_device_budget == 4 * (64 * 64 + 64)
        assert streaming.get_required_device_budgets() == [streaming.total_device_budget]
        streaming.device_budget = 4096
        assert streaming.device_budget == 4096
        assert segment.runner.options.weight_streaming_budget == 4096
        with pytest.raises(TypeError, match="device_budget"):
            streaming.device_budget = "much"  # type: ignore[assignment]
    assert segment.runner.options.weight_streaming_budget is None


def test_runtime_settings(compiled: Any, tmp_path: Path) -> None:
    usual = runtime.RuntimeSettings()
    assert compiled.runtime_settings == usual
    with runtime.runtime_config(compiled, cuda_graph_strategy="whole_graph_capture") as module:
        assert module.options.cuda_graphs
    assert compiled.runtime_settings == usual
    compiled.runtime_settings = runtime.RuntimeSettings(runtime_cache=str(tmp_path / "kernels"))
    assert compiled.options.runtime_cache_path == str(tmp_path / "kernels")
    with runtime.set_dynamic_shapes_kernel_strategy([compiled], "eager") as (module,):
        assert module.runtime_settings.dynamic_shapes_kernel_specialization_strategy == "eager"
        assert module.options.runtime_cache_path == str(tmp_path / "kernels")
    cache = runtime.RuntimeCache(tmp_path / "shared")
    assert runtime.apply_runtime_settings(compiled, runtime.RuntimeSettings(runtime_cache=cache)) == 1
    assert compiled.runtime_cache is cache.kernels
    assert compiled.options.runtime_cache_path is None
    twin = copy.deepcopy(compiled)
    twin.runtime_settings = runtime.RuntimeSettings(cuda_graph_strategy="whole_graph_capture")
    assert (twin.options.cuda_graphs, compiled.options.cuda_graphs) == (True, False)
    with pytest.raises(RuntimeError, match="has no engines"):
        runtime.apply_runtime_settings(nn.ReLU(), usual)
    with pytest.raises(ValueError, match="cuda_graph_strategy is 'all'"):
        runtime.RuntimeSettings(cuda_graph_strategy="all")
    with pytest.raises(TypeError, match="has no 'cache'"):
        runtime.runtime_config(compiled, cache=cache)


class Kernels:
    """What TensorRT's cache of kernels does."""

    def __init__(self) -> None:
        self.data = b""

    def deserialize(self, data: bytes) -> bool:
        self.data = bytes(data)
        return True

    def serialize(self) -> bytes:
        return self.data


class Config:
    """What TensorRT's configuration of a runtime does."""

    def __init__(self) -> None:
        self.cache: Kernels | None = None

    def create_runtime_cache(self) -> Kernels:
        return Kernels()

    def set_runtime_cache(self, cache: Kernels) -> None:
        self.cache = cache


def test_a_shared_cache_is_read_and_written(compiled: Any, tmp_path: Path) -> None:
    path = tmp_path / "kernels"
    path.write_bytes(b"first")
    with runtime.runtime_cache(compiled, str(path)) as cache:
        assert compiled.runtime_cache is cache.kernels
        config = Config()
        cache.kernels.attach(config, 0)
        assert config.cache is not None
        assert config.cache.data == b"first"
        config.cache.data = b"first and second"
        cache.save(tmp_path / "meanwhile")
    assert path.read_bytes() == (tmp_path / "meanwhile").read_bytes() == b"first and second"
    assert compiled.runtime_cache is None
    stream = io.BytesIO(b"abc")
    with runtime.runtime_cache([compiled], stream) as cache:
        assert cache.path == ""
    assert stream.getvalue() == b"abcabc"
    with pytest.raises(ValueError, match="has no path"):
        runtime.RuntimeCache().save()


def test_a_cache_in_memory_begins_with_its_data() -> None:
    cache, config = KernelCache(None, b"kernels"), Config()
    assert cache.data == b"kernels"
    cache.attach(config, 0)
    assert config.cache is not None
    assert config.cache.data == b"kernels"
    cache.save()


def test_engines_are_children_of_what_was_compiled(compiled: Any) -> None:
    names = [name for name, _ in compiled.named_children() if "_run_on_acc" in name]
    assert names == ["_run_on_acc_0"] == [name for name in dir(compiled) if name.startswith("_run_on_acc")]
    engine = copy.deepcopy(compiled)._run_on_acc_0
    assert isinstance(engine, runtime.TorchTensorRTModule)
    assert engine.input_binding_names == ["input"]
    assert engine.output_binding_names == ["relu"]
    torch.testing.assert_close(engine(X), compiled(X))
    assert engine.serialized_engine == bytes(compiled.segments["segment_00"].whole_plan())
    assert "[fx:relu]" in engine.get_layer_info()
    assert set(compiled.state_dict()) == {"0.weight", "0.bias"}
    assert engine not in list(compiled.modules())
    with pytest.raises(AttributeError):
        compiled._run_on_acc_1  # noqa: B018


def test_what_torch_compile_made_runs_as_modes_say() -> None:
    torch._dynamo.reset()
    options = {"min_block_size": 1, "executor": "pytorch"}
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    module = torch.compile(model, backend="torch_tensorrt", options=options)
    other = torch.compile(nn.Sequential(nn.Linear(4, 2)).eval(), backend="torch_tensorrt", options=options)

    def options_of() -> list[Any]:
        return [part.options for part in compiled_modules(module)]

    with runtime.enable_pre_allocated_outputs(module) as same:
        same(X)  # compiled only now
        other(X)
        assert not any(part.options.reuse_outputs for part in compiled_modules(other))
        assert [item.reuse_outputs for item in options_of()] == [True]
    assert [item.reuse_outputs for item in options_of()] == [False]
    with runtime.enable_cudagraphs(module):
        assert [item.cuda_graphs for item in options_of()] == [True]
    runtime.set_cudagraphs_mode(True)
    try:
        module(torch.randn(5, 4))  # another graph, for sizes that vary
        assert [item.cuda_graphs for item in options_of()] == [True, True]
    finally:
        runtime.set_cudagraphs_mode(False)
    assert not any(item.cuda_graphs for item in options_of())
    with pytest.raises(TypeError, match="has no engines"), runtime.enable_cudagraphs(nn.Linear(1, 1)):
        pass
