"""Convolutions against eager, each built into an engine."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.oracle import check, converted

BATCH = {"n": (1, 2, 5)}
CASES = {
    "1d": (nn.Conv1d(3, 6, 3, 2, 1), (2, 3, 9)),
    "2d grouped": (nn.Conv2d(4, 8, 3, (1, 2), (1, 0), groups=2), (2, 4, 8, 9)),
    "3d dilated": (nn.Conv3d(2, 4, 3, padding=1, dilation=2), (2, 2, 8, 8, 8)),
    "same padding": (nn.Conv2d(3, 4, (3, 2), padding="same", bias=False), (2, 3, 8, 8)),
    "reflected": (nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), (2, 3, 6, 6)),
    "transposed 1d": (nn.ConvTranspose1d(3, 4, 3, 2, 1, 1), (2, 3, 7)),
    "transposed 2d grouped": (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), (2, 4, 5, 6)),
    "output padding beyond the last window": (nn.ConvTranspose2d(3, 4, 3, 3, 0, 2), (2, 3, 5, 6)),
    "transposed 3d": (nn.ConvTranspose3d(2, 3, 2, 2), (2, 2, 3, 4, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_modules_with_a_dynamic_batch(name):
    module, shape = CASES[name]
    check(module, [torch.randn(shape)], [{0: "n"}], BATCH, build=True)


def test_dynamic_height_and_width():
    ranges = {"n": (1, 2, 5), "h": (5, 8, 11), "w": (5, 8, 9)}
    check(nn.Conv2d(3, 4, 3, 2, 1), [torch.randn(2, 3, 8, 8)], [{0: "n", 2: "h", 3: "w"}], ranges, build=True)


def test_without_batch():
    check(nn.Conv2d(3, 4, 3), [torch.randn(3, 6, 6)], build=True)


def test_kernel_computed_at_run_time():
    check(lambda x, w: F.conv2d(x, w * 2), [torch.randn(2, 3, 8, 8), torch.randn(4, 3, 3, 3)], build=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_low_precision(kind, dtype):
    check(kind(3, 4, 3, 2, 1).to(dtype), [torch.randn(2, 3, 8, 8).to(dtype)], build=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_transposed_with_stride_and_dilation(dtype):
    def function(x, y, w):
        one = F.conv_transpose1d(x[:, :, 0], w[:, :, 0], stride=3, padding=1, output_padding=2, dilation=4, groups=2)
        two = F.conv_transpose2d(x, w, stride=(3, 2), padding=(1, 2), output_padding=(2, 3), dilation=4, groups=2)
        return one, two, F.conv_transpose3d(y, w[:, :, None], stride=2, dilation=(1, 3, 2), groups=2)

    inputs = [torch.randn(2, 4, 5, 6), torch.randn(2, 4, 2, 3, 4), torch.randn(4, 2, 3, 4)]
    inputs = [x.to(dtype) for x in inputs]
    loose = (6e-2, 6e-2) if dtype == torch.bfloat16 else (1e-2, 1e-2) if dtype == torch.float16 else None
    check(function, inputs, [{0: "n"}, {0: "n"}, None], {"n": (1, 2, 3)}, build=True, tolerance=loose)


PATCHES = {
    "an image": nn.Conv2d(3, 8, 4, 4),
    "windows that are not square": nn.Conv2d(5, 8, (2, 4), (2, 4), bias=False),
    "single pixels": nn.Conv2d(3, 8, 1),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", PATCHES)
def test_windows_side_by_side_are_one_product_of_halves(name, dtype):
    module, batch = PATCHES[name].to(dtype), [{0: "n"}]
    x = torch.randn(2, module.in_channels, 8, 12).to(dtype)
    result = check(module, [x], batch, BATCH, build=True)
    assert "MATRIX_MULTIPLY" in result.layers()
    assert "CONVOLUTION" not in result.layers()


BLOCKS = {
    "ResNet": nn.Conv2d(3, 8, 7, 2, 3, bias=False),
    "windows that are not square": nn.Conv2d(3, 8, (5, 8), (2, 3), (1, 0)),
    "whole blocks": nn.Conv2d(6, 8, 6, 2, 2),
    "a row is left over": nn.Conv2d(3, 8, 7, 4, 1),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", BLOCKS)
def test_large_windows_are_of_blocks_of_halves(name, dtype):
    module = BLOCKS[name].to(dtype)
    x = torch.randn(2, module.in_channels, 17, 20).to(dtype)
    result = check(module, [x], [{0: "n"}], BATCH, build=True)
    (line,) = (line for line in result.built.text().splitlines() if " CONVOLUTION(" in line)
    assert "stride" not in line
    channels = -(-module.in_channels * module.stride[0] * module.stride[1] // 8) * 8
    (kernel,) = (tensor for tensor in result.built.kept_alive if tensor.dim() == 4)
    assert kernel.shape[1] == channels


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        pytest.param(nn.Conv2d(3, 8, 7, 2, 3), (2, 3, 16, 16), id="float32 of large windows"),
        pytest.param(nn.Conv2d(3, 8, 3, 2, 1).half(), (2, 3, 8, 8), id="small windows"),
        pytest.param(nn.Conv2d(3, 8, 7, 1, 3).half(), (2, 3, 8, 8), id="every pixel"),
        pytest.param(nn.Conv2d(3, 8, 4, 4), (2, 3, 8, 8), id="float32"),
        pytest.param(nn.Conv2d(3, 8, 4, 4).half(), (2, 3, 9, 8), id="a row is left over"),
        pytest.param(nn.Conv2d(3, 8, 4, 3).half(), (2, 3, 10, 10), id="windows overlap"),
        pytest.param(nn.Conv2d(3, 8, 2, 2, 1).half(), (2, 3, 8, 8), id="padding"),
        pytest.param(nn.Conv2d(3, 8, 2, 2, dilation=3).half(), (2, 3, 8, 8), id="dilation"),
        pytest.param(nn.Conv2d(6, 6, 2, 2, groups=2).half(), (2, 6, 8, 8), id="groups"),
        pytest.param(nn.Conv2d(8, 8, 2, 2).half(), (2, 8, 8, 8), id="8 channels"),
        pytest.param(nn.ConvTranspose2d(3, 8, 2, 2).half(), (2, 3, 8, 8), id="transposed"),
    ],
)
def test_other_convolutions_stay(module, shape):
    result = check(module, [torch.randn(shape).to(module.weight.dtype)], build=True)
    assert {"CONVOLUTION", "DECONVOLUTION"} & set(result.layers())


@pytest.mark.parametrize("least", [0, 1])
def test_what_may_be_empty_is_padded_first(least):
    """TensorRT's layer takes no dimension of 0, although padding makes something of it."""
    model = nn.Conv2d(6, 6, 3, padding=2).eval()
    ranges = {"batch": (0, 2, 4), "width": (least, 4, 8)}
    result = check(model, [torch.randn(2, 6, 4, 4)], [{0: "batch", 3: "width"}], ranges, build=True)
    assert ("SLICE" in result.layers()) is (least == 0)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "output_padding"),
    [(1, 2, 0, 0), (1, 2, 0, 1), (2, 3, 1, 1), (3, 2, 1, 0), (3, 3, 1, 1), (3, 3, 1, 2), (3, 2, 0, 0)],
)
def test_a_transposed_layer_yields_at_least_a_stride(kernel, stride, padding, output_padding):
    """cuDNN has no kernels for less: an engine that needs one is built, and then cannot run."""
    module = nn.ConvTranspose2d(3, 4, kernel, stride, padding, output_padding)
    check(module, [torch.randn(2, 3, 1, 4)], [{3: "w"}], {"w": (1, 4, 6)})
    built = converted(module, [torch.randn(2, 3, 1, 1)]).built
    layers = [built.network.get_layer(index) for index in range(built.network.num_layers)]
    (layer,) = (layer for layer in layers if layer.type.name == "DECONVOLUTION")
    layer.__class__ = built.trt.module.IDeconvolutionLayer
    assert all(size >= step for size, step in zip(layer.get_output(0).shape[2:], layer.stride_nd, strict=True))
