"""Names that code for Torch-TensorRT has beside the compilers, and forms of arguments that only it takes."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.compiler.tensorrt.loader import load
from trt_passes.torch_tensorrt import Device, DeviceType
from trt_passes.torch_tensorrt.dynamo import utils

X = torch.randn(1, 3, 8, 8)
SMALL: dict[str, Any] = {"min_block_size": 1, "executor": "pytorch"}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.norm(self.conv(x)).relu(), 2)
        return torch.softmax(self.last(torch.flatten(x, 1)), -1)


def test_every_module_can_be_imported_and_has_what_it_says() -> None:
    found = [item.name for item in pkgutil.walk_packages(torch_tensorrt.__path__, f"{torch_tensorrt.__name__}.")]
    assert len(found) > 15
    for name in found:
        module = importlib.import_module(name)
        assert module.__doc__, name
        for public in getattr(module, "__all__", ()):
            assert getattr(module, public) is not None, (name, public)


@pytest.mark.parametrize(
    "operator",
    [
        "torch.ops.aten._softmax.default",
        torch.ops.aten._softmax.default,
        "aten::softmax",
        "torch.ops.aten.convolution.default",
        torch.ops.aten.conv2d.default,
        "aten.max_pool2d",
        torch.ops.aten.addmm.default,
    ],
)
def test_an_operator_stays_in_pytorch_in_whichever_form(operator: Any) -> None:
    model = Model().eval()
    compiled = torch_tensorrt.compile(model, inputs=[X], torch_executed_ops={operator}, **SMALL)
    assert compiled.report.verdicts["excluded"] >= 1
    torch.testing.assert_close(compiled(X), model(X))


def test_inputs_that_are_shapes() -> None:
    model = Model().eval()
    for shape in ([1, 3, 8, 8], X.shape):
        torch.testing.assert_close(torch_tensorrt.compile(model, inputs=[shape], **SMALL)(X), model(X))


def test_a_specification_of_the_torchscript_front_end() -> None:
    script = torch.jit.script(Model().eval())
    device = {"device_type": DeviceType.GPU, "gpu_id": 0, "dla_core": 0, "allow_gpu_fallback": False}
    spec = {
        "inputs": [torch_tensorrt.Input(X.shape)],
        "device": device,
        "enabled_precisions": {torch.float},
        "torch_executed_modules": ["torch.nn.modules.conv.Conv2d"],
        "capability": torch_tensorrt.EngineCapability.STANDARD,
        "refit": False,
        "debug": False,
        "calibrator": None,
        "truncate_long_and_double": True,
        "num_avg_timing_iters": 1,
        "workspace_size": 1 << 20,
    }
    compiled = torch_tensorrt.ts.compile(script, **torch_tensorrt.ts.TensorRTCompileSpec(**spec))
    torch.testing.assert_close(compiled(X), script(X))
    assert Device._from(device) == Device("cuda:0")
    core = {"device_type": DeviceType.DLA, "dla_core": 1, "allow_gpu_fallback": True}
    assert Device._from(core) == Device("dla:1", allow_gpu_fallback=True)
    with pytest.raises(tp.UserError, match="not possible here"):
        torch_tensorrt.ts.compile(script, inputs=[X], device=core)


def test_results_are_compared() -> None:
    a = torch.randn(3, 4)
    assert utils.cosine_similarity(a, 2 * a) > utils.COSINE_THRESHOLD
    assert utils.cosine_similarity(a, -a) < 0
    assert utils.cosine_similarity(torch.zeros(3), torch.zeros(3)) == 1
    assert utils.check_output_equal({"x": [a, 1]}, {"x": [a.clone(), 1]})
    assert not utils.check_output_equal([a], (a,))
    assert not utils.check_output_equal(a, a + 1)
    assert not utils.check_output_equal(a, a.double())


def test_examples_of_inputs() -> None:
    varying = torch_tensorrt.Input(min_shape=(1, 4), opt_shape=(2, 4), max_shape=(8, 4))
    found = utils.get_torch_inputs([varying, {"y": torch.ones(2)}], "cpu")
    assert (found[0].shape, found[1]["y"].device.type) == ((2, 4), "cpu")
    assert utils.get_torch_inputs([varying], "cpu", "max_shape")[0].shape == (8, 4)
    assert utils.input_is_dynamic([varying])
    prepared = utils.prepare_inputs([torch.ones(2, 3), 3, varying])
    assert [item.shape for item in prepared[:2]] == [(2, 3), ()]
    assert prepared[2] is varying
    assert utils.to_torch_device(Device("cuda:1")) == torch.device("cuda", 1)
    assert utils.to_torch_device("cpu") == torch.device("cpu")
    assert utils.to_torch_tensorrt_device("cuda:1") == Device("cuda:1")
    assert utils.get_model_device(nn.Linear(2, 2)) == torch.device("cpu")
    assert utils.unified_dtype_converter(torch.float16, load().module.DataType) == load().module.DataType.HALF
    with pytest.raises(TypeError, match="has no counterpart"):
        utils.unified_dtype_converter(torch.float64, load().module.DataType)


def test_small_things() -> None:
    from trt_passes.torch_tensorrt._utils import is_tegra_platform, sanitized_torch_version
    from trt_passes.torch_tensorrt.dynamo import _defaults
    from trt_passes.torch_tensorrt.dynamo.lowering import get_decompositions, post_lowering, pre_export_lowering

    assert "+" not in sanitized_torch_version()
    assert isinstance(is_tegra_platform(), bool)
    assert (_defaults.MIN_BLOCK_SIZE, _defaults.ENGINE_CACHE_SIZE) == (5, 5 << 30)
    with pytest.raises(AttributeError, match="no option"):
        _ = _defaults.NOTHING
    program = torch.export.export(Model().eval(), (X,))
    lowered = pre_export_lowering(program).run_decompositions(get_decompositions(False))
    module = post_lowering(lowered.module())
    torch.testing.assert_close(module(X), program.module()(X))
    assert torch_tensorrt.logging.TRT_LOGGER is not None
    assert torch_tensorrt.ENABLED_FEATURES.refit
    assert torch_tensorrt.ENABLED_FEATURES.tensorrt_rtx == load().is_rtx
    assert "dynamo_frontend=True" in repr(torch_tensorrt.ENABLED_FEATURES)
