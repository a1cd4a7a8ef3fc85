"""Programs with complex tensors: engines that compute with pairs, views at the borders, and what stays in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp

from tests.passes.lower.complex.programs import Function, check, compiled

Z, W = torch.randn(3, 4, dtype=torch.complex64), torch.randn(3, 4, dtype=torch.complex64)
X = torch.randn(3, 4)

PROGRAMS = {
    "inputs and results": lambda z, w, x: (z * w, (z / w).abs() + x),
    "products": lambda z, w, x: torch.einsum("ij,kj->ik", z, w.conj()) @ z + torch.vdot(z[0], w[0]),
    "made of reals": lambda z, w, x: torch.polar(x.abs(), x) * torch.complex(x, -x) + z,
    "views": lambda z, w, x: torch.view_as_real(z.T.reshape(2, 6)[:, 1:].flip(0)).sum(1) + x[0, 0],
    "several results": lambda z, w, x: (z.split(2, 1)[1].real + z.unbind(0)[0][:2].imag, *torch.var_mean(w, 1)),
    "choices": lambda z, w, x: torch.where(x > 0, z, w).masked_fill(x > 1, 2 - 1j).imag + (z == w) + (z != 1j),
    "real with complex": lambda z, w, x: torch.cat([z, torch.stack([z, w])[0], x * 1j + 2]) / (x[0] + 3),
    "conjugate views": lambda z, w, x: (z.conj() * w.mH.T).real + z.conj().imag * x,
    "sums": lambda z, w, x: (z.cumsum(0) + w.mean(1, keepdim=True) + z.prod(0)).norm(dim=1) + z.std(1),
    "casts": lambda z, w, x: (x.to(torch.complex64) + z).to(torch.bool) & (z * 0).bool().logical_not(),
    "indexing": lambda z, w, x: (
        z[[0, 2]][:, None, [1, 1]] + torch.zeros_like(w)[0, :2].index_fill(0, torch.tensor([1]), 3j)
    ),
    "filled": lambda z, w, x: torch.full((3, 4), 1 - 2j) * z + torch.nn.functional.pad(w, (1, 0), value=2.0)[:, 1:],
    "one part of two": lambda z, w, x: torch.view_as_real(z * w)[..., 1] * torch.view_as_real(z * 2)[..., 0],
    "convolution": lambda z, w, x: torch.nn.functional.conv1d(z[None], w[:2, None, :3].repeat(1, 3, 1)).abs(),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.filterwarnings("ignore:Casting complex values to real")
def test_one_engine_with_views_beside_it(name: str) -> None:
    check(PROGRAMS[name], (Z, W, X))


def rope(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """x: (batch, tokens, heads, features), turns: (tokens, features / 2) of absolute value 1."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns[None, : x.shape[1], None]).flatten(3).type_as(x)


class Attention(torch.nn.Module):
    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv = heads, torch.nn.Linear(features, 3 * features, bias=False)
        self.norm, self.out = torch.nn.RMSNorm(features), torch.nn.Linear(features, features, bias=False)

    def forward(self, x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
        query, key, value = self.qkv(self.norm(x)).unflatten(2, (3, self.heads, -1)).unbind(2)
        query, key = rope(query, turns), rope(key, turns)
        parts = (part.transpose(1, 2) for part in (query, key, value))
        mixed = torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
        return x + self.out(mixed.transpose(1, 2).flatten(2))


class Llama(torch.nn.Module):
    """Four layers with rotary positions in complex form, as Meta wrote them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(Attention(16, 2) for _ in range(4))
        angles = torch.outer(torch.arange(32.0), 1 / 100 ** (torch.arange(0, 8, 2) / 8))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, self.turns)
        return x


@pytest.mark.parametrize("precision", [None, torch.float16])
def test_rotary_positions_in_complex_form_cut_nothing(precision: torch.dtype | None) -> None:
    torch.manual_seed(0)
    model = Llama().eval()
    tokens = tp.Input(min_shape=(1, 2, 16), opt_shape=(2, 5, 16), max_shape=(3, 32, 16), dtype=torch.float32)
    half = {} if precision is None else {"enabled_precisions": {precision}}
    result = compiled(model, [tokens], **half)
    assert len(result.report.segments) == 1
    assert result.report.coverage == 1.0
    for shape in ((1, 2, 16), (2, 5, 16), (3, 32, 16)):
        x = torch.randn(shape)
        torch.testing.assert_close(result(x), model(x), rtol=1e-2 if half else 1e-5, atol=1e-2 if half else 1e-5)


def stays(result: Any) -> dict[str, list[str]]:
    """The messages of the operators that stay in PyTorch with TP212, by operator, but for views at borders."""
    rows = [row for row in result.report.ledger if any(reason.code == "TP212" for reason in row.reasons)]
    return {row.op: [reason.message for reason in row.reasons] for row in rows if "here" not in row.reasons[0].message}


def test_an_operator_without_a_rule_stays_and_its_neighbours_do_not() -> None:
    def model(z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return (torch.linalg.inv(z @ z * 2 + 1j) * z).abs() + x

    z, x = torch.randn(3, 3, dtype=torch.complex64), torch.randn(3, 3)
    result = check(model, (z, x), segments=None, tolerance=1e-4)
    assert stays(result) == {
        "aten.linalg_inv": [
            "the result is c64, which TensorRT does not have: lower.complex has no rule for this operator."
        ]
    }
    assert len(result.report.segments) == 2


def test_numbers_are_not_taken_apart_for_one_operator_only() -> None:
    def model(z: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.linalg.inv(torch.linalg.inv(z) * 2), torch.relu(x)

    z, x = torch.randn(3, 3, dtype=torch.complex64), torch.randn(3, 3)
    result = check(model, (z, x), segments=None, tolerance=1e-4)
    (message,) = stays(result)["aten.mul.Tensor"]
    assert "would only be put together again for what stays in PyTorch beside it: %" in message
    assert not [row for row in result.report.ledger if row.op.startswith("aten.view_as")]


def test_double_precision_is_rewritten_where_it_may_be_narrowed() -> None:
    z, w = torch.randn(3, 4, dtype=torch.complex128), torch.randn(3, 4, dtype=torch.complex128)
    model = lambda z, w: ((z * w).exp(), (z / w).abs().relu())  # noqa: E731
    wide = check(model, (z, w), truncate_double=True, segments=None)
    assert not stays(wide)
    assert len(wide.report.segments) == 1
    assert "4 of 4 op nodes" in wide.report.notes[0]
    kept = check(model, (z, w), segments=None)
    assert all("truncate_double=True" in message for messages in stays(kept).values() for message in messages)


def test_half_complex_numbers_are_refused_clearly() -> None:
    model = lambda x: torch.view_as_real((x.to(torch.complex64) * 2j).to(torch.complex32)).float() + 1  # noqa: E731
    result = check(model, (X,), segments=None, tolerance=1e-2)
    assert any("complex32" in message for messages in stays(result).values() for message in messages)


def test_a_view_of_a_complex_input_stays_a_view() -> None:
    result = compiled(lambda z, x: (z.conj().T, x + 1), (Z, X))
    (message,) = stays(result)["aten._conj"]
    assert message.endswith("it only makes a complex view for the caller.")
    torch.testing.assert_close(result(Z, X)[0].resolve_conj(), Z.mH.resolve_conj())


def test_lazy_conjugates_and_negatives_are_given() -> None:
    model = lambda z, x: (z * 2).imag + x  # noqa: E731
    result = compiled(model, (Z, X))
    given = (Z.conj(), Z.conj().imag)
    assert given[0].is_conj()
    assert given[1].is_neg()
    torch.testing.assert_close(result(*given), model(*given))


def test_constants_and_parameters() -> None:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 5, dtype=torch.complex64))
            self.register_buffer("shift", torch.randn(5, dtype=torch.complex64))

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return (z @ self.weight + self.shift).abs() * torch.tensor([2j, 1, 0, 1, 3]).abs()

    result = check(Model(), (Z,))
    assert [row.op for row in result.report.ledger if str(row.verdict) != "trt"] == ["aten.view_as_real"]


def test_varying_sizes() -> None:
    model = lambda z, w: ((z * w[:1]).flatten().cumsum(0) + z.shape[0]).real  # noqa: E731
    spec = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(7, 4), dtype=torch.complex64)
    result = compiled(Function(model), [spec, spec])
    for rows in (1, 3, 7):
        z = torch.randn(rows, 4, dtype=torch.complex64)
        torch.testing.assert_close(result(z, z), model(z, z))


@pytest.mark.parametrize("ir", ["torch_compile", "ts", "fx"])
def test_other_front_ends(ir: str) -> None:
    class Model(torch.nn.Module):
        def forward(self, z: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return z * z.conj() + torch.view_as_complex(x.reshape(3, 4, 2)), (z * 2j).abs()

    model, inputs = Model(), (Z, torch.randn(3, 8))
    result = tp.compile(model, inputs=list(inputs), ir=ir, executor="reference", min_block_size=1)
    torch.testing.assert_close(result(*inputs), model(*inputs))


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = Function(lambda z, w: (z * w, (z + 1).abs()))
    tp.save(compiled(model, (Z, W)), tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2", executor="pytorch")
    torch.testing.assert_close(loaded(Z, W), model(Z, W))


def test_a_branch_with_complex_operands_is_given_them() -> None:
    class Model(torch.nn.Module):
        def forward(self, z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            chosen = torch.cond(x.sum() > 0, lambda z: z * 2, lambda z: z.conj() * 1j, (z * z,))
            return chosen.abs() + x

    model = Model()
    result = compiled(model, (Z, X))
    for x in (X.abs(), -X.abs()):
        torch.testing.assert_close(result(Z, x), model(Z, x))
