"""A graph module as one engine, by the functions and classes that Torch-TensorRT's front ends have for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.fx import GraphModule

from ..errors import UserError
from .compilation import compile_program, serialized_engine
from .compilation_settings import CompilationSettings
from .fx_front_end import InputTensorSpec, LowerPrecision
from .mistakes import NotPossible
from .raw_engines import TorchTensorRTModule


class UnsupportedOperatorException(NotPossible):
    """Part of a graph does not convert; the message has the reasons."""


class SerializedInterpreterResult(NamedTuple):
    """An engine of a whole graph.

    Attributes:
        serialized_engine: its bytes, with its specification.
        input_names, output_names: its bindings, in the order of the graph's.
        weight_name_map: None: weights that may change are inputs, see `immutable_weights`.
        requires_output_allocator: False: results may always have sizes that only a call tells.
    """

    serialized_engine: bytes
    input_names: Sequence[str]
    output_names: Sequence[str]
    weight_name_map: Mapping[Any, Any] | None = None
    requires_output_allocator: bool = False


class TRTInterpreterResult(NamedTuple):
    """The same, as the classes `TRTInterpreter` give it."""

    engine: bytes
    input_names: Sequence[str]
    output_names: Sequence[str]
    weight_name_map: Mapping[Any, Any] | None = None
    requires_output_allocator: bool = False


class FxInterpreterResult(NamedTuple):
    """The same, of the fx front end.

    Attributes:
        engine, input_names, output_names: as there.
        serialized_cache: empty: TensorRT-RTX times nothing while it builds.
    """

    engine: bytes
    input_names: Sequence[str]
    output_names: Sequence[str]
    serialized_cache: bytearray


def interpret_module_to_result(
    module: GraphModule,
    inputs: Sequence[Any] | None = None,
    settings: CompilationSettings | None = None,
    arg_inputs: Sequence[Any] | None = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    engine_cache: Any = None,
) -> SerializedInterpreterResult:
    """The one engine of a graph, with the names of its bindings.

    Args:
        module: a graph module or an exported program.
        inputs: `Input`s or example tensors, in the graph's order.
        settings: options.
        arg_inputs, kwarg_inputs: instead of `inputs`.
        engine_cache: where engines are kept.

    Raises:
        UnsupportedOperatorException: part of it does not convert.
    """
    options = settings.options() if settings is not None else {}
    if engine_cache is not None:
        options["custom_engine_cache"] = engine_cache
    positional = {"arg_inputs": arg_inputs} if arg_inputs is not None else {"inputs": inputs}
    try:
        engine: Any = serialized_engine(module, **positional, kwarg_inputs=kwarg_inputs, **options)
    except UserError as error:
        raise UnsupportedOperatorException(str(error)) from error
    return SerializedInterpreterResult(engine, list(engine.arguments), list(engine.results))


def convert_module(
    module: GraphModule,
    inputs: Sequence[Any],
    settings: CompilationSettings | None = None,
    name: str = "",
    engine_cache: Any = None,
) -> GraphModule:
    """A graph as a module of one engine, which runs in PyTorch where there is no GPU.

    Args:
        module, inputs, settings, engine_cache: as for `interpret_module_to_result`.
        name: what there names the engine; here it is named after its segment.

    Raises:
        UserError: part of it does not convert, with the reasons.
    """
    options = settings.options() if settings is not None else {}
    if engine_cache is not None:
        options["custom_engine_cache"] = engine_cache
    return compile_program(module, inputs, **{**options, "require_full_compilation": True, "min_block_size": 1})


class TRTInterpreter:
    """`dynamo.conversion.TRTInterpreter`: makes the engine of a graph when it is run.

    Args:
        module: the graph.
        input_specs: `Input`s or example tensors.
        output_dtypes: what the graph's results are; they are of the types that the graph has.
        compilation_settings: options.
        engine_cache: where engines are kept.
    """

    def __init__(
        self,
        module: GraphModule,
        input_specs: Sequence[Any],
        output_dtypes: Any = None,
        compilation_settings: CompilationSettings | None = None,
        engine_cache: Any = None,
        **others: Any,
    ) -> None:
        self.module, self.input_specs = module, input_specs
        self.compilation_settings = compilation_settings or CompilationSettings()
        self._cache = engine_cache

    def run(self, *args: Any, **kwargs: Any) -> TRTInterpreterResult:
        """Make the engine.

        Raises:
            UnsupportedOperatorException: part of the graph does not convert.
        """
        found = interpret_module_to_result(
            self.module, self.input_specs, self.compilation_settings, engine_cache=self._cache
        )
        return TRTInterpreterResult(*found)


class FxInterpreter:
    """`fx.TRTInterpreter`: makes the engine of a module that `torch.fx.symbolic_trace` gave.

    Args:
        module: the module.
        input_specs: `InputTensorSpec`s or example tensors.
        explicit_batch_dimension, explicit_precision: networks have both here, whatever is said.
        logger_level: see `torch_tensorrt.logging`.
    """

    def __init__(
        self,
        module: GraphModule,
        input_specs: Sequence[Any],
        explicit_batch_dimension: bool = False,
        explicit_precision: bool = False,
        logger_level: Any = None,
    ) -> None:
        self.module = module
        self.input_specs = [item.declared() if isinstance(item, InputTensorSpec) else item for item in input_specs]

    def run(
        self, *args: Any, lower_precision: LowerPrecision = LowerPrecision.FP32, **builder_options: Any
    ) -> FxInterpreterResult:
        """Make the engine.

        Args:
            args, builder_options: of that front end's builder ("max_batch_size" and the like), which say nothing here.
            lower_precision: that the engine computes in.

        Raises:
            UserError: part of the module does not convert, with the reasons.
        """
        kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
        precisions = {kinds[LowerPrecision(lower_precision).value]}
        engine: Any = serialized_engine(self.module, self.input_specs, enabled_precisions=precisions)
        return FxInterpreterResult(engine, list(engine.arguments), list(engine.results), bytearray())


class TRTModule(TorchTensorRTModule):
    """`fx.TRTModule`: runs the engine that `fx.TRTInterpreter` gave, on a GPU.

    Args:
        engine: the engine.
        input_names, output_names: the bindings that it takes and returns, in this order.
        cuda_graph_batch_size: as there; see `torch_tensorrt.runtime.enable_cudagraphs`.
    """

    def __init__(
        self,
        engine: Any = None,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        cuda_graph_batch_size: int = -1,
    ) -> None:
        super().__init__(engine, input_names, output_names)
        self.input_names, self.output_names = input_names, output_names
