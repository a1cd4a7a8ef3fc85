"""Attributes of what was compiled: set afterwards, and loaded."""

import copy
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

from tests.reloading import reloaded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:`torch.jit")

X = torch.linspace(-1, 1, 8).reshape(2, 4)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0
        self.drop = nn.Dropout(1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x) * self.scale


class Switched(nn.Module):
    sizes: list[int]
    last: Tensor | None

    def __init__(self, counts: bool) -> None:
        super().__init__()
        self.layer, self.scaled = nn.Linear(4, 4), Scaled()
        self.flag, self.name, self.sizes, self.last = True, "a", [1, 2], None
        self.counts, self.calls = counts, 0

    def forward(self, x: Tensor) -> Tensor:
        if self.counts:
            self.calls += 1
        y = torch.tanh(self.layer(x))
        last = self.last
        if last is not None:
            y = y - last
        if self.flag:
            y = torch.relu(self.scaled(y))
        if self.name == "b":
            y = y * 3
        return y + len(self.sizes) + self.sizes[0] + self.calls


CHANGES: list[tuple[str, Any]] = [
    ("flag", False), ("name", "b"), ("sizes", [3, 4, 5]), ("last", X),
    ("scaled.scale", 5.0), ("scaled.drop.training", True),
]  # fmt: skip


@torch.no_grad()
def test_attributes_that_are_set_in_blocks_count() -> None:
    script = torch.jit.script(Switched(counts=True).eval())
    compiled = tp.compile(reloaded(script), [X], ir="ts", executor="pytorch", min_block_size=1)
    assert "aten.relu" in {row.op for row in compiled.report.ledger if row.verdict == "trt"}
    assert set(compiled.state_dict()) == set(script.state_dict())
    for found in (compiled, reloaded(compiled)):
        for path, value in CHANGES:
            ours, theirs = copy.deepcopy(found), reloaded(script)
            theirs.calls = ours.calls
            torch.testing.assert_close(ours(X), theirs(X))
            for module in (ours, theirs):
                *parts, name = path.split(".")
                for part in parts:
                    module = getattr(module, part)
                setattr(module, name, value)
            torch.testing.assert_close(ours(X), theirs(X), msg=path)


@torch.no_grad()
def test_weights_stand_once_and_can_be_loaded() -> None:
    script = torch.jit.script(Switched(counts=True).eval())
    other = torch.jit.script(Switched(counts=True).eval())
    compiled = tp.compile(script, [X], ir="ts", executor="pytorch", min_block_size=1)
    loaded = reloaded(compiled)
    loaded.load_state_dict(other.state_dict())
    torch.testing.assert_close(loaded(X), other(X))
    assert [name for name, _ in loaded.named_parameters()] == [name for name, _ in script.named_parameters()]


def test_attributes_that_are_built_into_a_whole_are_refused() -> None:
    script = torch.jit.script(Switched(counts=False).eval())
    compiled = tp.compile(script, [X], ir="ts", executor="pytorch", min_block_size=1)
    compiled.flag = True
    compiled.eval()
    with pytest.raises(tp.UserError, match="flag was True when the model was compiled"):
        compiled.flag = False
    with pytest.raises(tp.UserError, match="training was False"):
        compiled.train()
