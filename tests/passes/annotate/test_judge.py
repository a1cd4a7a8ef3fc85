"""Reasons that depend on the TensorRT at hand, on data-dependent sizes, and on faulty conditions."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.annotations import reasons_of, verdict_of
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.tensorrt import loader
from trt_passes.compiler.tensorrt.registry import Requirement
from trt_passes.passes.annotate import Annotate
from trt_passes.passes.convert import Condition, Convert, Converter, Registry, default_registry
from trt_passes.passes.partition import Partition

aten = torch.ops.aten
x = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))


@dataclass(frozen=True)
class StandardTensorRT(Context):
    """Standard TensorRT, as far as networks go: its layers and their checks are those of TensorRT-RTX."""

    def tensorrt(self) -> loader.TensorRT:
        return loader.TensorRT(loader.load().module, "tensorrt", "10.16.0")


@dataclass(frozen=True)
class NoTensorRT(Context):
    def tensorrt(self) -> loader.TensorRT:
        raise loader.TensorRTNotFound("none")


class _Function(nn.Module):
    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> object:
        return self.function(x)  # type: ignore[operator]


def judged(function: object, ctx: Context) -> Program:
    program = tp.trace(_Function(function), [x])
    lowered = tp.PassManager("decompose,lower").run(program).program
    return Annotate().run(lowered, ctx)


def verdicts(program: Program, op: str) -> list[tuple[str, list[str]]]:
    return [
        (str(verdict_of(node)), [reason.code for reason in reasons_of(node)])
        for node in program.op_nodes
        if str(node.target).startswith(op)
    ]


@pytest.mark.parametrize("ctx", [NoTensorRT(), Context()])
def test_tensorrt_rtx_builds_no_nonzero(ctx: Context) -> None:
    for function in (lambda x: x.nonzero().sum(0), lambda x: x.masked_select(x > 0).sum(), lambda x: x.unique().sum()):
        (found,) = [item for item in verdicts(judged(function, ctx), "aten.") if item[0] != "trt"]
        assert found == ("rejected", ["TP209"])
    assert verdicts(judged(lambda x: x[x > 0].mean(), ctx), "aten.index") == [("rejected", ["TP209"])]
    assert verdicts(judged(lambda x: x[torch.tensor([1, 2])], ctx), "aten.index") == [("trt", [])]


def test_a_size_may_depend_on_values_inside_an_engine() -> None:
    program = judged(lambda x: (x[x > 0] * 2).mean() + x.nonzero().amax(), StandardTensorRT())
    assert {verdict for verdict, _ in verdicts(program, "aten.")} == {"trt"}
    ctx = StandardTensorRT(settings=tp.Settings.from_options({"min_block_size": 1}))
    converted = Convert().run(Partition().run(program, ctx), ctx)
    assert [len(segment.outputs) for segment in converted.segments] == [1]
    assert "NON_ZERO" in converted.segments[0].network.text()


@pytest.mark.parametrize(
    "function", [lambda x: x[x > 0] * 2, lambda x: x[x > 0].erfinv().sum(), lambda x: x.nonzero().sum(0).unique()]
)
def test_a_size_that_depends_on_values_cannot_leave_an_engine(function: object) -> None:
    program = judged(function, StandardTensorRT())
    refused = [reason for node in program.op_nodes for reason in reasons_of(node) if reason.code == "TP204"]
    assert "outside of the engine" in refused[0].message


def test_a_border_that_such_a_size_would_cross_is_refused() -> None:
    """Where the user keeps the consumer in PyTorch after `annotate`, partition refuses the producer."""
    program = judged(lambda x: (x[x > 0].exp() * 2).mean(), StandardTensorRT())
    from trt_passes.compiler.ir.annotations import set_verdict
    from trt_passes.compiler.ir.ledger import Reason, Verdict

    (mul,) = (node for node in program.op_nodes if node.target is aten.mul.Tensor)
    set_verdict(mul, Verdict.FAILED, [Reason("TP501", "no")])
    ctx = StandardTensorRT(settings=tp.Settings.from_options({"min_block_size": 1}))
    partitioned = Partition().run(program, ctx)
    assert verdicts(partitioned, "aten.index") == [("demoted", ["TP204"])]
    assert verdicts(partitioned, "aten.exp") == [("demoted", ["TP204"])]


def test_capabilities_have_known_names() -> None:
    with pytest.raises(ValueError, match="TensorRT has no property 'can_build_everything'"):
        Requirement("can_build_everything", "a layer")


# --- faulty converters -----------------------------------------------------------------------------------------------
ERRORS = [RuntimeError, AttributeError, AssertionError, KeyError, TypeError, NotImplementedError, ZeroDivisionError]


@dataclass(frozen=True)
class Extended(Context):
    """A context with another converter for `aten.sin`."""

    sine: Converter | None = None

    @property
    def converters(self) -> Registry:
        assert self.sine is not None
        return default_registry().extended([self.sine])


def chain(x: torch.Tensor) -> torch.Tensor:
    return x.exp().tanh().sin().cos().exp()


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_in_a_converter_fails_its_node_only(error: type[Exception]) -> None:
    def faulty(ctx: object, call: object) -> None:
        raise error("broken")

    ctx = Extended(tp.Settings.from_options({"min_block_size": 1}), sine=Converter((aten.sin.default,), faulty))
    program = Convert().run(Partition().run(judged(chain, ctx), ctx), ctx)
    assert verdicts(program, "aten.sin") == [("failed", ["TP501"])]
    assert {item[0] for op in ("aten.exp", "aten.tanh", "aten.cos") for item in verdicts(program, op)} == {"trt"}
    assert all(segment.network is not None for segment in program.segments)
    (node,) = (node for node in program.op_nodes if node.target is aten.sin.default)
    assert error.__name__ in reasons_of(node)[0].message


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_in_a_condition_fails_its_node_only(error: type[Exception]) -> None:
    def check(call: object) -> None:
        raise error("broken")

    condition = Condition("TP205", "it is so", check)
    ctx = Extended(sine=Converter((aten.sin.default,), lambda ctx, call: None, (condition,)))
    program = judged(chain, ctx)
    assert verdicts(program, "aten.sin") == [("failed", ["TP501"])]
    assert {item[0] for op in ("aten.exp", "aten.tanh", "aten.cos") for item in verdicts(program, op)} == {"trt"}


@pytest.mark.parametrize(
    "convert",
    [
        lambda ctx, call: None,
        lambda ctx, call: 3,
        lambda ctx, call: (ctx.tensor(call.arg("self")),),
        lambda ctx, call: ctx.scalar(1),
        lambda ctx, call: ctx.emit(None, ()),
    ],
)
def test_a_converter_that_yields_something_else_fails_its_node_only(convert: object) -> None:
    ctx = Extended(tp.Settings.from_options({"min_block_size": 1}), sine=Converter((aten.sin.default,), convert))  # type: ignore[arg-type]
    program = Convert().run(Partition().run(judged(chain, ctx), ctx), ctx)
    assert verdicts(program, "aten.sin") == [("failed", ["TP501"])]
    assert {item[0] for op in ("aten.exp", "aten.tanh", "aten.cos") for item in verdicts(program, op)} == {"trt"}


# --- random operators ------------------------------------------------------------------------------------------------
RANDOM = {
    "rand": lambda x: x + torch.rand(4, 6),
    "randn": lambda x: x + torch.randn(4, 6),
    "rand_like": lambda x: x + torch.rand_like(x),
    "randint": lambda x: x + torch.randint(3, (4, 6)),
    "randperm": lambda x: x[torch.randperm(4)],
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "bernoulli_p": lambda x: torch.bernoulli(x, 0.3),
    "multinomial": lambda x: torch.multinomial(x.sigmoid(), 2),
    "dropout": lambda x: nn.functional.dropout(x, 0.5, True),
    "alpha_dropout": lambda x: nn.functional.alpha_dropout(x, 0.5, True),
    "normal": lambda x: torch.normal(0.0, 1.0, (4, 6)) + x,
    "attention": lambda x: nn.functional.scaled_dot_product_attention(x[None], x[None], x[None], dropout_p=0.5),
    "constant": lambda x: x + torch.zeros(4, 6).uniform_(),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_operators_stay_in_pytorch_and_are_never_folded(name: str) -> None:
    program = judged(RANDOM[name], Context())
    random = [node for node in program.op_nodes if torch.Tag.nondeterministic_seeded in node.target.tags]  # type: ignore[union-attr]
    assert random
    assert all(reasons_of(node)[0].code == "TP207" for node in random)
