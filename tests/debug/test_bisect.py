"""`tp.bisect` finds deliberately wrong converters and passes at the right operator, and its script shows them alone."""

from __future__ import annotations

import io
import runpy
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.instruments.numerics import node_values
from trt_passes.compiler.pass_base import Context, with_converters
from trt_passes.compiler.tensorrt import arithmetic as ar
from trt_passes.compiler.tensorrt.loader import load
from trt_passes.compiler.tensorrt.registry import Converter, default_registry
from trt_passes.debug.bisect import needed
from trt_passes.debug.evaluate import ReferenceEvaluator
from trt_passes.debug.networks import SegmentSearch, relative_l2, smallest_window
from trt_passes.debug.seconds import narrowed

from tests.marks import gpu

pytest.importorskip("tensorrt_rtx")

aten = torch.ops.aten


def sine(ctx: Any, call: Any) -> Any:
    """The sine, where something else is wanted."""
    return ar.unary(ctx, "SIN", ctx.tensor(call.arg("self")), "sin")


def first_operand(ctx: Any, call: Any) -> Any:
    """The first operand alone, of an operator on two."""
    x = ctx.tensor(call.arg("self"))
    return ctx.emit(ctx.network.add_identity(x.trt), x.shape)


def with_wrong(target: Any, function: Any = sine) -> Context:
    return with_converters([Converter((target,), function)])


class Mlp(nn.Module):
    """Linear layers with a tanh between them: f32[4,8] -> f32[4,8]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index, layer in enumerate(self.layers):
            x = layer(x)
            x = torch.tanh(x * 3) if index == 2 else torch.relu(x)
        return x


class ConvNet(nn.Module):
    """Convolutions, a pool and a classifier: f32[B,3,8,8] -> f32[B,5]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.Conv2d(4, 4, 3), nn.Sigmoid())
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Encoder(nn.Module):
    """A transformer layer, and what ranks its results: f32[2,6,16] -> f32[2,6,16], i64[2,6]."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.layer(x)
        return y, y.argmax(-1)


class Tagger(nn.Module):
    """An LSTM and a classifier: f32[2,5,8] -> f32[2,5,3]."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.lstm(x)[0] * 4))


class Two(nn.Module):
    """Two branches that know nothing of each other: f32[4,8] -> f32[4,8], f32[4,8]."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.exp(torch.tanh(x * 3)), torch.relu(torch.tanh(x * 5))


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


X = torch.linspace(-2, 2, 32).reshape(4, 8)
IMAGE = torch.linspace(-1, 1, 2 * 3 * 64).reshape(2, 3, 8, 8)
SENTENCE = torch.linspace(-1, 1, 2 * 6 * 16).sin().reshape(2, 6, 16)
STEPS = torch.linspace(-1, 1, 80).sin().reshape(2, 5, 8)
BATCHES = tp.Input(min_shape=(1, 3, 8, 8), opt_shape=(2, 3, 8, 8), max_shape=(4, 3, 8, 8))

CASES = {
    "mlp": (Mlp, X, aten.tanh.default, "aten.tanh"),
    "convolutions": (ConvNet, IMAGE, aten.sigmoid.default, "aten.sigmoid"),
    "dynamic": (ConvNet, BATCHES, aten.sigmoid.default, "aten.sigmoid"),
    "transformer": (Encoder, SENTENCE, aten.gelu.default, "aten.gelu"),
    "recurrent": (Tagger, STEPS, aten.tanh.default, "aten.tanh"),
}


class Branches(nn.Module):
    """A branch, and what picks one of several results: f32[4,8], bool[] -> f32[4,8], f32[4,2]."""

    def forward(self, x: torch.Tensor, flag: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.cond(flag, lambda x: torch.tanh(x * 3), lambda x: torch.sigmoid(x), (x,))
        return y, torch.topk(x, 2).values


def times(target: Any, factor: float = 1.5) -> Context:
    """A converter that multiplies what the right one yields; it keeps both in a closure."""
    right = default_registry().get(target)
    assert right is not None

    def scaled(ctx: Any, call: Any) -> Any:
        made = right.convert(ctx, call)
        if isinstance(made, tuple):
            return ar.binary(ctx, "PROD", made[0], factor), *made[1:]
        return ar.binary(ctx, "PROD", made, factor)

    return with_converters([Converter((target,), scaled, composite=right.composite)])


@pytest.mark.parametrize(
    ("ctx", "op"),
    [
        (with_wrong(aten.tanh.default), "higher_order.cond"),
        (times(aten.topk.default), "aten.topk"),
    ],
    ids=["branch", "several results"],
)
def test_operators_with_graphs_or_several_results(ctx: Context, op: str, tmp_path: Path) -> None:
    found = tp.bisect(Branches(), [X, torch.tensor(True)], ctx=ctx, min_block_size=1)
    assert (found.stage, found.op) == ("convert", op)
    code, said = run_script(found.script, tmp_path)
    assert code == 1, said


@pytest.mark.parametrize(
    "target", [aten.linear.default, aten.layer_norm.default, aten.scaled_dot_product_attention.default]
)
def test_composite_operators(target: Any, tmp_path: Path) -> None:
    found = tp.bisect(made(Encoder), [SENTENCE], ctx=times(target), min_block_size=1)
    assert (found.stage, found.op) == ("convert", str(target).removesuffix(".default"))
    code, said = run_script(found.script, tmp_path)
    assert code == 1, said


def test_segments_that_are_wrong_too_are_named() -> None:
    class Chain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(3):
                x = torch.tanh(x * 3).cumprod(-1)
            return x

    options = {"min_block_size": 1, "torch_executed_ops": {"aten.cumprod"}}
    found = tp.bisect(Chain(), [X], ctx=with_wrong(aten.tanh.default), **options)
    assert found.segment == "segment-00"
    assert "segment-01, segment-02" in found.steps[-1]


def run_script(script: str, folder: Path) -> tuple[int, str]:
    """The exit code of a script that bisect wrote, and what it prints."""
    path = folder / "reproduce.py"
    path.write_text(script)
    said = io.StringIO()
    with redirect_stdout(said):
        space = runpy.run_path(str(path), run_name="reproduce")
        code = space["main"]()
    return code, said.getvalue()


@pytest.mark.parametrize(("kind", "x", "target", "op"), CASES.values(), ids=CASES)
def test_a_wrong_converter_is_found(kind: Any, x: Any, target: Any, op: str, tmp_path: Path) -> None:
    found = tp.bisect(made(kind), [x], ctx=with_wrong(target), min_block_size=1)
    assert (found.stage, found.op, found.segment) == ("convert", op, "segment-00")
    assert len(found.suspects) == 1
    assert str(found.suspects[0].source).split(":")[0].endswith("test_bisect.py") or op == "aten.gelu"
    code, said = run_script(found.script, tmp_path)
    assert code == 1, said
    assert "all of it is in TensorRT" in said
    assert "sine" in found.script, "the converter is in the file"


def test_nothing_is_wrong() -> None:
    found = tp.bisect(made(Mlp), [X])
    assert not found.found
    assert (found.node, found.script) == (None, "")
    assert "nothing differs by more than 0.01" in found.message
    with pytest.raises(tp.UserError, match="there is no script to write"):
        found.write("x.py")


def test_every_operator_that_is_wrong_by_itself_is_named() -> None:
    found = tp.bisect(Two(), [X], ctx=with_wrong(aten.tanh.default))
    assert [item.op for item in found.suspects] == ["aten.tanh", "aten.tanh"]
    assert len({item.node for item in found.suspects}) == 2
    assert all(item.value is not None and item.value > 0.01 for item in found.suspects)


def test_what_an_error_passes_through_is_not_at_fault() -> None:
    """The argmax and the norms after a wrong operator are far off, too."""
    found = tp.bisect(made(Encoder), [SENTENCE], ctx=with_wrong(aten.softmax.int, first_operand))
    assert not any("argmax" in item.op or "norm" in item.op for item in found.suspects)


def test_the_tolerance_decides() -> None:
    ctx = with_wrong(aten.tanh.default)
    assert tp.bisect(made(Mlp), [X], ctx=ctx, tolerance=1e-3).found
    assert not tp.bisect(made(Mlp), [X], ctx=ctx, tolerance=100.0).found
    assert tp.bisect(made(Mlp), [X], ctx=ctx, metric="max-abs", tolerance=1e-3).op == "aten.tanh"


# --- passes --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Forget(tp.Pass):
    """Forget every tanh: its result is its operand."""

    name: ClassVar[str] = "lower.forget"

    def run(self, program: tp.Program, ctx: tp.Context) -> tp.Program:
        for node in program.graph.find_nodes(op="call_function", target=aten.tanh.default):
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
        return program


@dataclass(frozen=True)
class Halve(tp.Pass):
    """Halve what a relu yields."""

    name: ClassVar[str] = "lower.halve"
    factor: float = 0.5

    def run(self, program: tp.Program, ctx: tp.Context) -> tp.Program:
        node = next(iter(program.graph.find_nodes(op="call_function", target=aten.relu.default)))
        with program.graph.inserting_after(node):
            half = program.graph.call_function(aten.mul.Tensor, (node, self.factor))
            half.meta = dict(node.meta)
        node.replace_all_uses_with(half, delete_user_cb=lambda user: user is not half)
        return program


def inserted(item: tp.Pass) -> tp.Pipeline:
    return tp.Pipeline.parse("decompose,lower,annotate,partition,convert,build,splice").insert_before("annotate", item)


def test_a_wrong_pass_is_found(tmp_path: Path) -> None:
    found = tp.bisect(made(Mlp), [X], pipeline=inserted(Forget()))
    assert found.stage == "lower.forget"
    assert found.op == "aten.linear"
    assert any("erased %tanh" in step for step in found.steps)
    code, said = run_script(found.script, tmp_path)
    assert code == 1, said
    assert "class Forget" in found.script


def test_a_pass_with_options_is_found_at_what_it_made(tmp_path: Path) -> None:
    found = tp.bisect(made(Mlp), [X], pipeline=inserted(Halve(0.25)))
    assert found.stage == "lower.halve"
    assert "aten.mul.Tensor" in [item.op for item in found.suspects]
    code, said = run_script(found.script, tmp_path)
    assert code == 1, said
    assert "lower.halve{factor=0.25}" in found.script


def test_a_pass_in_a_function_is_in_the_script(tmp_path: Path) -> None:
    wrong = 7.0

    @tp.graph_pass("lower.wrong")
    def shift(program: tp.Program, ctx: tp.Context) -> tp.Program:
        for node in program.graph.find_nodes(op="call_function", target=aten.mul.Tensor):
            node.args = (node.args[0], wrong)
        return program

    found = tp.bisect(made(Mlp), [X], pipeline=inserted(shift))
    assert (found.stage, found.op) == ("lower.wrong", "aten.mul.Tensor")
    code, said = run_script(found.script, tmp_path)
    assert code == 1, said


# --- where node by node is not enough ------------------------------------------------------------------------------
class Fused:
    """Stands for engines that are wrong where two operators are fused: both inside, the value between not asked."""

    name, executor = "the fused engine", "reference"

    def __init__(self, program: tp.Program, ctx: Context) -> None:
        self._right, self._program, self.asked = ReferenceEvaluator(program, ctx), program, 0

    def outputs(self, segment: tp.Segment, values: Any) -> dict[str, torch.Tensor]:
        self.asked += 1
        found = self._right.outputs(segment, values)
        fused = {"mul", "tanh"} <= set(segment.nodes) and "mul" not in segment.outputs
        return {name: value + 1 if fused else value for name, value in found.items()}


def test_operators_that_are_wrong_only_together() -> None:
    settings = tp.Settings(min_block_size=1)
    report = tp.PassManager("decompose,lower,annotate,partition,convert", settings=settings).run(
        tp.trace(made(Mlp), [X])
    )
    program = report.program
    (segment,) = program.segments
    evaluator = Fused(program, Context(settings=settings))
    values = node_values(program, list(program.nodes_by_name), (X,), {})
    fault = SegmentSearch(program, segment, evaluator, values, relative_l2, 1e-2).fault()
    assert fault is not None
    assert fault.groups == (("mul", "tanh"),)
    assert "together yield something else" in fault.how
    assert evaluator.asked < 15
    assert (
        SegmentSearch(program, segment, ReferenceEvaluator(program, Context()), values, relative_l2, 1e-2).fault()
        is None
    )


def test_a_module_that_is_wrong_although_its_engines_are_right() -> None:
    """What `splice` makes of an operator is wrong: only leaving the operator to PyTorch helps."""

    @tp.graph_pass("own.spoil", kind="build", requires={"spliced"}, establishes={"spliced"})
    def spoil(program: tp.Program, ctx: tp.Context) -> tp.Program:
        if any("tanh" in name for segment in program.segments for name in segment.nodes):
            compiled = program.compiled
            assert compiled is not None
            output = compiled.graph.output_node()
            with compiled.graph.inserting_before(output):
                (value,) = output.all_input_nodes
                twice = compiled.graph.call_function(torch.add, (value, 1.0))
            output.replace_input_with(value, twice)
            compiled.recompile()
        return program

    pipeline = tp.Pipeline.parse("decompose,lower,annotate,partition,convert,build,splice")
    pipeline = pipeline.insert_after("splice", spoil)
    found = tp.bisect(made(Mlp), [X], pipeline=pipeline, min_block_size=1)
    assert found.op == "aten.tanh"
    assert "although each of its engines is right" in " ".join(found.steps)
    assert any("torch_executed_ops={aten.tanh}" in step for step in found.steps)


# --- failures ------------------------------------------------------------------------------------------------------
def test_a_converter_that_fails(tmp_path: Path) -> None:
    def broken(ctx: Any, call: Any) -> Any:
        raise RuntimeError("this never works")

    found = tp.bisect(made(Mlp), [X], metric="failure", ctx=with_wrong(aten.tanh.default, broken), min_block_size=1)
    assert (found.stage, found.op) == ("convert", "aten.tanh")
    assert "this never works" in found.message
    code, said = run_script(found.script, tmp_path)
    assert code == 1
    assert "this never works" in said


def test_an_operator_that_tensorrt_cannot_build(tmp_path: Path) -> None:
    """TensorRT-RTX takes the layer NonZero and has no kernel for it."""
    if load().can_build_nonzero:
        pytest.skip("this TensorRT builds it")

    def counted(ctx: Any, call: Any) -> Any:
        x, network = ctx.tensor(call.arg("self")), ctx.network
        sizes = network.add_shape(network.add_non_zero(x.trt).get_output(0)).get_output(0)
        count = network.add_shuffle(network.add_cast(sizes, ctx.data_type(torch.float32)).get_output(0))
        count.reshape_dims = (1, 2)
        total = network.add_reduce(count.get_output(0), ctx.trt.ReduceOperation.SUM, 2, True).get_output(0)
        layer = network.add_elementwise(x.trt, total, ctx.trt.ElementWiseOperation.SUM)
        return ctx.emit(layer, x.shape)

    found = tp.bisect(made(Mlp), [X], metric="failure", ctx=with_wrong(aten.tanh.default, counted), min_block_size=1)
    assert (found.stage, found.op) == ("build", "aten.tanh"), str(found)
    code, said = run_script(found.script, tmp_path)
    assert code == 1, said


def test_a_part_whose_sizes_depend_on_each_other(tmp_path: Path) -> None:
    """The part cannot be exported for the sizes that it was declared for, so its script has one size each."""

    class Joined(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            z = torch.cat([x, y], 0)
            return torch.tanh(z * 3).reshape(z.shape[0] * 2, -1)

    def broken(ctx: Any, call: Any) -> Any:
        raise RuntimeError("never")

    rows = [tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4)) for _ in range(2)]
    ctx = with_wrong(aten.view.default, broken)
    found = tp.bisect(Joined(), rows, metric="failure", ctx=ctx, min_block_size=1)
    assert found.op == "aten.view"
    code, said = run_script(found.script, tmp_path)
    assert (code, "never" in said) == (1, True), said


def test_a_pass_that_raises(tmp_path: Path) -> None:
    @tp.graph_pass("lower.fragile")
    def fragile(program: tp.Program, ctx: tp.Context) -> tp.Program:
        for node in program.op_nodes:
            if node.target is aten.tanh.default and node.args[0].target is aten.mul.Tensor:
                raise ValueError("tanh of a product")
        return program

    for metric in ("failure", "relative-l2"):
        found = tp.bisect(made(Mlp), [X], metric=metric, pipeline=inserted(fragile))
        assert found.stage == "lower.fragile"
        assert [item.op for item in found.suspects] == ["aten.mul.Tensor", "aten.tanh"], metric
        code, said = run_script(found.script, tmp_path)
        assert code == 1
        assert "tanh of a product" in said


def test_nothing_fails() -> None:
    found = tp.bisect(made(Mlp), [X], metric="failure")
    assert not found.found
    assert "nothing fails" in found.message


# --- seconds -------------------------------------------------------------------------------------------------------
@pytest.mark.long
def test_what_takes_long_to_compile(tmp_path: Path) -> None:
    def slow(ctx: Any, call: Any) -> Any:
        time.sleep(3.0)
        return ar.unary(ctx, "SIN", ctx.tensor(call.arg("self")), "sin")

    found = tp.bisect(made(Mlp), [X], metric="compile-time", ctx=with_wrong(aten.tanh.default, slow), min_block_size=1)
    assert found.stage == "convert"
    assert found.op == "aten.tanh"
    code, said = run_script(found.script, tmp_path)
    assert code == 0
    assert "convert: " in said


def test_a_pass_that_takes_long() -> None:
    @tp.graph_pass("lower.slow")
    def slow(program: tp.Program, ctx: tp.Context) -> tp.Program:
        time.sleep(1.5)
        return program

    found = tp.bisect(made(Mlp), [X], metric="compile-time", pipeline=inserted(slow))
    assert found.stage == "lower.slow"
    assert "lower.slow takes longest" in found.message


def test_halving_finds_the_slow_operator() -> None:
    cost = {f"n{index}": 0.01 for index in range(64)} | {"n37": 5.0}
    names, value = narrowed(list(cost), lambda some: sum(cost[name] for name in some))
    assert names == ["n37"]
    assert value == 5.0


def test_time_needs_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(tp.UserError, match="this machine has none"):
        tp.bisect(made(Mlp), [X], metric="time")


@gpu
def test_time_on_a_gpu() -> None:
    found = tp.bisect(made(Mlp).cuda(), [X.cuda()], metric="time", min_block_size=1)
    assert any("us a call compared with PyTorch" in step for step in found.steps)


@gpu
def test_engines_are_right_on_a_gpu() -> None:
    found = tp.bisect(made(ConvNet), [IMAGE], min_block_size=1)
    assert not found.found
    assert any("the engine on the GPU" in step for step in found.steps)


# --- searching -----------------------------------------------------------------------------------------------------
def test_the_smallest_window_that_fails() -> None:
    names = [f"n{index}" for index in range(100)]
    tried: list[int] = []

    def fails(part: Any) -> bool:
        tried.append(len(part))
        return {"n41", "n47"} <= set(part)

    assert smallest_window(names, fails) == ["n41", "n47"]
    assert len(tried) < 40
    assert smallest_window(names, lambda part: "n99" in part) == ["n99"]
    assert smallest_window(["a"], lambda part: True) == ["a"]


def test_what_is_needed_for_a_failure() -> None:
    names = [f"n{index}" for index in range(30)]
    assert needed(names, lambda kept: {"n3", "n20", "n21"} <= set(kept)) == ["n3", "n20", "n21"]
    assert needed(["a"], lambda kept: True) == ["a"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": "relative"}, "Did you mean 'relative-l2'"),
        ({"tolerance": 0}, "give a number above 0"),
        ({"tolerance": float("nan")}, "give a number above 0"),
        ({"tolerance": "little"}, "give a number above 0"),
        ({"metric": "failure", "tolerance": 1e-2}, "leave it out with failure"),
        ({"min_blok_size": 1}, "Did you mean 'min_block_size'"),
        ({"arg_inputs": [X]}, "two names of one argument"),
    ],
)
def test_what_a_user_can_get_wrong(options: dict[str, Any], words: str) -> None:
    with pytest.raises(tp.UserError, match=words):
        tp.bisect(made(Mlp), [X], **options)
