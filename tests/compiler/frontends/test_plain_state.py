"""Models whose weights have no address of their own, or share one: none gets the numbers of another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.subclasses import Quantized, quantized

OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1, "pass_through_build_failures": True}


def layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).eval()


def tied() -> nn.Module:
    model: Any = quantized(layers())
    model[2].weight = model[0].weight
    return model


class Two(nn.Module):
    """Two buffers `a` and `b`, and what is computed with them."""

    def __init__(self, a: torch.Tensor, b: torch.Tensor, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.register_buffer("a", a)
        self.register_buffer("b", b)
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, self.a, self.b)


def products(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.relu(x @ a) @ b


def folded(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.relu(x @ (a @ a)) @ (b @ b)


def imaginary(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.relu(x @ (a * 1).imag) @ (b * 1).imag


BASE = torch.arange(64.0).reshape(8, 8) / 8 - 3
COMPLEX = torch.complex(BASE, BASE.flip(0))

MODELS: dict[str, Callable[[], nn.Module]] = {
    "quantized layers": lambda: quantized(layers()),
    "one of them twice": tied,
    "quantized buffers": lambda: Two(Quantized.of(BASE), Quantized.of(BASE.t() + 1), products),
    "folded": lambda: Two(Quantized.of(BASE), Quantized.of(BASE.t() + 1), folded),
    "a view of the other": lambda: Two(BASE, BASE.t(), products),
    "expanded": lambda: Two(BASE[:1].expand(8, 8), BASE[1:2].expand(8, 8), products),
    "conjugated": lambda: Two(COMPLEX, COMPLEX.conj(), imaginary),
    "negated": lambda: Two(COMPLEX.imag, COMPLEX.conj().imag, products),
    "empty": lambda: Two(torch.zeros(8, 0), torch.zeros(0, 8), products),
}


@torch.no_grad()
@pytest.mark.parametrize("name", MODELS)
def test_results_are_those_of_eager_pytorch(name: str, tmp_path: Path) -> None:
    model, x = MODELS[name]().eval(), torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    expected = model(x)
    compiled = tp.compile(model, [x], **OPTIONS)
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(copy.deepcopy(compiled)(x), expected, rtol=1e-4, atol=1e-4)
    tp.save(compiled, tmp_path / "m.pt2")
    loaded = tp.load(tmp_path / "m.pt2", executor="pytorch")
    torch.testing.assert_close(loaded(x), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("ir", ["fx", "ts"])
def test_other_front_ends_take_quantized_layers_apart_too(ir: str) -> None:
    model, x = quantized(layers()), torch.ones(4, 8)
    expected = model(x)
    torch.testing.assert_close(tp.compile(model, [x], ir=ir, **OPTIONS)(x), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_exported_program_with_quantized_layers_stays_as_it_is() -> None:
    model, x = quantized(layers()), torch.ones(4, 8)
    exported = torch.export.export(model, (x,))
    names = set(exported.state_dict)
    torch.testing.assert_close(tp.compile(exported, **OPTIONS)(x), model(x), rtol=1e-4, atol=1e-4)
    assert set(exported.state_dict) == names


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("kind", ["sparse_coo", "sparse_csr", "meta"])
def test_what_pytorch_cannot_write_to_a_file_is_named(kind: str, tmp_path: Path) -> None:
    def of(values: torch.Tensor) -> torch.Tensor:
        return values.to("meta") if kind == "meta" else values.to_sparse(layout=getattr(torch, kind))

    def function(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) * a.shape[0] if kind == "meta" else torch.relu(a @ x.t()) + b @ x.t()

    model, x = Two(of(BASE.relu()), of(BASE.t().relu()), function).eval(), torch.ones(4, 8)
    compiled = tp.compile(model, [x], **OPTIONS)
    torch.testing.assert_close(compiled(x), model(x))
    with pytest.raises(tp.UserError, match=r"the model's tensor 'a' is (sparse|on the meta device)"):
        tp.save(compiled, tmp_path / "m.pt2")
