"""Enumerations of a file, whose classes are not imported where it is loaded."""

from __future__ import annotations

import io
from enum import Enum
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::DeprecationWarning", "ignore::RuntimeWarning")

ROWS = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4))


class Mode(Enum):
    RELU = "relu"
    TANH = "tanh"


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.mode = nn.Linear(4, 4), Mode.TANH

    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        y = self.a(x)
        y = torch.relu(y) if self.mode == Mode.RELU else torch.tanh(y) * 2
        return y + 1, self.mode.value + self.mode.name


class Changing(Fixed):
    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        y = torch.tanh(self.a(x))
        if self.mode == Mode.RELU:
            y, self.mode = torch.relu(y) * 3, Mode.TANH
        else:
            self.mode = Mode.RELU
        return y + 1, self.mode.value


@torch.no_grad()
@pytest.mark.parametrize("kind", [Fixed, Changing])
def test_classes_that_are_not_imported(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(kind().eval()), buffer)
    monkeypatch.setattr(torch.jit._state, "_name_to_pyclass", {})  # as in a process that only loads the file

    def loaded() -> Any:
        buffer.seek(0)
        return torch.jit.load(buffer)

    script, original = loaded(), loaded()
    with pytest.raises(RuntimeError, match="Unknown reference"):
        script._c.getattr("mode")
    compiled = tp.compile(script, [ROWS], executor="pytorch", min_block_size=1)
    assert hasattr(compiled.report, "whole") is (kind is Changing)
    assert compiled.report.verdicts["trt"]
    for rows in (3, 1, 6):
        x = torch.randn(rows, 4)
        found, expected = compiled(x), original(x)
        torch.testing.assert_close(found[0], expected[0])
        assert found[1] == expected[1]
    assert script(torch.ones(1, 4))[1] == loaded()(torch.ones(1, 4))[1]  # compiling left no trace
