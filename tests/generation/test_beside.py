"""Programs that are compiled beside each other: one is traced while the engines of another are built."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.errors import Cancelled, UserError
from trt_passes.generation.beside import Beside
from trt_passes.passes import build

SETTINGS = {"min_block_size": 1, "executor": "reference"}


def program(model: nn.Module) -> Any:
    return tp.trace(model.eval(), [torch.ones(2, 4)])


def test_one_is_traced_while_another_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    traced, real, seen = threading.Event(), build.build_with_cache, list[bool]()

    def slow(*args: Any) -> Any:
        seen.append(traced.wait(60))
        return real(*args)

    monkeypatch.setattr(build, "build_with_cache", slow)
    first, second = nn.Linear(4, 3), nn.Linear(4, 5)
    with Beside() as beside:
        beside.start("first", program(first), SETTINGS)
        given = program(second)
        traced.set()
        beside.start("second", given, SETTINGS)
        found = beside.result("second"), beside.result("first")
    assert seen == [True, True]
    x = torch.randn(2, 4)
    torch.testing.assert_close(found[0](x), second(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1](x), first(x), rtol=1e-4, atol=1e-4)
    assert [item.name for item in found[0].report.passes][-2:] == ["build", "splice"]


def test_what_compiling_raises_is_raised() -> None:
    with Beside() as beside:
        beside.start("one", program(nn.Linear(4, 3)), {"min_block": 1})
        with pytest.raises(UserError, match="min_block"):
            beside.result("one")


def fails() -> None:
    with Beside() as beside:
        beside.start("one", program(nn.Linear(4, 3)), SETTINGS)
        raise ZeroDivisionError


def test_nothing_outlives_the_block() -> None:
    with pytest.raises(ZeroDivisionError):
        fails()
    assert not [thread for thread in threading.enumerate() if thread.name == "compile"]


def test_builds_are_stopped_where_the_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = []

    def endless(segments: Any, ctx: Any) -> Any:
        while not ctx.cancelled():
            time.sleep(0.01)
        stopped.append(True)
        raise Cancelled("stopped")

    monkeypatch.setattr(build, "build_with_cache", endless)
    with pytest.raises(ZeroDivisionError):
        fails()
    assert stopped == [True]
