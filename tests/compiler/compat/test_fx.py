"""The names of Torch-TensorRT's fx front end, and its modules under another name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.torch_tensorrt.fx import InputTensorSpec, LowerPrecision


def test_a_module_is_compiled_for_its_specifications() -> None:
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), torch.randn(2, 4)
    ranged = InputTensorSpec((-1, 4), torch.float32, shape_ranges=[((1, 4), (2, 4), (6, 4))])
    for spec, sizes in ((InputTensorSpec.from_tensor(x), (2,)), (ranged, (1, 6))):
        compiled = torch_tensorrt.fx.compile(
            model, [spec], min_acc_module_size=1, max_batch_size=6, explicit_batch_dimension=True, executor="reference"
        )
        for size in sizes:
            x = torch.randn(size, 4)
            torch.testing.assert_close(compiled(x), model(x))
    half = torch_tensorrt.fx.compile(model, [x], lower_precision=LowerPrecision.FP16, min_acc_module_size=1)
    assert half.report.settings["enabled_precisions"] == ["float16", "float32"]
    assert ranged.to_random_tensor(2).shape == (6, 4)
    assert [spec.shape for spec in InputTensorSpec.from_tensors([x])] == [tuple(x.shape)]
    with pytest.raises(ValueError, match="give shape_ranges"):
        InputTensorSpec((-1, 4), torch.float32).declared()


def test_modules_are_found_under_the_name_of_torch_tensorrt() -> None:
    code = (
        "import sys, trt_passes.torch_tensorrt\n"
        "sys.modules['torch_tensorrt'] = trt_passes.torch_tensorrt\n"
        "import torch_tensorrt\n"
        "from torch_tensorrt.dynamo.utils import COSINE_THRESHOLD\n"
        "from torch_tensorrt.dynamo.runtime import TorchTensorRTModule\n"
        "import torch_tensorrt.ts.logging\n"
        "assert torch_tensorrt.Input is trt_passes.torch_tensorrt.Input\n"
        "from torch_tensorrt._enums import dtype\n"
        "assert dtype is torch_tensorrt.dtype"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
