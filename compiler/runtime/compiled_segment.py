"""`CompiledSegment`: an engine of a compiled module."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import ClassVar, get_args

import torch
from torch import nn
from torch.fx import GraphModule

from ..errors import UserError, did_you_mean
from ..ir.engine_operator import OPERATOR
from ..ir.engine_spec import EngineSpec
from ..ir.lean_plan import WeightsChanged, whole
from ..ir.notebook import ShownInNotebooks
from ..settings import Executor
from .engine.engine import Engine
from .operator import runner_of
from .runner import Runner
from .saving import graph_text


class CompiledSegment(ShownInNotebooks):
    """Runs one segment of a compiled module, without PyTorch's dispatcher.

    Args:
        module: has the tensors.
        engine: name of its attribute that holds the serialized engine, uint8[nbytes].
        spec_text: the JSON text of the engine's specification.
        fallback: name of the attribute that holds the serialized PyTorch graph, uint8[nbytes].
        constants: names of the weights, in the order in which the PyTorch graph takes them.
    """

    shown_by: ClassVar[str] = "engine_bundle"

    def __init__(
        self, module: nn.Module, engine: str, spec_text: str, fallback: str, constants: tuple[str, ...]
    ) -> None:
        self.engine: torch.Tensor = attrgetter(engine)(module)
        self.fallback: torch.Tensor = attrgetter(fallback)(module)
        self.spec_text = spec_text
        self.runner: Runner = runner_of(self.engine, spec_text, self.fallback)
        self.constant_names = constants
        self._module, self._constants = module, tuple(attrgetter(name) for name in constants)

    def __call__(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """Run the segment on the engine's inputs; new tensors in the order of its outputs."""
        if _PLAIN.issuperset(map(type, inputs)):
            return self.runner(inputs, self.constants)
        for binding, value in zip(self.runner.spec.inputs, inputs, strict=True):
            if not isinstance(value, torch.Tensor):
                raise UserError(f"input {binding.name!r} is a {type(value).__name__}: give a tensor.")
        outputs: list[torch.Tensor] = OPERATOR(
            list(inputs), self.engine, self.spec_text, self.fallback, self.constants()
        )
        return outputs

    def engine_on(self, device: torch.device) -> Engine | None:
        """The engine, loaded, if the executor lets TensorRT run inputs on this device; see `Runner.engine_on`."""
        return self.runner.engine_on(device, self.constants)

    def whole_plan(self) -> memoryview:
        """The serialized engine, as TensorRT made it.

        Raises:
            UserError: weights were written to since it was built.
        """
        try:
            return whole(self.engine.detach().cpu().numpy(), self.constants()).data
        except WeightsChanged as error:
            raise UserError(
                f"weights of {self.runner.spec.name} were written to since its engine was built ({error}): compile the "
                "model again."
            ) from error

    def placed(self, inputs: Sequence[torch.Tensor]) -> tuple[GraphModule, Sequence[torch.Tensor]]:
        """The segment's PyTorch graph, and the weights that it takes after the inputs, where these are."""
        return self.runner.placed(inputs[0].device, self.constants())

    def constants(self) -> list[torch.Tensor]:
        """The weights that the module has now."""
        return [get(self._module) for get in self._constants]

    @property
    def executor(self) -> Executor:
        """What runs the segment; may be set at any time, to what the option of that name takes (else UserError)."""
        return self.runner.executor

    @executor.setter
    def executor(self, value: Executor) -> None:
        if value not in get_args(Executor):
            raise UserError(f"executor is {value!r}.{did_you_mean(value, get_args(Executor))}")
        self.runner.executor = value

    @property
    def spec(self) -> EngineSpec:
        """What the engine expects and returns."""
        return self.runner.spec

    def __repr__(self) -> str:
        spec = self.runner.spec
        ports = f"{len(spec.inputs)} inputs, {len(spec.outputs)} outputs"
        return f"CompiledSegment({spec.name}, {ports}, executor={self.executor!r})"


_PLAIN = frozenset({torch.Tensor, nn.Parameter})


def fallback_tensor(module: torch.fx.GraphModule) -> torch.Tensor:
    """A segment's PyTorch graph as text in a tensor, uint8[nbytes]."""
    return torch.frombuffer(bytearray(graph_text.dumps(module.graph), "utf-8"), dtype=torch.uint8)
