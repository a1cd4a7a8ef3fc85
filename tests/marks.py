"""Marks of tests that not every machine can run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest
import torch
from trt_passes.compiler.tensorrt import loader

GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
    pytest.mark.skipif(loader.available() is None, reason="needs TensorRT"),
]
"""Of engines that run."""


def some_long(names: Iterable[Any], short: Collection[Any]) -> list[Any]:
    """Parameters of a test: those that are not `short` have the mark `long`."""
    return [pytest.param(name, marks=[] if name in short else [pytest.mark.long]) for name in names]


def gpu(test: Callable[..., None]) -> Callable[..., None]:
    """A test with the marks `GPU`."""
    for mark in GPU:
        test = mark(test)
    return test
