"""The models of the other tests, scripted and traced, saved and loaded: against the original, over ten calls."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.utils import _pytree as pytree
from trt_passes.compiler.frontends.load_model import load_model

from tests.models import ConvNet, Counter, NonZero, Sorted, seeded

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:`torch.jit"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::torch.jit.TracerWarning", "ignore::FutureWarning"),
]

EXAMPLES = Path(__file__).parents[4] / "examples"
Call = Callable[[int], tuple[torch.Tensor, ...]]


def _rows(*sizes: int) -> tuple[tp.Input, Call]:
    declared = tp.Input(min_shape=(1, *sizes), opt_shape=(3, *sizes), max_shape=(6, *sizes))
    return declared, lambda count: (torch.randn(count, *sizes),)


def _encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0), 2)


SMALL: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolutions": (ConvNet, (3, 16, 16)),
    "sorted": (Sorted, (8,)),
    "encoder": (_encoder, (5, 16)),
    "attention layer": (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0), (5, 16)),
    "norms": (lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3)), (8,)),
}
LARGE = ("resnet50", "bert", "gpt2", "vit", "llama")
WAYS = ("scripted", "traced")


def torchscript(model: nn.Module, way: str, given: tuple[torch.Tensor, ...]) -> Any:
    """The model as TorchScript; the test is skipped where PyTorch cannot."""
    try:
        return torch.jit.script(model) if way == "scripted" else torch.jit.trace(model, given, strict=False)
    except Exception as error:
        pytest.skip(f"it cannot be {way}: {' '.join(str(error).split())[:100]}")


def compare(script: Any, declared: list[Any], calls: list[tuple[torch.Tensor, ...]]) -> None:
    """Compile, save, load, and assert that the calls give what the original gives."""
    original = copy.deepcopy(script)
    compiled = tp.compile(script, declared, executor="pytorch", min_block_size=1)
    assert compiled.report.verdicts["trt"]
    buffer = io.BytesIO()
    torch.jit.save(compiled, buffer)
    buffer.seek(0)
    results = (compiled, torch.jit.load(buffer))
    for given in calls:
        expected = pytree.tree_leaves(original(*given))
        for result in results:
            torch.testing.assert_close(pytree.tree_leaves(result(*given)), expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SMALL)
def test_small_models_of_all_sizes(name: str, way: str) -> None:
    make, sizes = SMALL[name]
    declared, call = _rows(*sizes)
    script = torchscript(seeded(make()), way, call(3))
    compare(script, [declared], [call(count) for count in (3, 3, 1, 6, 2, 5, 3, 4, 1, 6)])


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("make", "sizes"), [(Counter, (3,)), (NonZero, (8,))])
def test_small_models_of_one_size(make: Callable[[], nn.Module], sizes: tuple[int, ...], way: str) -> None:
    script = torchscript(make().eval(), way, (torch.randn(sizes),))
    compare(script, [torch.randn(sizes)], [(torch.randn(sizes),) for _ in range(10)])


@torch.no_grad()
@pytest.mark.model
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LARGE)
def test_large_models(name: str, way: str) -> None:
    pytest.importorskip("transformers", reason="the transformers package makes the architectures")
    loaded = load_model(f"{EXAMPLES / name}.py:model")
    declared = (*loaded.args, *loaded.kwargs.values())
    given = tuple(item.example() if isinstance(item, tp.Input) else item for item in declared)
    script = torchscript(loaded.module, way, given)
    compare(script, list(given), [given, given])
