"""The engines of a compiled module as its children `_run_on_acc_0` and so on, as Torch-TensorRT's are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..runtime.compiled_module import CompiledModule
from ..runtime.compiled_segment import CompiledSegment
from ..runtime.engine_graph import SEGMENTS
from .mistakes import NotPossible
from .raw_engines import TorchTensorRTModule

_PREFIX = "_run_on_acc_"


class EngineOfModule(TorchTensorRTModule):
    """One engine of a compiled module, which is looked up in it: options and weights are those that it has now.

    Args:
        owner: the compiled module.
        place: the number of the engine, in the order in which they run.
    """

    _owner: CompiledModule
    _place: int

    def __init__(self, owner: CompiledModule, place: int) -> None:
        nn.Module.__init__(self)
        vars(self)["_owner"], vars(self)["_place"] = owner, place  # none of its modules, as it has this one
        self.name = f"{_PREFIX}{place}"
        self.input_binding_names = [binding.name for binding in self.spec.inputs]
        self.output_binding_names = [binding.name for binding in self.spec.outputs]

    @property
    def segment(self) -> CompiledSegment:
        """The engine, as `compiled.segments` has it."""
        return list(self._owner.segments.values())[self._place]

    @property
    def spec(self) -> Any:
        """What the engine expects and returns."""
        return self.segment.spec

    @property
    def serialized_engine(self) -> bytes:
        """The engine, as TensorRT made it."""
        return bytes(self.segment.whole_plan())

    def get_layer_info(self) -> str:
        """The layers that the operators of the engine became, as JSON text: of what this process compiled.

        Raises:
            RuntimeError: the module was read from a file, which does not hold them.
        """
        program = getattr(vars(self._owner).get("report"), "program", None)
        name = self.spec.name
        found = [item for item in program.segments if item.name == name] if program is not None else []
        if not found or found[0].network is None:
            raise NotPossible(f"the layers of {name} are known where it was compiled only: compile the model here.")
        lines = found[0].network.text().splitlines()
        bindings = [binding.name for binding in (*self.spec.inputs, *self.spec.outputs)]
        return json.dumps({"Layers": lines, "Bindings": bindings})

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Run the engine: one tensor, or several as a tuple."""
        results = self.segment(*inputs)
        return results[0] if len(results) == 1 else tuple(results)


def add_engines_as_children() -> None:
    """Let compiled modules have their engines among `named_children`, and as attributes: of the class, for copies too.

    They are no entries of `modules()` and have no state, so that nothing else changes.
    """
    own_children, own_attribute, own_names = (getattr(CompiledModule, name) for name in _CHANGED)

    def named_children(self: CompiledModule) -> Iterator[tuple[str, nn.Module]]:
        yield from own_children(self)
        for place in range(_count(self)):
            yield f"{_PREFIX}{place}", EngineOfModule(self, place)

    def attribute(self: CompiledModule, name: str) -> Any:
        number = name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else ""
        if number.isdecimal() and int(number) < _count(self):
            return EngineOfModule(self, int(number))
        return own_attribute(self, name)

    def names(self: CompiledModule) -> list[str]:
        return [*own_names(self), *(f"{_PREFIX}{place}" for place in range(_count(self)))]

    for name, function in zip(_CHANGED, (named_children, attribute, names), strict=True):
        setattr(CompiledModule, name, function)


_CHANGED = ("named_children", "__getattr__", "__dir__")


def _count(module: CompiledModule) -> int:
    """The number of engines; 0 while the module is being made."""
    return len(module.segments) if SEGMENTS in vars(module) else 0
