"""Which GPUs have which types is what TensorRT-RTX builds for."""

import pytest
import torch
from trt_passes.compiler.tensorrt.targets import FIRST_CAPABILITY, NAMES, lacking, refusal


def test_every_type_of_the_table_has_a_name():
    assert FIRST_CAPABILITY.keys() == NAMES.keys()


@pytest.mark.parametrize(
    ("dtype", "capabilities", "missing"),
    [
        (torch.float8_e4m3fn, ("7.5", "8.0", "8.6", "8.9", "12.0"), ("7.5", "8.0", "8.6")),
        (torch.int4, ("7.5", "8.0"), ("7.5",)),
        (torch.float4_e2m1fn_x2, ("8.9", "12.0"), ("8.9",)),
        (torch.int8, ("7.5",), ()),
        (torch.float8_e4m3fn, (), ()),
    ],
)
def test_what_gpus_lack(dtype, capabilities, missing):
    assert lacking(dtype, capabilities) == missing
    assert (refusal(dtype, capabilities) is None) == (missing == ())


def test_the_sentence_names_both():
    assert refusal(torch.float8_e4m3fn, ("8.0",)) == "fp8 needs compute capability 8.9; compute_capabilities has 8.0"
