"""Compile a quantised model and compare it with itself in eager PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import trt_passes as tp


def whole(
    model: Any,
    inputs: list[Any],
    fed: tuple[torch.Tensor, ...],
    expected: Callable[..., torch.Tensor] | None = None,
    within: float = 1e-3,
    **options: Any,
) -> Any:
    """The compiled model, which must be one engine with the results of `expected`, by default the model.

    What has few bits has them in the engine, even where halves would be faster.

    Args:
        model: what is compiled.
        inputs: as `tp.compile` takes them.
        fed: tensors to call both with.
        expected: computes the results.
        within: relative error, of the norm of all results.
        options: of `tp.compile`.
    """
    options = {"quantised_weights": "small", **options}
    compiled = tp.compile(model, inputs, min_block_size=1, executor="reference", strict=True, **options)
    report = compiled.report
    assert [row for row in report.ledger if row.verdict != "trt" and not _is_made_once(row)] == []
    assert len(report.segments) == 1
    assert not [note for note in report.notes if "could not be built" in note]
    agree(compiled, expected or model, fed, within)
    return compiled


def _is_made_once(row: Any) -> bool:
    """Whether it is a weight in float8, which TensorRT would store as halves."""
    return any(reason.code == "TP307" and "would store these" in reason.message for reason in row.reasons)


def agree(compiled: Any, model: Callable[..., torch.Tensor], fed: tuple[torch.Tensor, ...], within: float) -> None:
    """Check that both give the same for some tensors, up to a relative error of the norm of all results."""
    with torch.no_grad():
        right, found = model(*fed), compiled(*fed)
    assert found.dtype == right.dtype
    assert found.shape == right.shape
    error = (found.float() - right.float()).norm() / right.float().norm()
    assert error <= within, f"relative error {error:.2e}"


def products(compiled: Any) -> str:
    """What the report says of the products."""
    return next((note for note in compiled.report.notes if "products" in note), "")


def plan_bytes(compiled: Any) -> int:
    """The bytes of the engines."""
    return sum(record.engine_bytes for record in compiled.report.segments)
