"""Pooling against eager."""

import re

import pytest
import torch
import torch.nn.functional as F
from trt_passes.compiler.call import Call
from trt_passes.passes.convert import default_registry

from tests.models import TORCH_RELEASE
from tests.oracle import check, traced

image = torch.randn(2, 3, 9, 10)


def windows(x, **options):
    return (
        F.max_pool2d(x, 2, **options),
        F.max_pool2d(x, 3, 2, 1, **options),
        F.avg_pool2d(x, 2, **options),
        F.avg_pool2d(x, 3, 2, 1, **options),
        F.avg_pool2d(x, 3, 2, 1, count_include_pad=False, **options),
        F.avg_pool2d(x, 3, 2, 1, divisor_override=5, **options),
    )


@pytest.mark.skipif(TORCH_RELEASE < (2, 13), reason="torch.export before 2.13 wants heights of one parity only")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_windows_of_dynamic_images(dtype):
    check(windows, [image.to(dtype)], [{0: "n", 2: "h"}], {"n": (1, 2, 3), "h": (6, 9, 13)}, build=True)


def test_ceil_mode():
    check(lambda x: windows(x, ceil_mode=True), [image], [{0: "n"}], {"n": (1, 2, 3)}, build=True)


def test_adaptive_sizes():
    sizes = [1, (3, 5), (4, 1), (None, 3)]
    check(lambda x: tuple(F.adaptive_avg_pool2d(x, size) for size in sizes), [image], build=True)


def test_one_and_three_dimensions():
    def function(x, y):
        one = F.max_pool1d(x, 2), F.avg_pool1d(x, 3, 2, 1), F.adaptive_avg_pool1d(x, 4)
        return (
            *one,
            F.max_pool3d(y, 2),
            F.avg_pool3d(y, 3, 2, 1),
            F.adaptive_avg_pool3d(y, (2, 1, 3)),
            F.max_pool2d(x, 2),
        )

    check(function, [torch.randn(2, 3, 9), torch.randn(2, 3, 6, 6, 6)], build=True)


@pytest.mark.parametrize(
    ("function", "code", "message"),
    [
        (
            lambda x: F.max_pool2d(x, 2, return_indices=True),
            "TP205",
            "the places of the maxima .result 1. is used",
        ),
        (lambda x: F.max_pool2d(x, 3, dilation=2), "TP205", "dilation is .2, 2., but it must be 1"),
    ],
)
def test_refusals(function, code, message):
    _, program = traced(function, [image])
    node = next(node for node in program.op_nodes if "pool" in node.name)
    (reason,) = default_registry().get(node.target).violations(Call(node))
    assert reason.code == code
    assert re.search(message, reason.message)
