"""`CompiledSegment`: an engine as a module of the compiled graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..settings import Executor
from . import graph_text
from .operator import OPERATOR
from .runner import Runner


class CompiledSegment(nn.Module):
    """Runs one segment; in a traced graph it leaves one call of `trt_passes::execute_engine`.

    Called directly it does not go through PyTorch's dispatcher, which would unpack the list of all weights each time.

    Args:
        runner: runs the segment.
        constants: the weights of its PyTorch graph, by the name that they have in the model; registered as parameters
            and buffers of this module's child `weights`, under those names.
        fallback: the serialized PyTorch graph, uint8[nbytes].
    """

    def __init__(self, runner: Runner, constants: Mapping[str, torch.Tensor], fallback: torch.Tensor) -> None:
        super().__init__()
        self.runner = runner
        self.weights = nn.Module()
        self._owners = tuple(_register(self.weights, name, tensor) for name, tensor in constants.items())
        # Plain attributes, so that .to("cuda") does not move megabytes that TensorRT reads from the host.
        self.engine = runner.engine
        self.fallback = fallback
        self.spec_text = runner.spec.dumps()

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """Run the segment on the engine's inputs; new tensors in the order of its outputs."""
        if torch.compiler.is_compiling() or not _PLAIN.issuperset(map(type, inputs)):
            outputs: list[torch.Tensor] = OPERATOR(
                list(inputs), self.engine, self.spec_text, self.fallback, self.constants()
            )
            return outputs
        return self.runner(inputs, self.constants)

    def constants(self) -> list[torch.Tensor]:
        """The weights, in the order in which the PyTorch graph takes them."""
        return [getattr(owner, name) for owner, name in self._owners]

    @property
    def executor(self) -> Executor:
        """What runs the segment; may be set at any time."""
        return self.runner.executor

    @executor.setter
    def executor(self, value: Executor) -> None:
        self.runner.executor = value

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledSegment:
        # Engines and networks are read-only and belong to TensorRT: copies share them.
        copied = {name: tensor.detach().clone() for name, tensor in self.named_constants().items()}
        for name, tensor in self.named_constants().items():
            if isinstance(tensor, nn.Parameter):
                copied[name] = nn.Parameter(copied[name], tensor.requires_grad)
            copied[name] = memo.setdefault(id(tensor), copied[name])
        twin = CompiledSegment(self.runner, copied, self.fallback)
        memo[id(self)] = twin
        return twin

    def named_constants(self) -> dict[str, torch.Tensor]:
        """The weights by the name that they have in the model."""
        prefixes = {module: f"{path}." if path else "" for path, module in self.weights.named_modules()}
        return {f"{prefixes[owner]}{name}": getattr(owner, name) for owner, name in self._owners}

    def extra_repr(self) -> str:
        spec = self.runner.spec
        return f"{spec.name}, {len(spec.inputs)} inputs, {len(spec.outputs)} outputs, executor={self.executor!r}"


_PLAIN = frozenset({torch.Tensor, nn.Parameter})


def _register(root: nn.Module, path: str, tensor: torch.Tensor) -> tuple[nn.Module, str]:
    *parents, name = path.split(".")
    owner = root
    for parent in parents:
        if parent not in owner._modules:
            owner.add_module(parent, nn.Module())
        owner = owner.get_submodule(parent)
    if isinstance(tensor, nn.Parameter):
        owner.register_parameter(name, tensor)
    else:
        owner.register_buffer(name, tensor)
    return owner, name


def fallback_tensor(module: torch.fx.GraphModule) -> torch.Tensor:
    """A segment's PyTorch graph as text in a tensor, uint8[nbytes]."""
    return torch.frombuffer(bytearray(graph_text.dumps(module.graph), "utf-8"), dtype=torch.uint8)
