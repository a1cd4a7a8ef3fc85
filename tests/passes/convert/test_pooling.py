"""Pooling against eager."""

import re

import pytest
import torch
import torch.nn.functional as F
from trt_passes.compiler.ir.call import Call
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


def test_places_of_maxima():
    def function(x):
        x = (x * 2).round()  # with equal elements, of which the first counts
        return (
            *F.max_pool2d(x, 3, 2, 1, return_indices=True),
            *F.max_pool2d(x, (2, 3), dilation=(3, 2), ceil_mode=True, return_indices=True),
            F.max_pool2d(x, 3, dilation=2),
            *F.adaptive_max_pool2d(x, (3, 4), return_indices=True),
            *F.adaptive_max_pool2d(x, (1, None), return_indices=True),
            *F.max_pool2d(torch.full_like(x, -torch.inf), 3, 2, 1, return_indices=True),
        )

    check(function, [image], [{0: "n"}], {"n": (1, 2, 3)}, build=True)


def test_places_of_maxima_in_one_and_three_dimensions():
    def function(x, y):
        one = *F.max_pool1d(x, 3, 2, 1, return_indices=True), *F.adaptive_max_pool1d(x, 4, return_indices=True)
        three = (
            *F.max_pool3d(y, 3, 2, 1, return_indices=True),
            *F.adaptive_max_pool3d(y, (2, 1, 3), return_indices=True),
        )
        return *one, *three

    check(function, [torch.randn(2, 3, 9), torch.randn(2, 3, 6, 5, 4)], build=True)


def test_integers():
    x = torch.randint(-9, 9, (2, 7, 8))
    check(lambda x: (*F.max_pool2d(x, 3, 2, 1, return_indices=True), F.max_pool2d(x, 2)), [x])


@pytest.mark.skipif(TORCH_RELEASE < (2, 13), reason="torch.export before 2.13 wants heights of one parity only")
def test_places_of_maxima_in_dynamic_images():
    def function(x):
        return *F.max_pool2d(x, 3, 2, 1, dilation=2, return_indices=True), *F.adaptive_max_pool2d(x, 1, True)

    check(function, [image], [{0: "n", 2: "h"}], {"n": (1, 2, 3), "h": (6, 9, 14)}, build=True)


def test_ceil_mode_of_dynamic_images():
    def function(x):
        x = torch.cat([x, x[:, :, 1:]], 2)  # torch.export can follow the last window of odd heights only
        return (
            F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
            F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
            F.avg_pool2d(x, 3, 2, ceil_mode=True, divisor_override=3),
            F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
            *F.max_pool2d(x, 3, 2, 1, ceil_mode=True, return_indices=True),
        )

    check(function, [image], [{0: "n", 2: "h"}], {"n": (1, 2, 3), "h": (4, 9, 14)}, build=True)


@pytest.mark.parametrize(
    ("function", "dynamic", "code", "message"),
    [
        (
            lambda x: F.max_pool2d(x[..., :1], (1, 2), padding=(0, 1), dilation=2, return_indices=True),
            None,
            "TP205",
            "a window of elements 2 apart may miss all of a dimension of size 1",
        ),
        (
            lambda x: F.adaptive_max_pool2d(x, 4),
            [{2: "h"}],
            "TP203",
            "dimension -2 of self .* is dynamic, but dimensions pooled to more than one must be static",
        ),
    ],
)
def test_refusals(function, dynamic, code, message):
    _, program = traced(function, [image], dynamic, {"h": (5, 9, 12)} if dynamic else None)
    node = next(node for node in program.op_nodes if "pool" in node.name)
    (reason,) = default_registry().get(node.target).violations(Call(node))
    assert reason.code == code
    assert re.search(message, reason.message)


def test_dilated_windows_without_elements():
    def function(x):
        values = F.max_pool2d(x, (3, 2), 1, 1, (1, 2)), F.max_pool2d(x, 2, 1, 1, 2)
        return *values, F.max_pool2d(x.to(torch.int64), 2, 1, 1, 2)

    ranges = {"h": (1, 4, 6), "w": (1, 5, 7)}
    check(function, [torch.randn(2, 3, 4, 5)], [{2: "h", 3: "w"}], ranges, build=True)
    check(function, [torch.randn(2, 3, 1, 1)], build=True)


@pytest.mark.parametrize(("least", "refused"), [(1, True), (3, False)])
def test_places_in_windows_without_elements_are_refused(least, refused):
    def function(x):
        return F.max_pool2d(x, (3, 2), 1, 1, (1, 2), return_indices=True)

    _, program = traced(function, [torch.randn(2, 3, 4, 5)], [{3: "w"}], {"w": (least, 5, 7)})
    node = next(node for node in program.op_nodes if "max_pool" in node.name)
    reasons = default_registry().get(node.target).violations(Call(node))
    assert [reason.code for reason in reasons] == (["TP205"] if refused else [])
