"""What every registered pass promises, whatever it does."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.nn import functional as F
from trt_passes.compiler.ir.annotations import annotations_of
from trt_passes.compiler.ir.change import Change, Snapshot
from trt_passes.compiler.ir.graph import fake_value
from trt_passes.compiler.ir.text import node_text, type_text
from trt_passes.compiler.pipeline import KNOWN_FACTS, facts_of, known_passes
from trt_passes.compiler.tensorrt.loader import available

from tests.models import ConvNet, Counter, seeded

PASSES = known_passes()
LOSSLESS: dict[str, Any] = {}
NARROW: dict[str, Any] = {"enabled_precisions": {torch.float16}, "truncate_double": True}


class Attention(nn.Module):
    """A transformer block with a mask and a float64 tail: x f32[B,S,16] -> (f32[B,S,16], f64[B])."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch, length, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        heads = F.scaled_dot_product_attention(q, k, v, causal).transpose(1, 2).reshape(batch, length, 16)
        y = x + self.out(F.dropout(heads, 0.1, self.training))
        return y, y.double().mean((1, 2)) * 2


MODELS = {
    "convolutions": (ConvNet, [tp.Input(min_shape=(1, 3, 16, 16), opt_shape=(2, 3, 16, 16), max_shape=(4, 3, 16, 16))]),
    "attention": (Attention, [tp.Input(min_shape=(1, 2, 16), opt_shape=(2, 5, 16), max_shape=(4, 9, 16))]),
    "mutation": (Counter, [tp.Input((3,))]),
}


def run(name: str, program: tp.Program, narrow: bool) -> tp.Program:
    settings = tp.Settings.from_options({**(NARROW if narrow else LOSSLESS), "min_block_size": 1})
    return tp.PassManager([PASSES[name]()], settings=settings).run(program).program


@cache
def program_after(name: str | None, model: str, narrow: bool) -> tp.Program:
    """The program behind a pass of the default pipeline; the traced one for None."""
    if name is None:
        module, inputs = MODELS[model]
        return tp.trace(seeded(module()), inputs)
    return run(name, program_after(previous(name), model, narrow), narrow)


def previous(name: str) -> str | None:
    names = list(PASSES)
    return names[names.index(name) - 1] if name != names[0] else None


@pytest.fixture(params=list(MODELS))
def model(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[False, True], ids=["lossless", "narrow"])
def narrow(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(params=list(PASSES))
def name(request: pytest.FixtureRequest) -> str:
    if PASSES[request.param].kind == "build" and available() is None:
        pytest.skip("makes engines, and TensorRT is not installed")
    return request.param


@pytest.fixture
def before(name: str, model: str, narrow: bool) -> tp.Program:
    return program_after(previous(name), model, narrow)


@pytest.fixture
def after(name: str, model: str, narrow: bool) -> tp.Program:
    return program_after(name, model, narrow)


def examples(program: tp.Program, seed: int) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(item.opt_shape) for item in program.inputs]


def outputs(program: tp.Program, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    value = copy.deepcopy(program.exported.module())(*inputs)
    return value if isinstance(value, tuple) else (value,)


def text_without_names(program: tp.Program) -> list[str]:
    """The graph and its annotations as text, nodes numbered: `decompose` traces anew and names anew."""
    numbers = {name: f"%{index}" for index, name in enumerate(program.nodes_by_name)}
    lines = [f"{node_text(node)} {annotations_of(node)}" for node in program.graph.nodes]
    return [re.sub(r"%(\w+)", lambda match: numbers[match[1]], line) for line in lines]


@pytest.mark.parametrize("key", list(PASSES))
def test_name_and_text(key: str) -> None:
    item = PASSES[key]
    assert item.name == key
    assert re.fullmatch(r"[a-z0-9.-]+", key)
    pipeline = tp.Pipeline([item()])
    assert tp.Pipeline.parse(str(pipeline)).passes == pipeline.passes
    assert (item.__doc__ or "").strip()


def test_facts_are_what_the_pass_says(name: str, before: tp.Program, after: tp.Program) -> None:
    item = PASSES[name]()
    assert item.establishes <= facts_of(after)
    lost = facts_of(before) - facts_of(after)
    assert lost <= item.breaks_facts
    assert item.requires <= set(KNOWN_FACTS)


def test_it_changes_nothing_the_second_time(name: str, after: tp.Program, narrow: bool) -> None:
    again = run(name, after, narrow)
    assert text_without_names(again) == text_without_names(after)


def test_the_program_it_was_given_stays_as_it_was(name: str, before: tp.Program, narrow: bool) -> None:
    snapshot, tensors = Snapshot.of(before), copy.deepcopy(dict(before.constants))
    run(name, before, narrow)
    assert Change.between(snapshot, Snapshot.of(before)).empty
    assert all(torch.equal(tensor, before.constants[key]) for key, tensor in tensors.items())


def test_nodes_keep_where_they_come_from(name: str, before: tp.Program, after: tp.Program) -> None:
    old = before.nodes_by_name
    lines = {node.meta.get("stack_trace") for node in before.op_nodes}
    for node in after.op_nodes:
        assert node.meta.get("nn_module_stack"), f"{node} has lost its module"
        assert node.meta.get("stack_trace") in lines, f"{node} has no source line of the model"
        if name != "decompose" and node.name in old:
            assert node.meta.get("stack_trace") == old[node.name].meta.get("stack_trace")


def test_values_are_what_the_operators_yield(after: tp.Program) -> None:
    for node in after.op_nodes:
        assert type_text(fake_value(node)) == type_text(node.meta.get("val")), node


def test_results_are_those_of_the_model(after: tp.Program, model: str, narrow: bool) -> None:
    inputs = examples(after, seed=1)
    eager = seeded(MODELS[model][0]())(*inputs)
    expected = eager if isinstance(eager, tuple) else (eager,)
    tolerance = 1e-2 if narrow else 1e-5
    torch.testing.assert_close(outputs(after, inputs), expected, rtol=tolerance, atol=tolerance)


def test_it_can_be_saved_and_loaded(after: tp.Program, tmp_path: Any) -> None:
    torch.export.save(after.exported, tmp_path / "program.pt2")
    loaded = torch.export.load(tmp_path / "program.pt2")
    inputs = examples(after, seed=2)
    torch.testing.assert_close(outputs(tp.Program(loaded), inputs), outputs(after, inputs))
