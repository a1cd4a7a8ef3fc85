"""Upsampling and grid sampling against eager."""

import pytest
import torch
import torch.nn.functional as F
from trt_passes.compiler.ir.call import Call
from trt_passes.passes.convert import default_registry

from tests.oracle import check, compare, converted, traced

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


def test_factors_that_are_not_the_ratio_of_the_sizes():
    def function(x):
        nearest = (F.interpolate(x, scale_factor=1.7, mode=mode) for mode in ("nearest", "nearest-exact"))
        smooth = (F.interpolate(x, scale_factor=(1.7, 0.6), mode=mode) for mode in ("bilinear", "bicubic"))
        return *nearest, *smooth, F.interpolate(x[0], scale_factor=0.6, mode="linear")

    check(function, [image], [{0: "n"}], {"n": (1, 2, 3)}, build=True)


def test_factors_of_a_dynamic_height():
    def function(x):
        nearest = (F.interpolate(x, scale_factor=1.7, mode=mode) for mode in ("nearest", "nearest-exact"))
        return *nearest, F.interpolate(x, scale_factor=1.7, mode="bilinear")

    check(function, [image], [{2: "h"}], {"h": (3, 4, 9)}, build=True)


def test_antialiasing():
    def function(x):
        for size in ((3, 9), (10, 2)):
            for aligned in (False, True):
                yield F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=aligned)
                yield F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=aligned)

    check(lambda x: tuple(function(x)), [torch.randn(2, 3, 6, 7)], [{0: "n"}], {"n": (1, 2, 3)}, build=True)


def test_antialiasing_of_a_dynamic_height():
    def function(x):
        sizes = ((3, 9), (12, 4))
        modes = ("bilinear", "bicubic")
        return tuple(
            F.interpolate(x, size=size, mode=mode, antialias=True, align_corners=aligned)
            for size in sizes
            for mode in modes
            for aligned in (False, True)
        )

    check(function, [torch.randn(2, 3, 6, 7)], [{2: "h"}], {"h": (4, 6, 11)}, build=True)


def test_grids():
    def function(x, g):
        return (
            F.grid_sample(x, g, align_corners=False),
            F.grid_sample(x, g, mode="nearest", padding_mode="border", align_corners=True),
            F.grid_sample(x, g, padding_mode="reflection", align_corners=False),
        )

    check(function, [torch.randn(2, 3, 5, 6), torch.rand(2, 4, 4, 2) * 2.2 - 1.1], build=True)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("aligned", [False, True])
def test_grids_in_volumes(padding, mode, aligned):
    def function(x, g):
        return F.grid_sample(x, g, mode=mode, padding_mode=padding, align_corners=aligned)

    inputs = [torch.randn(2, 3, 4, 5, 6), torch.rand(2, 3, 4, 2, 3) * 5 - 2.5]
    dynamic = [{0: "n", 2: "d"}, {0: "n", 1: "k"}]
    ranges = {"n": (1, 2, 3), "d": (2, 4, 6), "k": (1, 3, 5)}
    check(function, inputs, dynamic, ranges, build=padding == "reflection", tolerance=(1e-4, 1e-4))


def test_a_cubic_factor_of_a_dynamic_height_must_be_whole():
    _, program = traced(
        lambda x: F.interpolate(x, scale_factor=1.7, mode="bicubic"), [image], [{2: "h"}], {"h": (3, 4, 9)}
    )
    (node,) = [node for node in program.op_nodes if "upsample" in node.name]
    (reason,) = default_registry().get(node.target).violations(Call(node))
    assert reason.code == "TP205"
    assert "the factor 1.7 of the dynamic dimension -2 is not a whole number" in reason.message


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_half_precision_places_of_a_wide_image(mode):
    x = torch.arange(5000, dtype=torch.float32).reshape(1, 1, 1, 5000).remainder(7).half()
    places = torch.tensor([0.9, 0.5004, -0.3, 0.25]).half()
    grid = torch.stack([places, torch.zeros(4)], -1).reshape(1, 1, 4, 2).half()

    def function(x, g):
        return F.grid_sample(x, g, mode=mode, align_corners=False)

    (actual,) = converted(function, [x, grid]).run([x, grid])
    assert actual.dtype == torch.float16
    # PyTorch's kernel for the CPU computes the places in half precision, those for devices do not.
    compare(actual, function(x.double(), grid.double()).half(), "grid_sample")
