"""`TorchTensorRTModule`: a module that runs one engine, given as its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..ir.engine_spec import EngineSpec
from ..runtime.compiled_segment import CompiledSegment
from .mistakes import InvalidValue
from .scripts import embed_engine_in_new_module


class _OrSegment(type(nn.Module)):  # type: ignore[misc]
    """What runs the engines of a compiled module is one too."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return super().__instancecheck__(instance) or isinstance(instance, CompiledSegment)


class TorchTensorRTModule(nn.Module, metaclass=_OrSegment):
    """Runs an engine that `convert_exported_program_to_serialized_trt_engine` or such gave, on a GPU.

    Args:
        serialized_engine: the engine, with its specification, or a file that `trt_passes.save_engine` wrote.
        input_binding_names, output_binding_names: the bindings that it takes and returns, in this order.
        name: what messages call it.
        settings, weight_name_map, requires_output_allocator, others: of Torch-TensorRT's runtime, which this one knows
            from the specification or does not need.
    """

    def __init__(
        self,
        serialized_engine: Any = None,
        input_binding_names: Sequence[str] | None = None,
        output_binding_names: Sequence[str] | None = None,
        *,
        name: str = "",
        settings: Any = None,
        weight_name_map: Any = None,
        requires_output_allocator: bool = False,
        **others: Any,
    ) -> None:
        super().__init__()
        if serialized_engine is None:
            raise InvalidValue("a TorchTensorRTModule runs an engine: give serialized_engine.")
        self.name = name
        self.engine = embed_engine_in_new_module(serialized_engine, input_binding_names, output_binding_names)
        self.input_binding_names, self.output_binding_names = input_binding_names, output_binding_names

    @property
    def spec(self) -> EngineSpec:
        """What the engine expects and returns."""
        return EngineSpec.loads(str(self.engine.spec))

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Run the engine."""
        return self.engine(*inputs)
