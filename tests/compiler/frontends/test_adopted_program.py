"""Exported programs of the user's: their ranges hold unless inputs declare others, and they stay as they are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.export import Dim, ExportedProgram

OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1, "pass_through_build_failures": True}


class Layer(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x) * 2


class Keywords(nn.Module):
    def forward(self, x: torch.Tensor, *, a: torch.Tensor, b: torch.Tensor, k: float = 2.0) -> torch.Tensor:
        return torch.relu(x) * a.sum() - b.sum() * k


class Twice(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.cat([x, x]) + y)


def exported(**limits: int) -> ExportedProgram:
    return torch.export.export(Layer(), (torch.ones(3, 4),), dynamic_shapes=({0: Dim("b", **limits)},))


def keywords() -> ExportedProgram:
    shapes = {"x": {0: Dim("n", min=2, max=8)}, "a": {0: Dim("m", min=2, max=9)}, "b": None, "k": None}
    named = {"a": torch.ones(3), "b": torch.ones(3), "k": 2.0}
    return torch.export.export(Keywords(), (torch.ones(3, 4),), named, dynamic_shapes=shapes)


def inputs_of(compiled: Any) -> list[str]:
    return [str(item) for item in compiled.report.program.inputs]


def check(compiled: Any, program: ExportedProgram, *call: torch.Tensor, **named: Any) -> None:
    torch.testing.assert_close(compiled(*call, **named), program.module()(*call, **named))


@pytest.mark.parametrize("given", [None, [torch.ones(5, 4)], [torch.ones(16, 4)]])
def test_example_tensors_leave_the_ranges_as_they_are(given: list[torch.Tensor] | None) -> None:
    program = exported(min=2, max=16)
    compiled = tp.compile(program, given, **OPTIONS)
    usual = 3 if given is None else len(given[0])
    assert inputs_of(compiled) == [f"x=2..{usual}..16x4:f32"]
    for size in (2, 5, 16):
        check(compiled, program, torch.randn(size, 4))
    with pytest.raises(tp.UserError, match="has size 17 in dimension 0"):
        compiled(torch.ones(17, 4))


@pytest.mark.parametrize("given", ["2..3..4x4", tp.Input(min_shape=(2, 4), opt_shape=(3, 4), max_shape=(4, 4))])
def test_declared_ranges_may_be_narrower(given: Any) -> None:
    compiled = tp.compile(exported(min=2, max=16), [given], **OPTIONS)
    assert inputs_of(compiled) == ["x=2..3..4x4:f32"]


@pytest.mark.parametrize(
    ("limits", "given", "message"),
    [
        ({"min": 2, "max": 16}, torch.ones(20, 4), r"example for input 'x' has size 20 .* exported for 2\.\.16"),
        ({"min": 2}, torch.ones(3, 4), "dimension 0 of input 'x' has no largest size"),
        ({"min": 2, "max": 16}, torch.ones(3, 5), "dimension 1 is declared as 5, but the model fixes it to 4"),
        ({"min": 2, "max": 16}, torch.ones(3), "declared with rank 1, but the model takes rank 2"),
    ],
)
def test_examples_that_do_not_fit(limits: dict[str, int], given: torch.Tensor, message: str) -> None:
    with pytest.raises(tp.UserError, match=message):
        tp.compile(exported(**limits), [given], **OPTIONS)


def test_a_dimension_that_is_a_multiple_of_another() -> None:
    size = Dim("s", min=2, max=8)
    program = torch.export.export(
        Twice(), (torch.ones(3, 4), torch.ones(6, 4)), dynamic_shapes=({0: size}, {0: 2 * size})
    )
    for given in (None, [torch.ones(4, 4), torch.ones(8, 4)]):
        compiled = tp.compile(program, given, **OPTIONS)
        for rows in (2, 8):
            check(compiled, program, torch.randn(rows, 4), torch.randn(2 * rows, 4))


def test_keyword_arguments_in_another_order() -> None:
    program = keywords()
    named = {"k": 2.0, "b": torch.ones(3), "a": torch.ones(5)}
    compiled = tp.compile(program, [torch.ones(4, 4)], kwarg_inputs=named, **OPTIONS)
    assert inputs_of(compiled) == ["x=2..4..8x4:f32", "a=2..5..9:f32", "b=3:f32"]
    check(compiled, program, torch.randn(8, 4), a=torch.randn(2), b=torch.randn(3), k=2.0)
    with pytest.raises(tp.UserError, match="kwarg_inputs names 'c', but the program takes 'a', 'b', 'k' by keyword"):
        tp.compile(program, [torch.ones(4, 4)], kwarg_inputs={**named, "c": 1}, **OPTIONS)
    with pytest.raises(tp.UserError, match=r"argument 'k' was 2\.0"):
        tp.compile(program, [torch.ones(4, 4)], kwarg_inputs={**named, "k": 3.0}, **OPTIONS)


def described(program: ExportedProgram) -> tuple[Any, ...]:
    nodes = [
        (str(node.format_node()), sorted(node.meta), dict(node.meta.get("custom") or {}))
        for node in program.graph.nodes
    ]
    state = {**program.state_dict, **program.constants}
    tensors = {name: (id(tensor), tensor.detach().clone()) for name, tensor in state.items()}
    signature = (str(program.graph_signature), str(program.module_call_graph), str(program.example_inputs))
    return nodes, {name: key for name, (key, _) in tensors.items()}, dict(program.range_constraints), *signature


class Stateful(nn.Module):
    """Adds to a buffer and to its input, between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total.add_(1)
        return self.layers(x * 2) + self.total


@torch.no_grad()
@pytest.mark.parametrize("least", [1, 2])
def test_what_the_caller_gave_stays_as_it_was(least: int) -> None:
    model = Stateful().eval()
    values = copy.deepcopy(model.state_dict())
    program = torch.export.export(model, (torch.ones(3, 4),), dynamic_shapes=({0: Dim.AUTO(max=16)},))
    before = described(program)
    given: list[Any] = [tp.Input(min_shape=(least, 4), opt_shape=(2, 4), max_shape=(4, 4))]
    shown, options = (
        repr(given),
        {**OPTIONS, "torch_executed_ops": {"aten.relu"}, "enabled_precisions": {torch.float32}},
    )
    kept = copy.deepcopy(options)
    tp.compile(program, given, **options)
    assert described(program) == before
    assert repr(given) == shown
    assert options == kept
    for name, value in model.state_dict().items():
        assert torch.equal(value, values[name]), name


@torch.no_grad()
@pytest.mark.parametrize("ir", ["dynamo", "fx", "ts", "torch_compile"])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_and_its_inputs_stay_as_they_were(ir: str, training: bool) -> None:
    torch._dynamo.reset()
    model = Stateful().train(training)
    before = {
        name: (dict(vars(module)), dict(module._parameters), dict(module._buffers), list(module._modules))
        for name, module in model.named_modules()
    }
    values, x = copy.deepcopy(model.state_dict()), torch.ones(3, 4)
    tp.compile(model, [x], ir=ir, **{**OPTIONS, "pass_through_build_failures": False})
    for name, module in model.named_modules():
        attributes, *places = before[name]
        # torch.compile itself leaves a mark.
        assert vars(module).keys() - {"_is_torch_compile"} == attributes.keys()
        assert module.training == training
        for now, then in zip((module._parameters, module._buffers), places, strict=False):
            assert all(now[key] is then[key] for key in then)
        assert list(module._modules) == places[2]
    for name, value in model.state_dict().items():
        assert torch.equal(value, values[name]), name
    assert torch.equal(x, torch.ones(3, 4))
    assert vars(x) == {}
