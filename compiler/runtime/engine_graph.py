"""A compiled graph with its engines: what CUDA graphs and files need to know of a compiled module."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule, Node

from ..errors import UserError
from ..ir.aliasing import written_tensors
from ..ir.engine_operator import engine_calls
from ..ir.left_out import LeftOut
from ..ir.memory import fingerprint, view_key
from .compiled_segment import CompiledSegment
from .engine.engine import Engine
from .measure.joins import Joins
from .model_weights import ModelWeights
from .options import RuntimeOptions

SPLICED = "trt_passes_exported"
"""Key of `GraphModule.meta` under which a compiled module keeps the ExportedProgram that it was made of."""

SEGMENTS = "_trt_passes_segments"
"""Attribute of a compiled module whose attributes are its segments, by the name of the node that calls them."""


class EngineGraph(GraphModule):
    """A graph in which every engine call is `trt_passes::execute_engine`; `CompiledModule` is one that can be called.

    Attributes:
        options: how the module runs.
        left_out: arguments that a call may have and the graph does not.
    """

    options: RuntimeOptions
    left_out: LeftOut | None
    _read: tuple[str, ...]
    _fingerprints: Mapping[str, str]

    @property
    def segments(self) -> Mapping[str, CompiledSegment]:
        """The engines, by the name of the node that calls them, in the order in which they run."""
        found: Mapping[str, CompiledSegment] = vars(vars(self)[SEGMENTS])
        return found

    def get_tensor(self, name: str) -> torch.Tensor:
        """A parameter, buffer or constant, by its dotted name."""
        tensor = attrgetter(name)(self)
        assert isinstance(tensor, torch.Tensor)
        return tensor

    def engines_on(self, device: torch.device) -> list[Engine]:
        """The engines that TensorRT runs on a device, loaded."""
        found = (segment.engine_on(device) for segment in self.segments.values())
        return [engine for engine in found if engine is not None]

    def state_for(self, device: torch.device) -> Hashable:
        """What a captured graph has of the module: who runs its segments, and the places of what PyTorch reads."""
        executors: list[str] = []
        places = [view_key(self.get_tensor(name)) for name in self._read]
        for segment in self.segments.values():
            executors.append(segment.executor)
            if not segment.runner.is_ready(device):
                places += map(view_key, segment.constants())
        return tuple(executors), tuple(places)

    @property
    def joins(self) -> Joins:
        """What kernels and nodes of the engines are called by the user: of the compilation, or of the file."""
        saved: Joins | None = vars(self).get("_joins")
        return Joins.of(vars(self).get("report")) if saved is None else saved

    @property
    def changed_weights(self) -> list[str]:
        """Names of weights that are not what they were when engines were built with them.

        All of them are read: the counters of PyTorch do not see what is written through `tensor.data`, as by LoRA.
        """
        then = self.fingerprints
        tensors = {name: self.get_tensor(name) for name in then}
        changed = {name for name, tensor in tensors.items() if fingerprint(tensor) != then[name]}
        if self.model_weights is not None:
            changed |= set(self.model_weights.changed(tensors, then))
        return sorted(changed)

    def check_weights(self) -> None:
        """Raise UserError if weights were changed since engines were built with them."""
        changed = self.changed_weights
        if changed:
            raise UserError(
                f"{min(changed)} was written to since the engines were built, which hold what it was: "
                "compile the model again."
            )

    @property
    def model_weights(self) -> ModelWeights | None:
        """Those of the model that was compiled, if that is known."""
        return vars(self).get("_model_weights")

    def watch(self, model: Any, names: Collection[str]) -> None:
        """Compare the weights of a model, which was just compiled, too, of those names that its program reads.

        Passes fold weights into others, so that the compiled module may not have them any more.
        """
        signature = self.meta[SPLICED].graph_signature
        read = set(names) - set(signature.buffers_to_mutate.values()) - set(written_tensors(self.graph)[0])
        tensors = {name: self.get_tensor(name) for name in self.fingerprints}
        vars(self)["_model_weights"] = ModelWeights.of(model, read, tensors)

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Those of the weights that engines were built with, when they were, by name; see `ir.memory.fingerprint`."""
        return self._fingerprints


def compiled_segments(module: GraphModule) -> dict[str, CompiledSegment]:
    """What can run each engine call directly; calls whose operands are no attributes, after an edit, have none."""
    found = {}
    for node in engine_calls(module):
        _, engine, spec_text, fallback, constants = node.args
        operands = [engine, fallback, *constants]  # type: ignore[misc]
        if all(isinstance(operand, Node) and operand.op == "get_attr" for operand in operands):
            names = [str(operand.target) for operand in operands]
            found[node.name] = CompiledSegment(module, names[0], str(spec_text), names[1], tuple(names[2:]))
    return found


def segments_of(module: nn.Module) -> dict[str, CompiledSegment]:
    """The engines of a compiled module, by the name of the node that calls them, in the order in which they run."""
    return dict(vars(getattr(module, SEGMENTS, SimpleNamespace())))


def current_program(spliced: ExportedProgram, compiled: GraphModule) -> ExportedProgram:
    """The spliced program with the tensors that the module has now: it may have been moved, or changed buffers."""
    tensors: dict[str, torch.Tensor] = dict(compiled.named_parameters(remove_duplicate=False))
    tensors |= dict(compiled.named_buffers(remove_duplicate=False))
    state = {name: tensors.get(name, tensor) for name, tensor in spliced.state_dict.items()}
    lifted = {
        str(spec.target)
        for spec in spliced.graph_signature.input_specs
        if spec.kind in (InputKind.CONSTANT_TENSOR, InputKind.BUFFER)
    }
    constants = {
        name: tensors.get(name, value) if name in lifted else value for name, value in spliced.constants.items()
    }
    return ExportedProgram(
        root=spliced.graph_module,
        graph=spliced.graph,
        graph_signature=spliced.graph_signature,
        state_dict=state,
        range_constraints=spliced.range_constraints,
        module_call_graph=spliced.module_call_graph,
        # Data of the user's, and possibly large.
        example_inputs=None,
        constants=constants,
        verifiers=spliced.verifiers,
    )
