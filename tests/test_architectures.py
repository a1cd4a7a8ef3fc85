"""Whole architectures to real engines: one engine, every op node in it, and the right numbers.

Full sizes of the models that a user would try first; PyTorch in float32 is what the compiled network is compared with.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch.utils import _pytree as pytree
from trt_passes.compiler.frontends.load_model import load_model
from trt_passes.compiler.frontends.loaded_model import LoadedModel
from trt_passes.compiler.instruments.numerics import distance

pytest.importorskip("transformers", reason="the transformers package makes the architectures")
pytestmark = pytest.mark.model

EXAMPLES = Path(__file__).parent.parent / "examples"
TOLERANCE = {"float32": 1e-3, "float16": 1e-2}


ALWAYS = (("resnet50", "dynamic", "float32"), ("llama", "model", "float16"))
"""Convolutions, an encoder and a decoder; every factory and every precision. The others run with the long tests."""


def cases() -> list[Any]:
    found = itertools.product(("resnet50", "bert", "gpt2", "vit", "llama"), ("model", "dynamic"), TOLERANCE)
    return [pytest.param(*case, marks=[] if case in ALWAYS else [pytest.mark.long]) for case in found]


@pytest.mark.parametrize(("name", "factory", "precision"), cases())
def test_whole_model_in_one_engine(name: str, factory: str, precision: str) -> None:
    loaded = load_model(f"{EXAMPLES / name}.py:{factory}")
    compiled = tp.compile(
        loaded.module,
        loaded.args,
        kwarg_inputs=loaded.kwargs,
        enabled_precisions={torch.float32, getattr(torch, precision)},
        executor="reference",
    )
    report = compiled.report
    assert report.verdicts["trt"] == len(report.program.op_nodes), [row for row in report.ledger if row.reasons]
    (segment,) = report.segments
    assert segment.engine_bytes is not None
    assert segment.engine_bytes > 10_000
    for args, kwargs in calls(loaded):
        with torch.no_grad():
            expected, found = loaded.module(*args, **kwargs), compiled(*args, **kwargs)
        for left, right in zip(tensors(expected), tensors(found), strict=True):
            assert left.dtype == right.dtype
            assert distance(left, right)[1] < TOLERANCE[precision]


def calls(loaded: LoadedModel) -> Iterator[tuple[list[torch.Tensor], dict[str, torch.Tensor]]]:
    """The arguments that the model is called with: the example; for ranges the smallest sizes, and some above them."""
    if not any(isinstance(leaf, tp.Input) for leaf in (*loaded.args, *loaded.kwargs.values())):
        yield list(loaded.args), dict(loaded.kwargs)
        return
    for above in (0, 3):
        args = [example("image", item, above) for item in loaded.args]
        yield args, {name: example(name, item, above) for name, item in loaded.kwargs.items()}


def example(name: str, item: tp.Input, above: int) -> torch.Tensor:
    """Random values of the smallest sizes, or of some `above` them; a mask leaves the last token out."""
    sizes = [min(low + above, high) for low, high in zip(item.min_shape, item.max_shape, strict=True)]
    if item.dtype.is_floating_point:
        return item.example(shape=sizes)
    if "mask" in name:
        mask = torch.ones(sizes, dtype=item.dtype)
        mask[-1, -1] = 0
        return mask
    return torch.randint(0, 100, sizes, generator=torch.Generator().manual_seed(1)).to(item.dtype)


def tensors(value: object) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]
