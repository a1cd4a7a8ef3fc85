"""Data types, devices and inputs as Torch-TensorRT has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from trt_passes.compiler.tensorrt.loader import load
from trt_passes.torch_tensorrt import Device, DeviceType, EngineCapability, Input, Platform, dtype, memory_format


@pytest.mark.parametrize("name", ["f16", "f32", "bf16", "i8", "i32", "i64", "u8", "b"])
def test_data_types_are_those_of_every_library(name: str) -> None:
    member = dtype[name]
    torch_type = member.to(torch.dtype)
    assert dtype._from(torch_type) is member
    assert member == torch_type
    assert member != torch.complex64
    assert dtype.try_from(torch_type) is member
    assert torch_tensorrt.dtype is dtype
    data_type = load().module.DataType
    assert dtype._from(member.to(data_type)) is member
    if member.try_to(np.dtype) is not None:
        assert dtype._from(member.to(np.dtype)) is member
        assert dtype._from(member.to(np.dtype).type) is member


def test_names_of_one_type_are_one_member() -> None:
    assert dtype.half is dtype.float16 is dtype.fp16 is dtype.f16
    assert dtype.long is dtype.int64
    assert memory_format.contiguous is memory_format.linear
    assert memory_format._from(torch.channels_last) is memory_format.channels_last
    assert memory_format.linear.to(torch.memory_format) is torch.contiguous_format
    assert len({dtype.f32, dtype.float, dtype.half}) == 2


def test_what_has_no_counterpart() -> None:
    assert dtype.f64.try_to(load().module.DataType) is None
    assert dtype.f64.to(load().module.DataType, use_default=True) == load().module.DataType.FLOAT
    assert dtype.try_from("nothing") is None
    assert dtype._from("nothing", use_default=True) is dtype.f32
    with pytest.raises(TypeError, match="is no dtype"):
        dtype._from(torch.complex64)
    with pytest.raises(tp.UserError, match="has no counterpart"):
        dtype.bf16.to(np.dtype)


def test_other_enumerations() -> None:
    module = load().module
    assert DeviceType._from(module.DeviceType.DLA) is DeviceType.DLA
    assert EngineCapability.STANDARD.to(module.EngineCapability) == module.EngineCapability.STANDARD
    assert Platform.current_platform() in Platform
    assert str(DeviceType.GPU) == "DeviceType.GPU"


@pytest.mark.parametrize(
    ("given", "number"),
    [("cuda:1", 1), ("gpu:0", 0), ("cuda", 0), (torch.device("cuda:2"), 2)],
)
def test_devices(given: Any, number: int) -> None:
    device = Device(given)
    assert (device.device_type, device.gpu_id, device.dla_core) == (DeviceType.GPU, number, -1)
    assert device == Device(gpu_id=number)
    assert device.to(torch.device) == torch.device("cuda", number)
    assert hash(device) == hash(Device(gpu_id=number))


def test_devices_that_are_none() -> None:
    core = Device("dla:1", allow_gpu_fallback=True)
    assert (core.device_type, core.dla_core, core.allow_gpu_fallback) == (DeviceType.DLA, 1, True)
    for wrong in ("tpu:0", "cuda:x", torch.device("cpu")):
        with pytest.raises(ValueError, match="is none of the form"):
            Device(wrong)
    with pytest.raises(ValueError, match="needs a text"):
        Device()
    with pytest.raises(TypeError, match="allow_gpu_fallback"):
        Device("cuda:0", allow_gpu_fallback=1)  # type: ignore[arg-type]


def test_static_inputs() -> None:
    item = Input((2, 3), dtype=torch.half)
    assert (item.shape, item.dtype, item.format) == ((2, 3), dtype.half, memory_format.linear)
    assert item.shape_mode is Input._ShapeMode.STATIC
    assert str(item.declared()) == "2x3:f16"
    assert Input(shape=torch.Size([2, 3])).declared() == tp.Input((2, 3))
    assert item.example_tensor().shape == (2, 3)
    with pytest.raises(ValueError, match="leave it out"):
        item.example_tensor("min_shape")


def test_varying_inputs() -> None:
    item = Input(min_shape=(1, 4), opt_shape=(2, 4), max_shape=(8, 4), dtype=dtype.i64, name="ids")
    assert item.shape == {"min_shape": (1, 4), "opt_shape": (2, 4), "max_shape": (8, 4)}
    assert item.shape_mode is Input._ShapeMode.DYNAMIC
    assert str(item.declared()) == "ids=1..2..8x4:i64"
    assert item.example_tensor("max_shape").shape == (8, 4)
    with pytest.raises(ValueError, match="the shape of an example"):
        item.example_tensor()
    both = Input(
        profiles=[
            {"min": (1, 1), "opt": (1, 1), "max": (1, 1)},
            {"min": (1, 1), "opt": (1, 6), "max": (1, 9)},
        ]
    )
    assert both.shape == {"min_shape": (1, 1), "opt_shape": (1, 1), "max_shape": (1, 9)}
    assert both.declared().profiles == (((1, 1),) * 3, ((1, 1), (1, 6), (1, 9)))
    assert not Input.equivalent_spec(both, Input(min_shape=(1, 1), opt_shape=(1, 1), max_shape=(1, 9)))


def test_examples_are_of_the_domain() -> None:
    example = Input((1000,), tensor_domain=(-3, 5), dtype=torch.int32).example_tensor()
    assert example.min() >= -3
    assert example.max() < 5
    assert {0, 1} >= set(Input((100,), dtype=torch.int64).example_tensor().tolist())
    assert Input((100,), dtype=torch.bool).example_tensor().dtype is torch.bool
    last = Input((1, 2, 3, 4), format=torch.channels_last)
    assert last.example_tensor().is_contiguous(memory_format=torch.channels_last)
    tensor = torch.ones(3)
    assert Input(torch_tensor=tensor).example_tensor() is tensor


def test_inputs_of_tensors() -> None:
    tensor = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)
    one, other = Input.from_tensors([tensor, torch.ones(2, dtype=torch.int64)])
    assert (one.shape, one.format, other.dtype) == ((2, 3, 4, 4), memory_format.channels_last, torch.int64)
    with pytest.raises(ValueError, match="neither contiguous nor channels_last"):
        Input.from_tensor(torch.ones(3, 4).t())
    assert Input.from_tensor(torch.ones(3, 4).t(), disable_memory_format_check=True).shape == (4, 3)
    assert Input.equivalent_spec(one, Input.from_tensor(tensor))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((), {}, ValueError, "needs a shape"),
        (((1,), (2,)), {}, ValueError, "one shape by position"),
        ((), {"min_shape": (1,), "max_shape": (2,)}, ValueError, "needs min_shape, opt_shape, max_shape"),
        (((1,),), {"min_shape": (1,), "opt_shape": (1,), "max_shape": (2,)}, ValueError, "give one"),
        (("ab",), {}, TypeError, "whole numbers"),
        (((-1, 2),), {}, ValueError, "negative"),
        (((1,),), {"tensor_domain": (3, 1)}, ValueError, "tensor_domain"),
        (((1,),), {"torch_tensor": 3}, TypeError, "torch_tensor"),
        (((1,),), {"size": 3}, ValueError, "has no 'size'"),
        (((1,),), {"dtype": "x"}, TypeError, "is no dtype"),
        ((), {"profiles": [{"min": (1,)}]}, ValueError, "profiles"),
    ],
)
def test_inputs_that_are_none(arguments: Any, options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as found:
        Input(*arguments, **options)
    assert isinstance(found.value, tp.UserError)
