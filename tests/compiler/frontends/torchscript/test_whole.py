"""TorchScript that is converted as a whole: against the original, with its state, over many calls."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tests.compiler.frontends.torchscript.programs import Attributes, Kept, LongCell, programs

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::DeprecationWarning")

OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1, "ir": "dynamo"}


def compare(compiled: Any, script: Any, inputs: tuple[Any, ...], calls: int = 3) -> None:
    """Assert that several calls give the same, with numbers of the same types in the same containers."""
    reference = copy.deepcopy(script)
    for step in range(calls):
        given = pytree.tree_map_only(torch.Tensor, lambda x, step=step: x * (1 + step), inputs)
        found, expected = compiled(*given), reference(*given)
        assert pytree.tree_structure(found) == pytree.tree_structure(expected)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", programs())
def test_programs(name: str) -> None:
    model, inputs = programs()[name]
    script = torch.jit.script(model.eval())
    compiled = tp.compile(script, list(inputs), **OPTIONS)
    assert compiled.report.verdicts["trt"]
    compare(compiled, script, inputs)


@torch.no_grad()
def test_state_is_kept_and_compiling_does_not_change_it() -> None:
    script = torch.jit.script(Kept().eval())
    compiled = tp.compile(script, [torch.ones(2, 4)], **OPTIONS)
    assert script.h.abs().sum() == 0
    assert script.calls.item() == 0
    compare(compiled, script, (torch.ones(2, 4),), calls=10)
    assert compiled.get_buffer("h").abs().sum() > 0


class Lists(nn.Module):
    """A branch on a tensor, which reads a tensor out of a list."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = [torch.ones(4), torch.arange(4.0)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(x)
        if bool(x.sum() > 0):
            y = torch.tanh(y + self.seen[-1])
        return y * 2


@torch.no_grad()
def test_a_branch_that_reads_a_list() -> None:
    script = torch.jit.script(Lists().eval())
    compiled = tp.compile(script, [torch.ones(2, 4)], **OPTIONS)
    assert compiled.report.verdicts["trt"]
    for x in (torch.ones(2, 4), -torch.ones(2, 4)):
        torch.testing.assert_close(compiled(x), script(x))


class Sharp(nn.Module):
    """Convolutions and activations that have forms for CPUs alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8, padding=1)
        self.norm, self.swish, self.last = nn.BatchNorm2d(8), nn.Hardswish(), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.a(x)))
        y = self.swish(self.b(y)) * 2.0 + y
        y = nn.functional.hardsigmoid(y) + nn.functional.hardtanh(y, -0.5, 2.0) + nn.functional.relu6(y)
        return torch.softmax(self.last(y.mean((2, 3))), -1)


@torch.no_grad()
def test_frozen_optimised_half_and_saved_models() -> None:
    model, inputs = Attributes(bias=True).eval(), (torch.ones(2, 4),)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(model), buffer)
    buffer.seek(0)
    frozen = torch.jit.freeze(torch.jit.script(model))
    for script in (torch.jit.load(buffer), frozen, torch.jit.optimize_for_inference(torch.jit.script(model))):
        compare(tp.compile(script, list(inputs), **OPTIONS), script, inputs, calls=1)
    half = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()).half().eval())
    x = torch.ones(2, 4).half()
    torch.testing.assert_close(tp.compile(half, [x], **OPTIONS)(x), half(x), rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_what_was_optimised_for_cpus() -> None:
    x = torch.linspace(-2, 2, 2 * 3 * 12 * 12).reshape(2, 3, 12, 12)
    script = torch.jit.optimize_for_inference(torch.jit.script(Sharp().eval()))
    assert any("mkldnn" in node.kind() for node in script.graph.nodes())
    compiled = tp.compile(script, [x], **OPTIONS)
    assert compiled.report.coverage == 1
    torch.testing.assert_close(compiled(x), script(x), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_ranges_of_a_cell() -> None:
    rows = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4))
    state = tp.Input(min_shape=(1, 6), opt_shape=(3, 6), max_shape=(8, 6))
    script = torch.jit.script(LongCell().eval())
    compiled = tp.compile(script, [rows, (state, state)], **OPTIONS)
    for size in (1, 2, 8):
        inputs = (torch.randn(size, 4), (torch.randn(size, 6), torch.randn(size, 6)))
        torch.testing.assert_close(compiled(*inputs), script(*inputs), rtol=1e-4, atol=1e-4)


def test_the_ledger_knows_lines_and_modules() -> None:
    model, inputs = programs()["convolutions"]
    report = tp.compile(torch.jit.script(model.eval()), list(inputs), dryrun=True, ir="dynamo").report
    rows = {row.op: row for row in report.ledger}
    assert rows["aten.relu"].source.startswith("tests/compiler/frontends/torchscript/programs.py:")
    assert {row.module for row in report.ledger} >= {"a", "b"}
    only = tp.compile(
        torch.jit.script(model), list(inputs), dryrun=True, ir="dynamo", torch_executed_modules={"b"}
    ).report
    assert {row.module for row in only.ledger if row.verdict == "excluded"} == {"b"}


class Grows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.h = torch.zeros(0)
        self.last = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.h = x
        return x * 2


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n += 1
        return x * self.n


class Appends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen = [torch.zeros(1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x)
        return x * 2


class BranchWrites(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        if bool(x.sum() > 0):
            y.add_(1)
        return y


class BranchRaises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() < 0):
            raise ValueError("negative")
        return x * 2


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            Grows(),
            r"assigns a tensor of the sizes \[2, 4\] to the attribute 'h', which was .* \[0\]",
        ),
        (Counts(), "assigns the int 1 to the attribute 'n'"),
        (Appends(), "changes the list that is the attribute 'seen'"),
        (BranchWrites(), "an `if` on a tensor with a branch that changes something"),
        (BranchRaises(), "an `if` on a tensor with a branch that raises"),
    ],
)
def test_what_is_no_whole(model: nn.Module, reason: str) -> None:
    script = torch.jit.script(model.eval())
    with pytest.raises(tp.UserError, match=reason) as caught:
        tp.compile(script, [torch.ones(2, 4)], **OPTIONS)
    assert "\n" not in str(caught.value)
    assert getattr(script, "n", 0) == 0
    assert len(getattr(script, "seen", [0])) == 1


class Names(nn.Module):
    """Modules and attributes with names that might be the compiler's."""

    def __init__(self) -> None:
        super().__init__()
        self.script, self.codes, self.kind = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.value, self.written = torch.ones(4), 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.script(self.codes(self.kind(x))) * self.value + self.written


@torch.no_grad()
def test_names_of_any_kind() -> None:
    script = torch.jit.script(Names().eval())
    compare(tp.compile(script, [torch.ones(2, 4)], **OPTIONS), script, (torch.ones(2, 4),))


class Defaults(nn.Module):
    def forward(self, x: Tensor, times: int = 2, name: str = "relu", shift: float | None = None) -> Tensor:
        y = torch.relu(x) if name == "relu" else torch.tanh(x)
        return (y if shift is None else y + shift) * times


@torch.no_grad()
def test_all_arguments_of_the_model_are_taken() -> None:
    script, x = torch.jit.script(Defaults()), torch.randn(2, 3)
    options = {**OPTIONS, "ir": "ts"}
    compiled = tp.compile(script, [x], **options)
    for found in (
        compiled(x),
        compiled(x, 2),
        compiled(x, 2, "relu"),
        compiled(x, name="relu"),
        compiled(x, 2, shift=None),
    ):
        torch.testing.assert_close(found, script(x))
    with pytest.raises(torch.jit.Error, match="times was 2 when the model was compiled, and cannot be another value"):
        compiled(x, 3)
    given = tp.compile(script, [x, 3], **options)
    torch.testing.assert_close(given(x), script(x, 3))
    torch.testing.assert_close(given(x, times=3, name="relu"), script(x, 3))
