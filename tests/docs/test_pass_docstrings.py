"""The Before and After of the docstrings of stages that rewrite or annotate are what these do."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.text import node_text
from trt_passes.compiler.pipeline import known_passes
from trt_passes.visualize.text import verdict_text


def documented(name: str) -> tuple[list[str], ...]:
    match = re.search(
        r"^Before:\n(.*?)^After:\n(.*)", inspect.getdoc(known_passes()[name]) or "", re.DOTALL | re.MULTILINE
    )
    assert match is not None
    return tuple(textwrap.dedent(part).splitlines() for part in match.groups())


def lines(program: tp.Program) -> list[str]:
    return [node_text(node, (verdict_text(node),)) for node in program.op_nodes]


def svd_and_relu(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.linalg.svdvals(x), torch.relu(x)


def addcmul(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(x, a, b)


@pytest.mark.parametrize(
    ("name", "before", "function", "shapes"),
    [
        ("decompose", "", addcmul, [(4,)] * 3),
        ("annotate", "decompose", svd_and_relu, [(4, 4)]),
        ("partition", "decompose,annotate", svd_and_relu, [(4, 4)]),
    ],
)
def test_the_docstring_shows_what_the_pass_does(
    name: str, before: str, function: Callable[..., Any], shapes: list[tuple[int, ...]]
) -> None:
    module = nn.Module()
    module.forward = function
    program = tp.trace(module.eval(), tuple(torch.randn(shape) for shape in shapes))
    settings = tp.Settings(min_block_size=1)
    if before:
        program = tp.PassManager(before, settings=settings).run(program).program
    after = tp.PassManager(name, settings=settings).run(program).program
    shown_before, shown_after = documented(name)
    assert set(shown_before) <= set(lines(program))
    assert set(shown_after) <= set(lines(after))
