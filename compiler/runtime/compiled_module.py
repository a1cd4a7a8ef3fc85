"""The compiled program as a module that is called like the model."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule
from torch.fx.graph import PythonCode

from ..errors import UserError
from ..settings import Executor
from .compiled_segment import CompiledSegment
from .direct_calls import SEGMENTS, compiled_segments, direct_forward, engine_calls, forward_of
from .engine_spec import EngineSpec
from .operator import attach_runner
from .runner import Notice, Runner
from .spliced_graph import SegmentParts

SPLICED = "trt_passes_exported"
"""Key of `GraphModule.meta` under which a compiled module keeps the ExportedProgram that it was made of."""


class CompiledModule(GraphModule):
    """A graph in which every engine call is `trt_passes::execute_engine`; parameters have the model's own names.

    What is traced (torch.compile, torch.export, fx, fake tensors) sees that graph. Other calls run code in which
    engines are called directly: the dispatcher would unpack the list of all weights each time. `recompile` makes both,
    so a graph that was edited runs as it reads.

    Engines are plain attributes, which `.to("cuda")` leaves where they are: TensorRT reads them from the host.
    Copies share engines; weights are shared by copy.copy and copied by copy.deepcopy. A pickle is what `save` writes.
    """

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> CompiledModule:
        """A module with the attributes of another GraphModule, its graph among them."""
        module = cls.__new__(cls)
        module.__dict__.update(state)
        module.recompile()
        return module

    def recompile(self) -> PythonCode:
        """Make `forward` anew, after the graph was edited."""
        code = super().recompile()
        cls = type(self)
        segments = compiled_segments(self)
        setattr(self, SEGMENTS, SimpleNamespace(**segments))
        cls.forward = forward_of(cls.forward, direct_forward(self, segments))
        return code

    def train(self, mode: bool = True) -> CompiledModule:
        """Accept eval mode, which is what was compiled.

        Raises:
            UserError: `mode` is True.
        """
        if mode:
            raise UserError("a compiled module cannot be trained: train the model, and compile it again.")
        return super().train(mode)

    def __copy__(self) -> CompiledModule:
        own = {key: copy.copy(vars(self)[key]) for key in ("_parameters", "_buffers", "_modules")}
        return self.from_state({**vars(self), **own})

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledModule:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        for segment in segments_of(self).values():
            memo[id(segment.engine)] = attach_runner(segment.engine.detach(), copy.copy(segment.runner))
            memo[id(segment.fallback)] = segment.fallback
        left_out = ("meta", "report", SEGMENTS)
        twin.__dict__.update(copy.deepcopy({k: v for k, v in vars(self).items() if k not in left_out}, memo))
        twin.meta = {**self.meta, SPLICED: current_program(self.meta[SPLICED], twin)}
        if "report" in vars(self):
            vars(twin)["report"] = vars(self)["report"]
        twin.recompile()
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        from .save import from_bytes, to_bytes

        return from_bytes, (to_bytes(self),)


def compiled_module(exported: ExportedProgram, parts: Mapping[str, SegmentParts], executor: Executor) -> CompiledModule:
    """A module with the arguments and results of the model.

    Args:
        exported: a spliced program, see `spliced_graph`.
        parts: of segments that were compiled in this process, by name.
        executor: what runs the segments.
    """
    module = exported.module(check_guards=False)
    assert isinstance(module, GraphModule)
    # Engines check their own inputs; torch.export's check would cost more than enqueueing a small engine.
    for hooks in (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs, module._forward_hooks):
        hooks.clear()
    module._forward_hooks_always_called.clear()
    notice = Notice()
    for node in engine_calls(module):
        _, engine, spec_text, fallback, _ = node.args
        spec, serialized = EngineSpec.loads(str(spec_text)), _attribute(module, fallback)
        built = parts.get(spec.name)
        runner = Runner(
            spec,
            _attribute(module, engine),
            executor=executor,
            fallback=None if built is None else built.module,
            serialized_fallback=serialized,
            reference=None if built is None else built.reference(),
            notice=notice,
        )
        attach_runner(_attribute(module, engine), runner)
    # torch.export replaces train and eval, and binds them to its own module.
    state = {key: value for key, value in vars(module).items() if key not in ("train", "eval")}
    compiled = CompiledModule.from_state(state)
    compiled.meta[SPLICED] = exported
    return compiled.eval()


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


def segments_of(module: nn.Module) -> dict[str, CompiledSegment]:
    """The engines of a compiled module, by the name of the node that calls them, in the order in which they run."""
    return dict(vars(getattr(module, SEGMENTS, SimpleNamespace())))


def _attribute(module: GraphModule, node: Any) -> torch.Tensor:
    tensor = attrgetter(str(node.target))(module)
    assert isinstance(tensor, torch.Tensor)
    return tensor
