"""Data types under their three names."""

from __future__ import annotations

import pytest
import torch
from trt_passes.compiler.ir.dtypes import UnknownDType, from_short_name, short_name
from trt_passes.compiler.tensorrt import dtypes
from trt_passes.compiler.tensorrt.loader import TensorRT


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.float32, "f32"),
        (torch.float16, "f16"),
        (torch.bfloat16, "bf16"),
        (torch.float64, "f64"),
        (torch.int8, "i8"),
        (torch.uint8, "u8"),
        (torch.int16, "i16"),
        (torch.int32, "i32"),
        (torch.int64, "i64"),
        (torch.bool, "bool"),
        (torch.float8_e4m3fn, "f8e4m3"),
        (torch.complex64, "c64"),
    ],
)
def test_short_names_round_trip(dtype: torch.dtype, name: str) -> None:
    assert short_name(dtype) == name
    assert from_short_name(name) == dtype


def test_every_torch_type_has_a_short_name_of_its_own() -> None:
    every = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    names = [short_name(dtype) for dtype in every]
    assert len(set(names)) == len(every)
    assert short_name(torch.qint8) == "qint8"


def test_unknown_short_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownDType, match=r"unknown data type 'float': use one of .*bf16, .*f32"):
        from_short_name("float")


def test_tensorrt_types_round_trip(trt: TensorRT) -> None:
    members = trt.module.DataType.__members__
    for name, member in members.items():
        assert dtypes.to_trt(trt.module, dtypes.from_trt(member)) == member, name
    assert [dtypes.trt_short_name(members[name]) for name in ("HALF", "FP8", "INT4", "FP4")] == [
        "f16",
        "f8e4m3",
        "i4",
        "f4e2m1",
    ]


def test_sizes_agree(trt: TensorRT) -> None:
    for name, member in trt.module.DataType.__members__.items():
        # The binding has no size for the types below a byte, nor for E8M0.
        if name not in ("INT4", "FP4", "E8M0"):
            assert member.itemsize == dtypes.from_trt(member).itemsize


@pytest.mark.parametrize("dtype", [torch.float64, torch.int16, torch.complex64])
def test_types_tensorrt_does_not_have(trt: TensorRT, dtype: torch.dtype) -> None:
    assert not dtypes.is_representable(dtype)
    with pytest.raises(UnknownDType, match=f"no data type for {dtype}: cast the tensor to one of f32, f16"):
        dtypes.to_trt(trt.module, dtype)


def test_representable_types_are_those_that_convert(trt: TensorRT) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.bool, torch.uint8, torch.float8_e4m3fn):
        assert dtypes.is_representable(dtype)
        assert dtypes.from_trt(dtypes.to_trt(trt.module, dtype)) == dtype


def test_torch_holds_numbers_of_four_bits_in_eight() -> None:
    assert dtypes.computed_as(torch.int4) is torch.int8
    assert dtypes.computed_as(torch.float4_e2m1fn_x2) is torch.float8_e4m3fn
    assert dtypes.computed_as(torch.float16) is torch.float16
    assert not dtypes.is_representable(torch.int4)
