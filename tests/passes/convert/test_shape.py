"""Shapes, order, slices, joins, repeats and padding against eager, static and dynamic."""

import torch
import torch.nn.functional as F
from trt_passes.compiler.tensorrt.layers import iter_layers

from tests.oracle import check

BATCH = {"n": (1, 2, 5)}
x = torch.randn(2, 3, 4)


def test_views_and_slices():
    def function(x):
        views = x.view(-1, 4), x.reshape(x.shape[0], 12), x.flatten(1), x.flatten(), x.unsqueeze(1), x.unsqueeze(-1)
        order = x.permute(2, 0, 1), x.transpose(0, 2), x.mT, x.flip(1), x.flip((0, 2))
        parts = x[:, 0], x[:, :, -1], x[:, 1:], x[:, :-1], x[..., ::2], x[-1], x.narrow(1, 1, 2)
        return *views, *order, *parts

    check(function, [x], [{0: "n"}], BATCH, build=True)


def test_joins_and_repeats():
    def function(x):
        joined = torch.cat([x, x], 0), torch.cat([x, x * 2], -1), torch.stack([x, x], 1)
        parts = *x.split(2, 1), *x.chunk(2, 2), *x.unbind(1), *x.split([1, 3], 2)
        repeated = x.repeat(2, 1, 3), x.tile((2,)), x.repeat_interleave(2, 1), x[:, None].expand(-1, 5, -1, -1)
        return *joined, *parts, *repeated, x.roll(1, 1), x.roll((1, -1), (0, 2)), x.roll(3)

    check(function, [x], [{0: "n"}], BATCH, build=True)


def test_windows_and_diagonals():
    def function(x):
        windows = x.unfold(2, 2, 1), x.unfold(1, 2, 1), x.unflatten(2, (2, 2)), x.tril(), x.triu(1)
        return *windows, x.diagonal(0, 1, 2), x.diagonal(1, 1, 2), x.diagonal(-1, 1, 2)

    check(function, [x], [{0: "n"}], BATCH, build=True)


def test_padding():
    def function(x):
        constant = F.pad(x, (1, 2)), F.pad(x, (1, 1, 2, 0), value=3.0), F.pad(x, (-1, 1))
        return *constant, *(F.pad(x, (1, 2), mode=mode) for mode in ("reflect", "replicate", "circular"))

    check(function, [torch.randn(4, 3, 4)], [{0: "n"}], {"n": (3, 4, 6)}, build=True)


def test_pixels():
    def function(x):
        return F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), F.pad(x, (1, 1, 2, 2), mode="reflect")

    check(function, [torch.randn(2, 8, 4, 6)], [{0: "n"}], BATCH, build=True)


def test_casts_and_copies():
    def function(x):
        return x.int(), x.half(), x.bool(), x.long().float(), x.to(torch.int32) + 1, x.clone(), x.contiguous(), x

    check(function, [x * 3], [{0: "n"}], BATCH, build=True)


def test_booleans():
    def function(b):
        return F.pad(b, (1, 1), value=True), b.float(), b.flip(0), torch.cat([b, ~b]), b[:, 1:], b.repeat(2, 1)

    check(function, [torch.randn(3, 4) > 0], build=True)


def test_zero_dimensions():
    check(lambda x: (x.view(1), x.expand(3), x.repeat(2), x.flatten(), x.clone()), [torch.tensor(1.5)], build=True)


def test_transposes_that_move_no_element_are_reshapes():
    """Of products between them TensorRT-RTX's builder crashed, as torch.einsum writes them."""

    def function(x):
        for _ in range(3):
            x = torch.tanh(torch.einsum("bij,bjk->bik", x, x) + x)
        return x

    check(function, [torch.randn(1, 4, 4)], build=True)
    check(function, [torch.randn(2, 8, 8) / 4], build=True)
    ranges = [{3: "n"}], {"n": (2, 5, 7)}
    for order, moves in [((1, 0, 3, 2), False), ((1, 2, 0, 3), False), ((3, 0, 2, 1), True)]:
        built = check(lambda x, order=order: x.permute(order) * 2, [torch.randn(1, 3, 1, 5)], *ranges).built
        shuffles = [layer.handle for layer in iter_layers(built.trt, built.network) if layer.kind == "SHUFFLE"]
        assert any(list(shuffle.first_transpose) != sorted(shuffle.first_transpose) for shuffle in shuffles) is moves


def test_two_dynamic_dimensions():
    def function(x):
        views = (
            x.reshape(-1, x.shape[2]),
            x.reshape(x.shape[0] * x.shape[1] * 2, -1),
            x.view(x.shape[1], x.shape[0], -1),
        )
        made = x.new_zeros(x.shape[1], x.shape[0]), torch.full((x.shape[0], x.shape[1]), 2.5), x.expand(3, *x.shape)
        return *views, *made, x.transpose(0, 1).flatten(), x * x.shape[1], x.mean((0, 1)), x.var(1)

    check(function, [x], [{0: "n", 1: "m"}], {"n": (2, 2, 5), "m": (2, 3, 7)}, build=True)


def test_dynamic_slices_and_ramps():
    def function(x, y):
        slices = x[:, -1:], x[:, 1:], x[:, :2], x[:, -2:], x.flip(1), torch.cat([x, y], 1), x @ y.mT
        size = x.shape[1]
        ramps = torch.arange(size), torch.arange(1, size + 1, dtype=torch.float32), torch.arange(0, 2 * size, 2)
        return *slices, *ramps

    tensors = [torch.randn(2, 5, 3), torch.randn(2, 5, 3)]
    check(function, tensors, [{0: "n", 1: "m"}] * 2, {"n": (2, 2, 5), "m": (4, 5, 8)}, build=True)


def test_one_dynamic_dimension_needs_no_shape_layers():
    result = check(lambda x: x.view(-1, 12).view(-1, 3, 4).permute(0, 2, 1), [x], [{0: "n"}], BATCH)
    assert set(result.layers()) == {"SHUFFLE"}


def test_roll_of_an_empty_dimension():
    x = torch.randn(3, 4)
    check(lambda x: (x.roll(1, 0), x.roll(3)), [x], [{0: "n"}], {"n": (0, 3, 8)})
