"""TorchScript in blocks: engines where it can be converted, TorchScript around them, against the original."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from trt_passes.compiler.frontends.torchscript.blocks import Asked, script_of_blocks
from trt_passes.compiler.manager import compile_program
from trt_passes.compiler.settings import Settings

from tests.compiler.frontends.torchscript.programs import programs
from tests.reloading import reloaded
from tests.subclasses import Summed

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::DeprecationWarning", "ignore::RuntimeWarning")

OPTIONS: dict[str, Any] = {"executor": "pytorch", "min_block_size": 1}
ROWS = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4))


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)


class Counting(Layers):
    """Numbers and a list that are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.seen = [torch.zeros(1)]

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = torch.relu(self.a(x)) * 2
        self.seen.append(y.sum().reshape(1))
        z = torch.tanh(self.b(y)) + self.calls
        if len(self.seen) > 4:
            self.seen.pop(0)
        return z * torch.cat(self.seen).sum()


class Appends(Layers):
    """An operator between every two that changes a list."""

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        found: list[Tensor] = []
        y = torch.relu(self.a(x))
        found.append(y)
        y = torch.tanh(self.b(y))
        found.append(y)
        return torch.sigmoid(self.a(y)), found


class Rounds(Layers):
    """A loop as long as the batch, and one that a tensor ends."""

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for row in range(x.size(0)):
            y = torch.tanh(self.a(y)) + x[row]
        while bool(y.abs().sum() > 1):
            y = torch.sigmoid(self.b(y)) * torch.tanh(y) * 0.25
        return y + 1


class OnValue(Layers):
    """Branches on numbers made of tensors, which raise, write and return numbers."""

    def forward(self, x: Tensor, limit: float = 5.0) -> tuple[Tensor, int]:
        y = torch.relu(self.a(x) + 0.5)
        if y.max().item() > limit:
            raise ValueError("too large")
        kind = 0
        if float(x.sum()) > 0:
            kind = 1
            y = torch.tanh(self.b(y)) * 3
        z = y * kind + x
        return torch.softmax(z, -1), kind


class InPlace(Layers):
    """Writes through views, into arguments' copies and into results."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.a(x))
        view = y[:, :2]
        z = torch.tanh(self.b(y)) * 2
        view.add_(z[:, :2])
        w = torch.sigmoid(y) + z
        w[:, 0] = 0
        kept = w * 2
        w.mul_(3)
        return kept, y + w


class Shapes(Layers):
    """Sizes that cross from one block to another, and results of other kinds."""

    def forward(self, x: Tensor) -> tuple[Tensor, int, list[int], dict[str, Tensor], Tensor | None]:
        y = torch.cat([torch.relu(self.a(x)), x], 0)
        rows = y.size(0) + 1
        print("")
        z = torch.tanh(y).reshape(rows - 1, 2, 2).flatten(1)
        none: Tensor | None = None
        return z * rows, rows, list(z.size()), {"y": y * 2, "z": z}, none


class Noise(Layers):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x)) + 1
        z = y + torch.rand_like(y) * 0
        return torch.tanh(self.b(z)) * 2


class Broadcast(Layers):
    """Whose second argument may have one row or as many as the first."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        print("")
        return torch.relu(self.a(x) + y) * y


class Recurrent(Layers):
    """Operators that make random numbers in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTM(4, 4, dropout=0.5, num_layers=2), nn.GRU(4, 4)
        self.dropout = nn.Dropout(0.5)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        y = self.dropout(self.gru(self.lstm(x)[0])[0])
        return F.scaled_dot_product_attention(y, y, y) + self.calls


class Several(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.state = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x, 2.0) + 1

    @torch.jit.export
    def encode(self, x: Tensor, scale: float = 2.0) -> Tensor:
        if len(self.state) == 0:
            self.state = torch.zeros_like(x[:1])
        self.state = torch.tanh(self.a(x).mean(0, keepdim=True) + self.state) * scale
        return torch.relu(self.b(x)) * self.state

    @torch.jit.export
    def reset(self) -> None:
        self.state = torch.zeros(0)


X = torch.linspace(-2, 2, 12).reshape(3, 4)
PROGRAMS = {
    "counting": (Counting, (X,)),
    "appends": (Appends, (X,)),
    "rounds": (Rounds, (X,)),
    "on value": (OnValue, (X.abs(),)),
    "in place": (InPlace, (X,)),
    "shapes": (Shapes, (X,)),
    "noise": (Noise, (X,)),
    "broadcast": (Broadcast, (X, X[:1])),
    "recurrent": (Recurrent, (X,)),
    "several": (Several, (X,)),
}


def _compiled(name: str, program: tp.Program, settings: Settings) -> Any:
    return compile_program(program, settings)


def blocks(script: Any, inputs: Any, **options: Any) -> Any:
    """The model in blocks, whether or not it can be converted as a whole."""
    settings = Settings.from_options({**OPTIONS, **options})
    return script_of_blocks(script, inputs, {}, settings, _compiled, Asked("asked for"))


def compare(compiled: Any, script: Any, calls: list[tuple[Any, ...]]) -> None:
    for given in calls:
        found, expected = compiled(*copy.deepcopy(given)), script(*copy.deepcopy(given))
        assert pytree.tree_structure(found) == pytree.tree_structure(expected)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("name", PROGRAMS)
def test_blocks_do_what_the_model_does(name: str) -> None:
    kind, inputs = PROGRAMS[name]
    script = torch.jit.script(kind().eval())
    compiled = blocks(script, [ROWS, *inputs[1:]])
    assert compiled.report.blocks
    assert all(block.runs for block in compiled.report.blocks)
    calls = [(torch.rand(rows, 4), *inputs[1:]) for rows in (3, 3, 1, 6, 2, 9)]  # the last is outside of the range
    for result in (compiled, reloaded(compiled)):
        compare(result, torch.jit.script(kind().eval()), calls)


@torch.no_grad()
@pytest.mark.parametrize("name", programs())
def test_programs_that_are_also_wholes(name: str) -> None:
    model, inputs = programs()[name]
    script = torch.jit.script(model.eval())
    compiled = blocks(script, list(inputs))
    compare(compiled, copy.deepcopy(script), [inputs] * 3)


@torch.no_grad()
def test_the_original_and_its_state_are_left_alone_and_weights_are_shared() -> None:
    script = torch.jit.script(Counting().eval())
    compiled = tp.compile(script, [X], **OPTIONS)
    assert script.calls == compiled.calls == 0
    assert compiled.a.weight.data_ptr() == script.a.weight.data_ptr()
    compiled(X)
    assert (script.calls, compiled.calls) == (0, 1)


def test_the_report_names_what_stayed_with_its_line() -> None:
    report = tp.compile(torch.jit.script(Counting().eval()), [X], **OPTIONS).report
    stayed = {row.op: row for row in report.stayed}
    line = next(i for i, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "self.seen.append" in text)
    assert stayed["aten.append"].source == f"tests/compiler/frontends/torchscript/test_blocks.py:{line}"
    assert "TP104" in {reason.code for row in report.stayed for reason in row.reasons}
    assert "changes the list that is the attribute 'seen'" in report.whole
    assert len(report.ledger) == sum(report.verdicts.values())
    assert report.segments[0].name == "block_00/segment-00"
    assert "test_blocks.py" in report.why()


def test_small_blocks_stay_and_so_do_modules_that_are_excluded() -> None:
    script = torch.jit.script(Appends().eval())
    report = blocks(script, [X], min_block_size=50).report
    assert not report.blocks
    assert {reason.code for row in report.stayed if row.op == "aten.relu" for reason in row.reasons} == {"TP301"}
    report = blocks(script, [X], torch_executed_modules={"a"}).report
    assert "TP402" in {reason.code for row in report.stayed for reason in row.reasons}
    with pytest.raises(tp.UserError, match="matches no module of the model"):
        blocks(script, [X], torch_executed_modules={"nothing"})


def test_recurrent_layers_are_in_engines() -> None:
    report = tp.compile(torch.jit.script(Recurrent().eval()), [X], **OPTIONS).report
    assert not {"aten.lstm", "aten.gru", "aten.dropout"} & {row.op for row in report.stayed}


def test_full_compilation_is_still_refused() -> None:
    with pytest.raises(tp.UserError, match="changes the list that is the attribute 'seen'"):
        tp.compile(torch.jit.script(Counting().eval()), [X], require_full_compilation=True)


def test_dumps_are_one_folder_per_block(tmp_path: Path) -> None:
    blocks(torch.jit.script(Rounds().eval()), [X], dump_dir=str(tmp_path))
    assert (tmp_path / "block-00" / "index.html").exists()


@torch.no_grad()
def test_a_method_and_the_others_of_its_module() -> None:
    script = torch.jit.script(Several().eval())
    compiled = tp.compile(script.encode, [X], **OPTIONS)
    compare(compiled, torch.jit.script(Several().eval()).encode, [(X,), (X, 3.0), (X[:1],), (X,)][:2])


def test_a_model_that_raises_for_its_inputs() -> None:
    with pytest.raises(tp.UserError, match="the TorchScript model raises when it is called with x: f32"):
        tp.compile(torch.jit.script(Counting().eval()), [torch.ones(2, 5)], **OPTIONS)


class Long(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[0] > 2, "too few rows"
        return x * 2


def test_a_model_that_raises_for_some_of_the_declared_sizes() -> None:
    with pytest.raises(tp.UserError, match=r"the TorchScript model raises when it is called with .*: too few rows"):
        tp.compile(torch.jit.script(Long().eval()), ["2..6x4"], **OPTIONS)


class Wrapped(nn.Module):
    """A weight that has no memory of its own, which PyTorch 2.11 does not survive saving."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(Summed(torch.randn(1, 4), torch.randn(1, 4)), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        print("")
        return torch.relu(torch.cat([self.weight.expand(x.shape[0], -1), x]))


@torch.no_grad()
def test_blocks_with_changed_weights_are_not_saved(tmp_path: Path) -> None:
    script = torch.jit.script(Counting().eval())
    compiled = tp.compile(script, [ROWS], ir="ts", **OPTIONS)
    compiled(torch.ones(3, 4))
    tp.save(compiled, tmp_path / "m.ts")
    script.b.weight.data.mul_(2)
    with pytest.raises(tp.UserError, match=r"b\.weight was written to since the engines were built"):
        tp.save(compiled, tmp_path / "m.ts")


def test_tensors_that_cannot_be_saved() -> None:
    traced = torch.jit.trace(Wrapped(), torch.ones(2, 4), check_trace=False)
    with pytest.raises(tp.UserError, match="TorchScript cannot save weight, which is a Summed"):
        blocks(traced, [torch.ones(2, 4)])


class Gathers(Layers):
    """Whole numbers that are places of rows, or lengths."""

    def forward(self, x: Tensor, places: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        y = torch.relu(self.a(x))[places[1]] * 2
        count = 0
        for length in lengths:
            assert bool(length >= 0), "a length is negative"
            count += int(length)
        return torch.tanh(self.b(y)) + 1, count


class Lengths(Gathers):
    def forward(self, x: Tensor, places: Tensor, lengths: Tensor) -> tuple[Tensor, int]:
        assert bool((lengths > -1).all()), "a length is negative"
        assert bool(lengths.max() > 0), "nothing is left"
        y = torch.relu(self.a(x)) + places.sum()
        return torch.tanh(self.b(y)) * 2, int(lengths.sum())


@torch.no_grad()
@pytest.mark.parametrize("kind", [Gathers, Lengths])
def test_whole_numbers_of_the_smallest_inputs(kind: Any) -> None:
    script = torch.jit.script(kind().eval())
    few, pairs = (
        tp.Input(min_shape=(*size, 1), opt_shape=(*size, 3), max_shape=(*size, 6), dtype=torch.int64)
        for size in ((), (2,))
    )
    compiled = tp.compile(script, [ROWS, pairs, few], **OPTIONS)
    assert compiled.report.blocks
    for rows in (1, 3, 6):
        given = (torch.randn(rows, 4), torch.arange(rows).repeat(2, 1), torch.arange(rows) + 1)
        torch.testing.assert_close(compiled(*given), script(*given))


class LoopInBranch(Layers):
    """Gives what a loop reads, and what the loop makes, which is the last that is done."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor, rounds: int = 2) -> tuple[Tensor, Tensor, int]:
        z = torch.relu(self.a(x)) * 0.5
        y = torch.tanh(self.b(x))
        for _ in range(rounds):
            y = torch.tanh(y + torch.relu(self.b(z)))
        self.calls += 1
        return z, y, self.calls


@torch.no_grad()
def test_what_a_loop_in_a_branch_reads_is_kept() -> None:
    """PyTorch's interpreter loses it where the order of results is another, for sizes that were not declared."""
    script = torch.jit.script(LoopInBranch().eval())
    original = copy.deepcopy(script)
    compiled = tp.compile(script, [ROWS], **OPTIONS)
    with torch.jit.optimized_execution(False):
        for rows in (3, 9, 9):
            x = torch.randn(rows, 4)
            torch.testing.assert_close(compiled(x), original(x))
