"""Engines are written to a file while they are made."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.tensorrt import loader, plan_file

pytestmark = pytest.mark.skipif(loader.available() is None, reason="TensorRT is not installed")

X = torch.randn(2, 64)


def compiled() -> Any:
    return tp.compile(nn.Linear(64, 64).eval(), [X], min_block_size=1, executor="pytorch")


def test_a_large_engine_is_on_the_disk_and_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    small = compiled()
    monkeypatch.setattr(plan_file, "LARGE", 1)
    monkeypatch.delattr(os, "memfd_create")
    large = compiled()
    engines = [next(iter(item.segments.values())).engine for item in (small, large)]
    assert torch.equal(engines[0][:64], engines[1][:64])
    assert abs(len(engines[0]) - len(engines[1])) < 4096


def test_what_is_in_a_file_is_mapped_and_not_written_to() -> None:
    for weights in (0, plan_file.LARGE):
        with plan_file.plan_file(weights) as file:
            file.write(b"engine")
            found = plan_file.mapped(file, 6)
            found[:1] = b"E"
            assert bytes(plan_file.mapped(file, 6)) == b"engine"
        assert bytes(found) == b"Engine"
        assert bytes(plan_file.mapped(file, 0)) == b"" if not file.closed else True


def test_a_disk_that_is_full_is_an_error_and_does_not_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    trt = loader.load()
    writer = plan_file._writer(trt, Full())  # type: ignore[arg-type]
    assert writer.write(b"engine") == 0
    assert writer.error.errno == 28
