"""Models with conditionals and loops through the whole pipeline: converted or not, dumped, saved, loaded, run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch._higher_order_ops.while_loop import while_loop

x = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))


class Conditional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        def then(x: torch.Tensor) -> torch.Tensor:
            return self.linear(x).sin() + torch.zeros(4)

        y = torch.cond(wanted, then, lambda x: x * x.shape[0], (x.exp(),))
        return y.tanh() * 2


class Repeated(nn.Module):
    def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        def body(i: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return i + 1, (y * 0.5).sin()

        return while_loop(lambda i, y: i < n, body, (n * 0, x + 1))[1].exp()


INPUTS = {
    "cond": (Conditional, [(x, torch.tensor(True)), (x[:2], torch.tensor(False))]),
    "while_loop": (Repeated, [(x, torch.tensor(3)), (x[:2], torch.tensor(0))]),
}


def declared(second: torch.Tensor) -> list[tp.Input]:
    rows = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4))
    return [rows, tp.Input(shape=tuple(second.shape), dtype=second.dtype)]


@pytest.mark.parametrize("excluded", [set(), {"aten.sin"}])
@pytest.mark.parametrize("name", INPUTS)
def test_models_with_graphs_inside(name: str, excluded: set[str], tmp_path: Path) -> None:
    """An operator inside that stays in PyTorch keeps the whole there."""
    kind, calls = INPUTS[name]
    model = kind().eval()
    options = {"min_block_size": 1, "dump_dir": str(tmp_path / "dump"), "executor": "reference"}
    compiled = tp.compile(model, declared(calls[0][1]), torch_executed_ops=excluded, **options)
    rows = {row.op: row for row in compiled.report.ledger}
    row = rows[f"higher_order.{name}"]
    assert row.verdict == ("excluded" if excluded else "trt")
    assert excluded or compiled.report.coverage == 1.0
    assert [reason.code for reason in row.reasons] == (["TP401"] if excluded else [])
    loops = (tmp_path / "dump").rglob("graph.txt")
    assert any(f"higher_order.{name}" in path.read_text() for path in loops)
    tp.save(compiled, tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2")
    for inputs in calls:
        expected = model(*inputs)
        torch.testing.assert_close(compiled(*inputs), expected)
        for executor in ("pytorch", "auto"):
            loaded.executor = executor
            torch.testing.assert_close(loaded(*inputs), expected)


@pytest.mark.parametrize("name", INPUTS)
def test_half_precision_and_narrowed_doubles_leave_the_graphs_inside_alone(name: str) -> None:
    kind, calls = INPUTS[name]
    model = kind().eval()
    half = tp.compile(model, list(calls[0]), min_block_size=1, enabled_precisions={torch.float16}, executor="reference")
    torch.testing.assert_close(half(*calls[0]), model(*calls[0]), rtol=1e-2, atol=1e-2)
    inputs = (calls[0][0].double(), calls[0][1])
    wide = tp.compile(model.double(), list(inputs), min_block_size=1, truncate_double=True, executor="pytorch")
    (row,) = (row for row in wide.report.ledger if row.op == f"higher_order.{name}")
    assert {reason.code for reason in row.reasons} == {"TP201"}
    torch.testing.assert_close(wide(*inputs), model(*inputs), rtol=1e-4, atol=1e-4)


class Mapped(nn.Module):
    """Elements that are tensors and a number of the graph around them, with two results."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        def each(row: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.relu(row) * other.sum(), row + y

        from torch._higher_order_ops.map import map as map_elements

        first, last = map_elements(lambda rows: each(*rows), (x * 2, x + 1))
        return first + 1, last


def test_a_mapped_function_is_a_loop_of_the_engine() -> None:
    model = Mapped()
    rows = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4))
    result = tp.compile(model, [rows, torch.randn(4)], min_block_size=1, executor="reference")
    assert result.report.coverage == 1.0
    for count in (1, 3, 6):
        inputs = torch.randn(count, 4), torch.randn(4)
        torch.testing.assert_close(result(*inputs), model(*inputs))
