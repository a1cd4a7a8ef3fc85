"""Upsampling and grid sampling against eager."""

import torch
import torch.nn.functional as F
from trt_passes.compiler.call import Call
from trt_passes.passes.convert import default_registry

from tests.oracle import check, traced

image = torch.randn(2, 3, 4, 5)


def test_modes_and_sizes():
    def function(x):
        resize = F.interpolate
        nearest = resize(x, scale_factor=2), resize(x, size=(7, 5)), resize(x, size=(7, 9), mode="nearest-exact")
        smooth = (
            resize(x, size=(7, 9), mode=mode, align_corners=a)
            for mode in ("bilinear", "bicubic")
            for a in (False, True)
        )
        return *nearest, *smooth, resize(x, scale_factor=2, mode="bilinear")

    check(function, [image], [{0: "n"}], {"n": (1, 2, 5)}, build=True)


def test_dynamic_height():
    def function(x):
        return F.interpolate(x, scale_factor=2), F.interpolate(x, scale_factor=2, mode="bilinear")

    check(function, [image], [{0: "n", 2: "h"}], {"n": (1, 2, 3), "h": (3, 4, 8)}, build=True)


def test_one_and_three_dimensions():
    def function(x, y):
        one = F.interpolate(x, scale_factor=2), F.interpolate(x, size=9, mode="linear")
        return *one, F.interpolate(y, scale_factor=2), F.interpolate(y, size=(3, 4, 5), mode="trilinear")

    check(function, [torch.randn(2, 3, 4), torch.randn(2, 3, 2, 3, 4)], build=True)


def test_grids():
    def function(x, g):
        return (
            F.grid_sample(x, g, align_corners=False),
            F.grid_sample(x, g, mode="nearest", padding_mode="border", align_corners=True),
            F.grid_sample(x, g, padding_mode="reflection", align_corners=False),
        )

    check(function, [torch.randn(2, 3, 5, 6), torch.rand(2, 4, 4, 2) * 2.2 - 1.1], build=True)


def test_a_factor_that_does_not_fit_is_refused():
    _, program = traced(lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"), [image])
    (node,) = [node for node in program.op_nodes if "upsample" in node.name]
    (reason,) = default_registry().get(node.target).violations(Call(node))
    assert reason.code == "TP205"
    assert "the factor 1.7 times the size 4 is not the size 6" in reason.message
