import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from trt_passes.compiler.errors import Cancelled, UserError
from trt_passes.compiler.ir.engine_spec import Binding
from trt_passes.compiler.settings import Settings
from trt_passes.compiler.tensorrt import engine_builder, loader
from trt_passes.compiler.tensorrt.engine_builder import BuildError, build_engine, known_capabilities
from trt_passes.compiler.tensorrt.log import collecting_logger
from trt_passes.compiler.tensorrt.network import BuiltNetwork

DYNAMIC = Binding("x", torch.float32, ("s0", 4), (1, 4), (2, 4), (8, 4))


def chain(trt: loader.TensorRT, length: int = 3, binding: Binding = DYNAMIC) -> BuiltNetwork:
    """A network of unary layers n0, n1, … on an input "x"."""
    module, log = trt.module, collecting_logger(trt.module)
    builder = module.Builder(log)
    network = trt.create_network(builder)
    shape = tuple(size if isinstance(size, int) else -1 for size in binding.shape)
    tensor = network.add_input("x", module.float32, shape)
    for index in range(length):
        layer = network.add_unary(tensor, module.UnaryOperation.ABS if index % 2 else module.UnaryOperation.NEG)
        layer.name, layer.metadata = f"n{index}", f"[fx:n{index}]"
        tensor = layer.get_output(0)
    tensor.name = "y"
    network.mark_output(tensor)
    return BuiltNetwork(trt, builder, network, log, (binding,), (replace(binding, name="y"),), {}, ())


def build(
    network: BuiltNetwork,
    *,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
    cancelled: Callable[[], bool] = lambda: False,
    **options: Any,
) -> engine_builder.EngineArtifact:
    return build_engine(
        network, Settings.from_options(options), name="segment-00", progress=progress, cancelled=cancelled
    )


def test_an_engine_is_built_without_a_gpu(trt: loader.TensorRT) -> None:
    artifact = build(chain(trt))
    assert artifact.nbytes > 1000
    assert artifact.build_seconds > 0
    assert artifact.spec.inputs == (DYNAMIC,)
    assert (artifact.spec.flavor, artifact.spec.version) == (trt.flavor, trt.version)


def test_the_kernels_name_the_fx_nodes(trt: loader.TensorRT) -> None:
    artifact = build(chain(trt))
    kernels = [layer for layer in artifact.layers if layer["nodes"]]
    assert [sorted(kernel["nodes"]) for kernel in kernels] == [["n0", "n1", "n2"]]
    assert kernels[0]["inputs"] == ["x f32[-1,4] row-major"]


def test_log_and_plan_are_the_same_for_the_same_network(trt: loader.TensorRT) -> None:
    first, second = build(chain(trt)), build(chain(trt))
    assert first.log == second.log
    assert bytes(first.plan) == bytes(second.plan)


def test_a_network_can_be_built_again(trt: loader.TensorRT) -> None:
    network = chain(trt)
    assert bytes(build(network).plan) == bytes(build(network).plan)


def test_the_plan_is_a_buffer_that_torch_takes_without_a_copy(trt: loader.TensorRT) -> None:
    artifact = build(chain(trt))
    tensor = torch.frombuffer(artifact.plan, dtype=torch.uint8)
    assert tensor.numel() == artifact.nbytes
    assert bytes(artifact.plan[:4]) == bytes(tensor[:4].tolist())


def test_settings_reach_the_builder(trt: loader.TensorRT) -> None:
    default = bytes(build(chain(trt)).plan)
    assert bytes(build(chain(trt), disable_tf32=True).plan) != default
    artifact = build(chain(trt), compute_capabilities=("8.9", "12.0"), optimization_level=2, workspace_size=1 << 28)
    assert artifact.spec.compute_capabilities == ("8.9", "12.0")
    assert bytes(artifact.plan) != default
    assert build(chain(trt), disable_tf32=True).spec.tf32 is False


def test_a_small_workspace_is_an_error_in_the_words_of_tensorrt(trt: loader.TensorRT) -> None:
    module = trt.module
    network = chain(trt, binding=Binding.static("x", torch.float32, (512, 512)))
    product = network.network.add_matrix_multiply(
        network.network.get_output(0),
        module.MatrixOperation.NONE,
        network.network.get_input(0),
        module.MatrixOperation.NONE,
    )
    reduced = network.network.add_softmax(product.get_output(0))
    network.network.mark_output(reduced.get_output(0))
    with pytest.raises(BuildError, match="segment-00") as caught:
        build(network, workspace_size=1)
    assert any("workspace" in text for text in caught.value.errors)


def test_an_unknown_compute_capability_is_a_user_error(trt: loader.TensorRT) -> None:
    if not known_capabilities(trt):
        pytest.skip("this TensorRT builds for the GPU of the machine only")
    with pytest.raises(UserError, match=r"'compute_capabilities' contains 9\.0, which TensorRT"):
        build(chain(trt), compute_capabilities=("9.0",))


@pytest.mark.parametrize("option", [{"compute_capabilities": ("8.9",)}, {"optimization_level": 6}])
def test_what_only_tensorrt_rtx_has_is_a_user_error_elsewhere(
    trt: loader.TensorRT, option: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Standard:
        """The module without what is TensorRT-RTX's own."""

        class IBuilderConfig:
            pass

        def __getattr__(self, name: str) -> Any:
            return getattr(trt.module, name)

    standard = loader.TensorRT(Standard(), "tensorrt", "11.2.0.1")  # type: ignore[arg-type]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(UserError, match=next(iter(option))):
        engine_builder.check_settings(standard, Settings.from_options(option))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="with a GPU only"):
        engine_builder.check_settings(standard, Settings())


def test_a_layer_that_cannot_be_built_is_an_error_in_the_words_of_tensorrt(trt: loader.TensorRT) -> None:
    network = chain(trt)
    layer = network.network.add_non_zero(network.network.get_output(0))
    layer.name = "the-culprit"
    network.network.mark_output(layer.get_output(0))
    with pytest.raises(BuildError, match="the-culprit") as caught:
        build(network)
    assert not any("cudaError" in text for text in caught.value.errors)


def test_a_range_that_tensorrt_does_not_take_is_a_user_error(trt: loader.TensorRT) -> None:
    network = chain(trt, binding=Binding("x", torch.float32, ("s0", 4), (4, 4), (2, 4), (8, 4)))
    with pytest.raises(UserError, match="does not accept the range"):
        build(network)


def test_more_layers_than_the_builder_takes_are_refused(trt: loader.TensorRT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_builder, "MAX_LAYERS", 5)
    with pytest.raises(BuildError, match="has 6 layers, more than 5"):
        build(chain(trt, 6))


def test_progress_names_phases_and_steps(trt: loader.TensorRT) -> None:
    seen: list[tuple[str, int, int]] = []
    build(chain(trt), progress=lambda *report: seen.append(report))
    assert ("Building engine", 0, 6) in seen
    assert all(0 <= done <= total for _, done, total in seen)


def test_cancelling_stops_the_build(trt: loader.TensorRT) -> None:
    steps: list[float] = []

    def cancelled() -> bool:
        steps.append(time.perf_counter())
        return len(steps) > 5

    with pytest.raises(Cancelled, match="segment-00"):
        build(chain(trt, 200), cancelled=cancelled)
    assert len(steps) < 10
