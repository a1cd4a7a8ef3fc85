"""A small model for every pass, and what the pass made of it in a real run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.instruments.protocol import Step
from trt_passes.compiler.pipeline import default_pipeline, known_passes


@dataclass(frozen=True)
class Example:
    """A model that a pass changes: `forward` takes a module that holds the parameters, then the inputs."""

    forward: Callable[..., Any]
    inputs: tuple[torch.Tensor, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Callable[[], nn.Module]] = field(default_factory=dict)

    def program(self) -> tp.Program:
        """The program that the pipeline starts with."""
        torch.manual_seed(0)
        module = nn.Module()
        for name, make in self.parts.items():
            module.add_module(name, make())
        module.forward = self.forward.__get__(module)
        return tp.trace(module.eval(), self.inputs)


class Weight(nn.Module):
    """A tensor of ones: () -> f32[sizes]."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(sizes))

    def forward(self) -> torch.Tensor:
        return self.w


class Int8Weight(nn.Module):
    """A tensor of ones in int8: () -> i8[sizes]."""

    q: torch.Tensor

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.register_buffer("q", torch.ones(sizes, dtype=torch.int8))

    def forward(self) -> torch.Tensor:
        return self.q


def _spectrum(self: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(self.after(torch.linalg.svdvals(torch.relu(self.before(x)))))


def _heads(projection: torch.Tensor) -> torch.Tensor:
    return projection.view(2, 5, 4, 8).transpose(1, 2)


_CUT = Example(
    _spectrum,
    (torch.ones(2, 8),),
    {"min_block_size": 1},
    {"before": lambda: nn.Linear(8, 8, bias=False), "after": lambda: nn.Linear(2, 4, bias=False)},
)

EXAMPLES: Mapping[str, Example] = {
    "decompose": Example(lambda self, x, a, b: torch.addcmul(x, a, b), (torch.ones(4), torch.ones(4), torch.ones(4))),
    "lower.complex": Example(
        lambda self, x, y: torch.view_as_real(torch.view_as_complex(x) * y), (torch.ones(4, 2), torch.ones(4))
    ),
    "lower.narrow-64bit": Example(
        lambda self, x: torch.sin(x), (torch.ones(4, dtype=torch.float64),), {"truncate_double": True}
    ),
    "lower.remove-noops": Example(lambda self, x: torch.relu(x.clone() * 1.0), (torch.ones(2, 4),)),
    "lower.fold-batch-norm": Example(
        lambda self, x: torch.relu(self.norm(self.conv(x))),
        (torch.ones(2, 3, 5, 5),),
        parts={"conv": lambda: nn.Conv2d(3, 8, 3, padding=1, bias=False), "norm": lambda: nn.BatchNorm2d(8)},
    ),
    "lower.cast-precision": Example(
        lambda self, x: torch.exp(self.linear(x)),
        (torch.ones(2, 4),),
        {"enabled_precisions": {torch.float16}},
        {"linear": lambda: nn.Linear(4, 4, bias=False)},
    ),
    "lower.quantisation": Example(
        lambda self, x: nn.functional.linear(x, self.weight() * self.scale()),
        (torch.ones(2, 32),),
        parts={"weight": lambda: Int8Weight(64, 32), "scale": lambda: Weight(64, 1)},
    ),
    "lower.deduplicate": Example(lambda self, x: torch.relu(x) + torch.relu(x), (torch.ones(4),)),
    "lower.pack-projections": Example(
        lambda self, x: _heads(self.query(x)) @ _heads(self.key(x)).mT,
        (torch.ones(2, 5, 16, dtype=torch.float16),),
        parts={"query": lambda: nn.Linear(16, 32).half(), "key": lambda: nn.Linear(16, 32).half()},
    ),
    "lower.fold-constants": Example(
        lambda self, x: x + self.scale() * torch.full((4,), 2.0), (torch.ones(4),), parts={"scale": lambda: Weight(4)}
    ),
    **dict.fromkeys(("annotate", "partition", "convert", "build", "splice"), _CUT),
}
"""The example of every pass, by its name."""

NEEDS_TENSORRT = frozenset({"convert", "build", "splice"})
"""Passes that run only where TensorRT is installed."""


class _Steps(tp.Instrument):
    def __init__(self) -> None:
        self.found: dict[str, Step] = {}

    def after_pass(self, step: Step) -> None:
        self.found[step.item.name] = step


def steps(without_tensorrt: bool = False) -> dict[str, Step]:
    """What each pass made of its example, by the name of the pass.

    Args:
        without_tensorrt: leave out the passes that need it.
    """
    wanted = [name for name in known_passes() if not (without_tensorrt and name in NEEDS_TENSORRT)]
    last = {id(EXAMPLES[name]): name for name in wanted}
    runs = {id(EXAMPLES[name]): _run(EXAMPLES[name], last[id(EXAMPLES[name])]) for name in wanted}
    return {name: runs[id(EXAMPLES[name])][name] for name in wanted}


def _run(example: Example, last: str) -> dict[str, Step]:
    """All steps of a run that ends after the pass `last`."""
    seen = _Steps()
    settings = tp.Settings.from_options(example.settings)
    tp.PassManager(default_pipeline().until(last), [seen], settings).run(example.program())
    return seen.found
