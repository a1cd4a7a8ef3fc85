"""The reference executor against eager PyTorch, on networks that TensorRT's ONNX parser made: an independent path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("onnxscript")


class Lambda(nn.Module):
    """A function as a module, so that a group of operators is one export."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_convolutional_network(compare_with_eager: Callable[..., None]) -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=4),
        nn.ReLU6(),
        nn.MaxPool2d(3, 2, 1),
        nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.LeakyReLU(0.1),
        nn.PReLU(6),
        nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
        nn.Softmax(-1),
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    batch = torch.export.Dim("batch", min=1, max=16)
    compare_with_eager(model, (torch.randn(2, 4, 33, 31),), (torch.randn(5, 4, 33, 31),), dynamic=({0: batch},))


def test_volumetric_network(compare_with_eager: Callable[..., None]) -> None:
    model = nn.Sequential(
        nn.Conv3d(2, 4, (3, 2, 3), stride=(1, 2, 1), padding=(1, 0, 1)),
        nn.ELU(),
        nn.MaxPool3d(2, ceil_mode=True),
        nn.ConvTranspose3d(4, 3, 2, stride=2),
        nn.AvgPool3d(2, padding=1),
        nn.InstanceNorm3d(3, affine=True),
    )
    compare_with_eager(model, (torch.randn(2, 2, 7, 8, 9),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_transformer_layer(compare_with_eager: Callable[..., None], dtype: torch.dtype) -> None:
    model = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True, activation="gelu").to(dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-2
    compare_with_eager(model, (torch.randn(2, 7, 32, dtype=dtype),), tolerance=tolerance)


def test_masked_attention_with_dynamic_sequence(compare_with_eager: Callable[..., None]) -> None:
    def attend(ids: Tensor, mask: Tensor, table: Tensor) -> Tensor:
        x = F.embedding(ids, table)
        heads = x.reshape(x.shape[0], x.shape[1], 4, 4).transpose(1, 2)
        scores = heads @ heads.transpose(-1, -2) / 2
        scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        scores = torch.where(causal, scores, torch.finfo(torch.float32).min)
        return (scores.softmax(-1) @ heads).transpose(1, 2).flatten(2)

    def args(batch: int, length: int) -> tuple[Tensor, ...]:
        mask = torch.arange(length).expand(batch, length) < length - 1
        return torch.randint(0, 11, (batch, length)), mask, torch.linspace(-1, 1, 11 * 16).reshape(11, 16)

    batch, length = torch.export.Dim("batch", max=8), torch.export.Dim("length", min=3, max=64)
    compare_with_eager(
        Lambda(attend),
        args(2, 6),
        args(3, 13),
        dynamic=(({0: batch, 1: length}, {0: batch, 1: length}, None),),
    )


def test_normalizations(compare_with_eager: Callable[..., None]) -> None:
    class Norms(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LayerNorm((4, 5))
            self.group = nn.GroupNorm(3, 6)
            self.instance = nn.InstanceNorm2d(6, affine=True)
            self.local = nn.LocalResponseNorm(3, alpha=0.5, k=2.0)
            self.rms = nn.RMSNorm(5)
            for parameter in self.parameters():
                nn.init.normal_(parameter)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return self.layer(x), self.group(x), self.instance(x), self.local(x), self.rms(x)

    compare_with_eager(Norms(), (torch.randn(2, 6, 4, 5),))


def test_pointwise_functions(compare_with_eager: Callable[..., None]) -> None:
    def functions(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        positive = x.abs() + 0.5
        bounded = x.clamp(-0.9, 0.9)
        return (
            positive.log() + positive.sqrt() + positive.rsqrt() + positive.pow(y) + positive.reciprocal(),
            bounded.asin() + bounded.acos() + bounded.atanh() + x.atan() + x.asinh() + (positive + 1).acosh(),
            x.sin() + x.cos() + bounded.tan() + x.sinh() + x.cosh() + x.tanh() + x.erf() + x.exp(),
            x.floor() + x.ceil() + x.round() + x.sign() - x.neg(),
            F.gelu(x) + F.gelu(x, approximate="tanh") + F.softplus(x) + F.softsign(x) + F.selu(x) + F.celu(x),
            F.hardsigmoid(x) + F.hardswish(x) + F.mish(x) + F.logsigmoid(x) + F.hardtanh(x, -0.5, 0.25),
            torch.where((x > y) | (x.isnan() ^ (y <= 0)), x.maximum(y), x.minimum(y)) - x / positive,
        )

    compare_with_eager(Lambda(functions), (torch.randn(3, 17) * 2, torch.randn(3, 17)))


def test_integer_arithmetic(compare_with_eager: Callable[..., None]) -> None:
    def functions(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        return (
            torch.div(a, b, rounding_mode="trunc"),
            torch.div(a, b, rounding_mode="floor"),
            a.remainder(b),
            a * b - a.maximum(b),
            a.sum(1) + a.amax(1) - a.amin(1),
            (a == b).to(torch.int64) + (a != b).to(torch.int32),
            a.float().mean(0).to(torch.int32),
        )

    a = torch.tensor([[7, -7, 8, -9], [0, 5, -1, 3]])
    compare_with_eager(Lambda(functions), (a, torch.tensor([[2, 2, -3, -4], [1, -5, 7, 3]])))


def test_reductions_and_order(compare_with_eager: Callable[..., None]) -> None:
    def functions(x: Tensor) -> tuple[Tensor, ...]:
        values, indices = x.topk(3, dim=1)
        lowest, places = x.topk(2, dim=-1, largest=False)
        return (
            x.sum((0, 2)),
            x.mean(1, keepdim=True),
            x.amax((1, 2)),
            x.prod(-1),
            x.var(1, correction=0),
            x.norm(dim=2),
            x.logsumexp(1),
            x.argmax(1),
            x.argmin(-1, keepdim=True),
            values,
            indices,
            lowest,
            places,
            x.cumsum(1),
            x.flatten(1).sort(descending=True)[0],
            x.log_softmax(1),
        )

    compare_with_eager(Lambda(functions), (torch.randn(3, 6, 5),))


def test_indexing_and_layout(compare_with_eager: Callable[..., None]) -> None:
    def functions(x: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        return (
            x[:, 1:5:2, ::3],
            x.gather(1, index),
            x.index_select(2, torch.tensor([3, 0, 3])),
            x[torch.tensor([1, 0]), torch.tensor([2, 4])],
            x.scatter(1, index, x[:, :2] * 2),
            x.slice_scatter(x[:, 1:3] - 1, 1, 3, 5),
            x.index_put((torch.tensor([1, 0]), torch.tensor([2, 4])), torch.zeros(2, 4)),
            x.flip(1).roll(2, 2),
            x.permute(2, 0, 1).reshape(4, -1).unsqueeze(1).expand(4, 3, 12),
            torch.cat((x, x[:, :1]), 1).split((2, 5), 1)[1],
            x.unbind(2)[3].squeeze(),
            torch.stack((x, -x), 2),
            x.tril() + x.triu(1) * 2,
            F.one_hot(index, 7),
            x.repeat(1, 2, 1).unflatten(1, (4, 3)),
            torch.einsum("bij,bkj->bik", x, x),
        )

    index = torch.tensor([[[0, 1, 2, 3], [5, 4, 3, 2]], [[1, 1, 0, 0], [2, 2, 3, 3]]])
    compare_with_eager(Lambda(functions), (torch.randn(2, 6, 4), index))


def test_padding_modes(compare_with_eager: Callable[..., None]) -> None:
    def functions(x: Tensor) -> tuple[Tensor, ...]:
        return (
            F.pad(x, (1, 2, 3, 0), value=1.5),
            F.pad(x, (2, 1, 1, 2), mode="reflect"),
            F.pad(x, (2, 1, 1, 2), mode="replicate"),
            F.pad(x, (2, 1, 1, 2), mode="circular"),
            F.pad(x, (-1, 2, 0, -1)),
        )

    compare_with_eager(Lambda(functions), (torch.randn(2, 3, 4, 5),))


def test_interpolations(compare_with_eager: Callable[..., None]) -> None:
    def functions(x: Tensor) -> tuple[Tensor, ...]:
        return (
            F.interpolate(x, size=(11, 13), mode="nearest"),
            F.interpolate(x, scale_factor=2, mode="nearest"),
            F.interpolate(x, size=(11, 3), mode="bilinear"),
            F.interpolate(x, size=(11, 13), mode="bilinear", align_corners=True),
            F.interpolate(x, size=(9, 4), mode="bicubic"),
            F.interpolate(x, size=(9, 4), mode="bicubic", align_corners=True),
        )

    compare_with_eager(Lambda(functions), (torch.randn(2, 3, 5, 7),))


def test_interpolation_of_volumes_and_grid_sample(compare_with_eager: Callable[..., None]) -> None:
    def functions(x: Tensor, image: Tensor, grid: Tensor) -> tuple[Tensor, ...]:
        return (
            F.interpolate(x, size=(5, 3, 8), mode="trilinear"),
            F.interpolate(x, size=(5, 3, 8), mode="nearest"),
            F.grid_sample(image, grid, align_corners=False),
            F.grid_sample(image, grid, "nearest", "border", align_corners=True),
            F.grid_sample(image, grid, "bilinear", "reflection", align_corners=True),
        )

    args = (torch.randn(1, 2, 3, 4, 5), torch.randn(2, 3, 5, 6), torch.rand(2, 4, 4, 2) * 2.4 - 1.2)
    compare_with_eager(Lambda(functions), args)


def test_shapes_computed_at_run_time(compare_with_eager: Callable[..., None]) -> None:
    def functions(x: Tensor) -> tuple[Tensor, ...]:
        batch, length = x.shape[0], x.shape[1]
        return (
            x.reshape(batch * length, -1),
            x[:, : length // 2],
            torch.arange(length).expand(batch, length) + batch,
            torch.full((batch, length * 2), 3.0),
            x.flatten(1).view(batch, 4, length),
            F.pad(x, (0, 0, 0, length)),
            x.mean(1, keepdim=True).expand(batch, length, 4),
        )

    batch, length = torch.export.Dim("batch", max=8), torch.export.Dim("length", min=2, max=64)
    compare_with_eager(
        Lambda(functions),
        (torch.randn(2, 6, 4),),
        (torch.randn(5, 10, 4),),
        dynamic=(({0: batch, 1: length},),),
    )


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_recurrent_cells_become_loops(compare_with_eager: Callable[..., None], cell: type[nn.Module]) -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell(5, 7, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x)[0]

    compare_with_eager(Last(), (torch.randn(2, 4, 5),))


def test_conditional(compare_with_eager: Callable[..., None]) -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda t: t.sin() + 1, lambda t: t.cos() * 2, (x,))

    compare_with_eager(Branch(), (torch.ones(2, 3),), (-torch.ones(2, 3),))
