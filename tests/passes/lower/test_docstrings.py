"""The Before and After of every lowering pass's docstring are what the pass does to the model given here."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.text import node_text
from trt_passes.passes.lower import PASSES


@dataclass(frozen=True)
class Example:
    forward: Callable[..., Any]
    inputs: tuple[torch.Tensor, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    module: nn.Module = field(default_factory=nn.Module)


def weighted(shape: tuple[int, ...]) -> nn.Module:
    module = nn.Module()
    module.w = nn.Parameter(torch.ones(shape))
    return module


def with_norm() -> nn.Module:
    module = nn.Module()
    module.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    module.norm = nn.BatchNorm2d(8)
    return module.eval()


def with_heads() -> nn.Module:
    """Two projections of 16 features to 4 heads of 8."""
    module = nn.Module()
    for name in ("query", "key"):
        layer = nn.Linear(16, 32).half()
        setattr(module, name, layer.weight)
        setattr(module, f"{name}_bias", layer.bias)
    return module


def with_int8_weight() -> nn.Module:
    module = nn.Module()
    module.register_buffer("q", torch.ones(64, 32, dtype=torch.int8))
    module.register_buffer("s", torch.ones(64, 1))
    return module


def heads(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(x, weight, bias).view(2, 5, 4, 8).transpose(1, 2)


EXAMPLES = {
    "lower.remove-noops": Example(lambda self, x: torch.relu(x.clone() * 1.0), (torch.randn(2, 4),)),
    "lower.fold-batch-norm": Example(
        lambda self, x: self.norm(self.conv(x)), (torch.randn(2, 3, 5, 5),), module=with_norm()
    ),
    "lower.narrow-64bit": Example(
        lambda self, x: torch.sin(x), (torch.randn(4, dtype=torch.float64),), {"truncate_double": True}
    ),
    "lower.complex": Example(
        lambda self, x, y: torch.view_as_real(torch.view_as_complex(x) * y), (torch.randn(4, 2), torch.randn(4))
    ),
    "lower.cast-precision": Example(
        lambda self, x: torch.exp(nn.functional.linear(x, self.w)),
        (torch.randn(2, 4),),
        {"enabled_precisions": {torch.float16}},
        weighted((4, 4)),
    ),
    "lower.quantisation": Example(
        lambda self, x: nn.functional.linear(x, self.q * self.s),
        (torch.randn(2, 32),),
        module=with_int8_weight(),
    ),
    "lower.deduplicate": Example(lambda self, x: torch.relu(x) + torch.relu(x), (torch.randn(4),)),
    "lower.pack-projections": Example(
        lambda self, x: (heads(x, self.query, self.query_bias), heads(x, self.key, self.key_bias)),
        (torch.randn(2, 5, 16).half(),),
        module=with_heads(),
    ),
    "lower.fold-constants": Example(
        lambda self, x: x + self.w * torch.full((4,), 2.0), (torch.randn(4),), module=weighted((4,))
    ),
}


def documented(item: type[tp.Pass]) -> tuple[list[str], list[str]]:
    text = inspect.getdoc(item)
    match = re.search(r"^Before:\n(.*?)^After:\n(.*)", text, re.DOTALL | re.MULTILINE)
    assert match, f"{item.name} has no Before and After"
    return tuple(joined(textwrap.dedent(part).splitlines()) for part in match.groups())


def joined(lines: list[str]) -> list[str]:
    """Lines of the docstring, with those that are indented taken for the rest of the line before."""
    whole: list[str] = []
    for line in lines:
        if line.startswith(" "):
            whole[-1] += f" {line.strip()}"
        elif line:
            whole.append(line)
    return whole


def lines(program: tp.Program, with_return: bool) -> list[str]:
    nodes = list(program.op_nodes)
    return [node_text(node) for node in (*nodes, program.output_node) if node.op != "output" or with_return]


def programs(example: Example, item: tp.Pass) -> tuple[tp.Program, tp.Program]:
    example.module.forward = example.forward.__get__(example.module)
    exported = torch.export.export(example.module, example.inputs)
    kept = torch.export.default_decompositions()
    kept.pop(torch.ops.aten.linear.default, None)
    before = tp.Program(exported.run_decompositions(kept))
    after = item.run(before.copy(), tp.Context(settings=tp.Settings.from_options(example.settings)))
    return before, after.synced()


@pytest.mark.parametrize("item", PASSES, ids=lambda item: item.name)
def test_the_docstring_shows_what_the_pass_does(item: type[tp.Pass]) -> None:
    before, after = documented(item)
    program, result = programs(EXAMPLES[item.name], item())
    with_return = any(line.startswith("return") for line in before)
    assert lines(program, with_return) == before
    assert lines(result, with_return) == after


@pytest.mark.parametrize("item", PASSES, ids=lambda item: item.name)
def test_the_first_line_is_imperative(item: type[tp.Pass]) -> None:
    first = inspect.getdoc(item).splitlines()[0]
    assert re.match(r"[A-Z][a-z]*[^s\W] ", first), first
