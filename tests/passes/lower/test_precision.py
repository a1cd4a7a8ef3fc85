from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.nn import functional as F
from trt_passes.compiler.ir.program import Program
from trt_passes.passes.lower import CastPrecision, Narrow64Bit

from tests.oracle import traced
from tests.passes.lower.lowering import assert_same, lowered, ops, program_of, results

HALF = {"enabled_precisions": {torch.float16}}


def types(program: Program, op: str) -> set[torch.dtype]:
    def values() -> Iterator[torch.dtype]:
        for node, name in zip(program.op_nodes, ops(program), strict=True):
            if name == op:
                yield node.meta["val"].dtype

    return set(values())


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(16), nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x)))).softmax(-1)


@pytest.mark.parametrize("narrow", [torch.float16, torch.bfloat16])
def test_products_are_narrow_and_norms_are_not(narrow: torch.dtype) -> None:
    torch.manual_seed(0)
    x, notes = torch.randn(4, 16), []
    before = program_of(Block(), [x])
    after = lowered(before, CastPrecision(), notes=notes, enabled_precisions={narrow})
    assert types(after, "aten.linear") == types(after, "aten.gelu") == {narrow}
    assert types(after, "aten.layer_norm") == types(after, "aten._softmax") == {torch.float32}
    assert_same(before, after, [x], rtol=2e-2, atol=2e-2)
    assert results(after, [x])[0].dtype is torch.float32
    assert len(notes) == 1
    assert "3 of" in notes[0]


def test_nothing_changes_unless_asked_for() -> None:
    x, notes = torch.randn(4, 16), []
    before = program_of(Block(), [x])
    assert ops(lowered(before, CastPrecision(), Narrow64Bit(), notes=notes)) == ops(before)
    assert notes == []


def test_large_numbers_stay_in_float32() -> None:
    lowest = torch.finfo(torch.float32).min

    def function(w: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return torch.softmax((x @ w).masked_fill(mask, lowest) / 2 + (x @ w).exp(), -1)

    inputs = [torch.randn(2, 4) * 4, torch.tensor([[True, False, True, False], [True, True, True, True]])]
    before = program_of(function, inputs, [torch.randn(4, 4)])
    after = lowered(before, CastPrecision(), **HALF)
    assert all(torch.isfinite(value).all() for value in results(after, inputs))
    assert_same(before, after, inputs, rtol=5e-2, atol=5e-2)


@pytest.mark.parametrize("scale", [1e5, 1e-7, 0.0])
def test_weights_out_of_the_range_stay_in_float32(scale: float) -> None:
    def function(w: torch.Tensor, rows: torch.Tensor, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return x @ w.T + F.embedding(ids, rows)

    inputs = [torch.randn(3, 4), torch.tensor([0, 2, 1])]
    before = program_of(function, inputs, [torch.randn(5, 4) * scale, torch.randn(3, 5) * scale])
    after = lowered(before, CastPrecision(), **HALF)
    kept = torch.float32 if scale else torch.float16
    assert types(after, "aten.embedding") == (types(after, "aten.mm") | types(after, "aten.matmul")) == {kept}
    assert_same(before, after, inputs)


def test_small_numbers_that_keep_from_dividing_by_zero_stay() -> None:
    def function(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        y = (x @ w).relu()
        return y / (y.abs() + 1e-8) + y.clamp(min=1e-9).log()

    x = torch.randn(8, 8)
    before = program_of(function, [x], [torch.randn(8, 8)])
    after = lowered(before, CastPrecision(), **HALF)
    assert_same(before, after, [x], rtol=2e-2, atol=2e-2)


def test_a_fully_masked_row_of_an_attention_stays_finite() -> None:
    def function(q: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, q, q, mask)

    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 0, :] = mask[..., 1, 2:] = torch.finfo(torch.float32).min
    inputs = [torch.randn(1, 2, 16, 16), mask]
    before = program_of(function, inputs)
    after = lowered(before, CastPrecision(), **HALF)
    assert types(after, "aten.scaled_dot_product_attention") == {torch.float16}
    (expected,), (result,) = results(before, inputs), results(after, inputs)
    assert torch.isfinite(result).all()
    torch.testing.assert_close(result[..., 1:, :], expected[..., 1:, :], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("narrow", [torch.float16, torch.bfloat16])
def test_a_product_that_is_an_angle_stays_in_float32(narrow: torch.dtype) -> None:
    def function(inverse: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        angles = (positions[:, None].expand(-1, 2) @ inverse[None].expand(2, -1) / 2).repeat(1, 2) * 2
        return angles.cos() + angles.sin()

    inputs = [torch.tensor([0.0, 999, 5000])]
    before = program_of(function, inputs, [1e4 ** -(torch.arange(4) / 4)])
    after = lowered(before, CastPrecision(), enabled_precisions={narrow})
    assert ops(after) == ops(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_angles_of_positions_stay_in_float32(dtype: torch.dtype) -> None:
    """A product in float16 would turn position 300 by up to 0.1 radians more or less."""

    def angles(positions: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        # Two terms, because PyTorch makes a multiplication of a product with one.
        return positions[:, None].float().expand(-1, 2) @ (inverse.float()[None].expand(2, -1) / 2)

    def function(inverse: torch.Tensor, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        turned = angles(positions, inverse).cos() + angles(torch.arange(300), inverse).sin()
        return x @ (x.mT @ turned)

    inputs = [torch.randn(300, 16) / 50, torch.arange(300)]
    before = program_of(function, inputs, [(10000.0 ** (-torch.arange(0, 64, 2) / 64)).to(dtype)])
    after = lowered(before, CastPrecision(), **HALF)
    products = [node.meta["val"].dtype for node in after.op_nodes if node.target is torch.ops.aten.mm.default]
    assert sorted(map(str, products)) == ["torch.float16"] * 2 + ["torch.float32"] * 2
    assert_same(before, after, inputs, rtol=1e-2, atol=1e-2)


def test_what_a_model_converts_to_float32_stays_there() -> None:
    def function(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return (x.float() @ w).half()

    before = program_of(function, [torch.randn(4, 8).half()], [torch.randn(8, 8)])
    after = lowered(before, CastPrecision(), **HALF)
    assert ops(after) == ops(before)


def test_what_follows_a_product_of_converted_values_is_narrow_again() -> None:
    class Converting(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.float() / 32)

    model = Converting(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 8))
    before = program_of(model, [torch.arange(32).reshape(4, 8)])
    after = lowered(before, CastPrecision(), **HALF)
    products = [node.meta["val"].dtype for node in after.op_nodes if node.target is torch.ops.aten.linear.default]
    assert products == [torch.float32, torch.float16, torch.float16]


def test_small_integers_are_converted_without_loss() -> None:
    before = program_of(lambda w, x: x.float() @ w, [torch.ones(4, 8, dtype=torch.uint8)], [torch.randn(8, 8)])
    assert types(lowered(before, CastPrecision(), **HALF), "aten.mm") == {torch.float16}


def test_rows_of_a_weight_are_read_in_half_precision() -> None:
    before = program_of(lambda w, x: F.embedding(x, w) @ w.mT, [torch.arange(4)], [torch.randn(8, 8)])
    after = lowered(before, CastPrecision(), **HALF)
    assert types(after, "aten.embedding") == types(after, "aten.mm") == {torch.float16}


def test_moving_half_of_a_tensor_stays_narrow() -> None:
    """An open end of a slice is the largest integer, which is no number that float16 has to hold."""
    before = program_of(lambda w, x: (x @ w)[:, 2:] * 2, [torch.randn(2, 4)], [torch.randn(4, 4)])
    after = lowered(before, CastPrecision(), **HALF)
    assert types(after, "aten.slice.Tensor") == types(after, "aten.mul.Tensor") == {torch.float16}


def test_narrow_64bit_keeps_types_at_the_border_and_integers() -> None:
    def function(w: torch.Tensor, x: torch.Tensor, i: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = torch.sin(x * w) + torch.full((4,), 2.0, dtype=torch.float64)
        return y, y.float() * 2, (y > 0).long() + i, y.sum(dtype=torch.float64), i.double()

    inputs = [torch.randn(4, dtype=torch.float64), torch.arange(4)]
    notes: list[str] = []
    before = program_of(function, inputs, [torch.randn(4, dtype=torch.float64)])
    after = lowered(before, Narrow64Bit(), notes=notes, truncate_double=True)
    assert_same(before, after, inputs, rtol=1e-5, atol=1e-6)
    inside = [node for node in after.op_nodes if not all(user.op == "output" for user in node.users)]
    assert all(node.meta["val"].dtype is not torch.float64 for node in inside)
    assert "float32 instead of float64" in notes[0]


class Parts(nn.Module):
    """A product, an operator with several results, and a product of one of them."""

    def __init__(self, split) -> None:
        super().__init__()
        self.split = split
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.split(self.first(x)))


SEVERAL = {
    "chunk": lambda y: torch.cat(y.chunk(2, -1)[::-1], -1),
    "split": lambda y: torch.cat(y.split([3, 5], -1), -1),
    "unbind": lambda y: torch.stack(y.unbind(1), 1),
    "max": lambda y: y + y.max(-1, keepdim=True).values,
    "topk": lambda y: y.topk(8, -1).values,
    "sort": lambda y: y.sort(-1).values,
    "max pool": lambda y: F.max_pool2d(y[None], 3, 1, 1)[0],
    "max pool with places": lambda y: F.max_pool2d(y[None], 3, 1, 1, return_indices=True)[0][0],
    "variance and mean": lambda y: torch.var_mean(y, -1, keepdim=True)[0] * y,
    "aminmax": lambda y: y * torch.aminmax(y, dim=-1, keepdim=True).max,
}


@pytest.mark.parametrize("name", SEVERAL)
def test_one_of_several_results_is_not_made_from_constants(name: str) -> None:
    x, notes = torch.randn(1, 4, 8), []
    before = program_of(Parts(SEVERAL[name]), [x])
    after = lowered(before, CastPrecision(), notes=notes, **HALF)
    assert types(after, "aten.linear") == {torch.float16}
    assert_same(before, after, [x], rtol=2e-2, atol=2e-2)
    assert "Of 2 products (matrix products, convolutions, attentions, embeddings) 2 in float16." in notes[0]


def test_products_of_other_types_are_told_as_they_are() -> None:
    def function(x: torch.Tensor, d: torch.Tensor, i: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x @ x, d @ d, i @ i

    inputs, notes = [torch.ones(4, 4), torch.ones(4, 4).double(), torch.ones(4, 4).long()], []
    lowered(traced(function, inputs)[1], CastPrecision(), notes=notes, **HALF)
    assert "1 in float16, 1 in float64. In float64, the type that it has in the model: " in notes[0]


@pytest.mark.parametrize("layer", [nn.LSTM(4, 4), nn.GRU(4, 4), nn.RNN(4, 4), nn.RNN(4, 4, nonlinearity="relu")])
def test_recurrent_layers_are_told_to_stay_in_float32(layer: nn.Module) -> None:
    compiled = tp.compile(layer.eval(), [torch.randn(3, 2, 4)], min_block_size=1, **HALF, executor="pytorch")
    assert "1 in float32. In float32, its operator is never computed in less: " in compiled.report.notes[0]


def test_a_convolution_behind_a_pool_is_narrow() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3)).eval()
    after = lowered(program_of(model, [torch.randn(1, 3, 16, 16)]), CastPrecision(), **HALF)
    products = [node for node in after.op_nodes if "conv" in str(node.target)]
    assert [node.meta["val"].dtype for node in products] == [torch.float16] * 2


def test_several_results_of_constants_stay_in_float32() -> None:
    def function(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x @ (torch.arange(16.0).reshape(4, 4).chunk(2)[0] @ w)

    before = program_of(function, [torch.randn(3, 2)], [torch.randn(4, 4)])
    notes: list[str] = []
    after = lowered(before, CastPrecision(), notes=notes, **HALF)
    products = [node.meta["val"].dtype for node in after.op_nodes if "mm" in str(node.target)]
    assert sorted(map(str, products)) == ["torch.float16", "torch.float32"]
    assert "1 in float32, 1 in float16" in notes[0]
    assert "In float32, computed from constants" in notes[0]


def test_the_note_names_products_that_stay_and_why() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.large, self.last = nn.LSTM(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
            nn.init.constant_(self.large.weight, 1e5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.large(self.lstm(x)[0]))

    notes: list[str] = []
    after = lowered(traced(Model(), [torch.randn(3, 2, 8)])[1], CastPrecision(), notes=notes, **HALF)
    assert types(after, "aten.linear") == {torch.float16, torch.float32}
    assert "1 in float16" in notes[0]
    assert "In float32, its operator is never computed in less: lstm" in notes[0]
    assert "In float32, float16 cannot hold the numbers of" in notes[0]


def test_a_model_without_products_says_so() -> None:
    notes: list[str] = []
    lowered(program_of(lambda x: x.exp(), [torch.randn(3)]), CastPrecision(), notes=notes, **HALF)
    assert notes == [
        "enabled_precisions: nothing computes in float16. There are no matrix products, convolutions, attentions or "
        "embeddings."
    ]


COMPLEX = {
    "magnitude": lambda z, x: z.abs() * x,
    "real part": lambda z, x: z.real * x + 1,
    "parts": lambda z, x: torch.view_as_real(z) * 2 + x[..., None],
    "angle": lambda z, x: z.angle() + x,
    "made from reals": lambda z, x: (torch.complex(x * 2, x) * z).imag + x,
    "sum": lambda z, x: (z * 2).sum(1).real * 2 + x[:, 0],
    "Fourier transform": lambda z, x: torch.fft.irfft(torch.fft.rfft(x * 2) * 2, 4) + z.imag,
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers_of_double_precision_stay_and_their_parts_do_not(name: str) -> None:
    class Model(nn.Module):
        def forward(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            return COMPLEX[name](z, x)

    inputs = torch.randn(3, 4, dtype=torch.complex128), torch.randn(3, 4, dtype=torch.float64)
    compiled = tp.compile(Model(), inputs, truncate_double=True, min_block_size=1, executor="reference")
    assert compiled.report.verdicts["trt"]
    torch.testing.assert_close(compiled(*inputs), Model()(*inputs), rtol=1e-5, atol=1e-5)


BEYOND = {
    "largest float64": lambda x: torch.nan_to_num(x / x.abs()),
    "limits": lambda x: x.clamp(-1e300, 1e300),
    "choice": lambda x: torch.where(x > 0, x, 1e305).clamp(max=10),
    "mask": lambda x: x.masked_fill(x > 0, -1.7e308).softmax(-1),
}


@pytest.mark.parametrize("name", BEYOND)
def test_numbers_that_float32_has_not(name: str) -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return BEYOND[name](x)

    x = torch.tensor([[1.0, 0.0, -2.0]], dtype=torch.float64)
    for least in (1, 50):
        compiled = tp.compile(Model(), [x], truncate_double=True, min_block_size=least, executor="reference")
        torch.testing.assert_close(compiled(x), Model()(x))
