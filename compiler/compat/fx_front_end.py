"""What Torch-TensorRT's fx front end has beside `compile`: its specification of inputs, and its own `compile`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch

from ..ir.input import Input as Declared
from .compilation import compile as compile_model
from .mistakes import InvalidValue


class LowerPrecision(Enum):
    """The precision that a model is computed in."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


@dataclass(frozen=True)
class InputTensorSpec:
    """An input of a model.

    Attributes:
        shape: its sizes; -1 for those that vary, as `shape_ranges` say.
        dtype: of the tensor.
        device: where examples are made.
        shape_ranges: one (smallest, usual, largest) shape for sizes that vary.
        has_batch_dim: whether the first size is the batch.
    """

    shape: Sequence[int]
    dtype: torch.dtype
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    shape_ranges: Sequence[tuple[Sequence[int], Sequence[int], Sequence[int]]] = ()
    has_batch_dim: bool = True

    @classmethod
    def from_tensor(cls, tensor: torch.Tensor) -> InputTensorSpec:
        """The input that a tensor is an example of."""
        return cls(tuple(tensor.shape), tensor.dtype, tensor.device)

    @classmethod
    def from_tensors(cls, tensors: Iterable[torch.Tensor]) -> list[InputTensorSpec]:
        """The inputs that some tensors are examples of."""
        return [cls.from_tensor(tensor) for tensor in tensors]

    def declared(self) -> Declared:
        """The same input as `trt_passes.Input` has it."""
        if not self.shape_ranges:
            if any(size < 0 for size in self.shape):
                raise InvalidValue(f"the shape {self.shape!r} has sizes that vary: give shape_ranges.")
            return Declared(self.shape, dtype=self.dtype)
        return Declared(profiles=list(self.shape_ranges), dtype=self.dtype)

    def to_random_tensor(self, id: int = 1) -> torch.Tensor:
        """An example: of the smallest, usual or largest shape (0, 1 or 2) where sizes vary."""
        shape = self.shape_ranges[0][id] if self.shape_ranges else self.shape
        return self.declared().example(self.device, tuple(shape))


def traced(module: torch.nn.Module, sample_inputs: Sequence[Any] = (), **options: Any) -> torch.fx.GraphModule:
    """`acc_tracer.trace`: a module as `torch.fx.symbolic_trace` takes it.

    Args:
        module: the module.
        sample_inputs, options: as there; what is traced is normalized when it is compiled.
    """
    return torch.fx.symbolic_trace(module)


def compile(
    module: torch.nn.Module,
    input: Sequence[Any],
    min_acc_module_size: int = 10,
    lower_precision: LowerPrecision | str = LowerPrecision.FP32,
    **options: Any,
) -> torch.nn.Module:
    """`torch_tensorrt.fx.compile`: a module that `torch.fx.symbolic_trace` takes.

    Args:
        module: the model.
        input: `InputTensorSpec`s or example tensors.
        min_acc_module_size: the option `min_block_size`.
        lower_precision: what `enabled_precisions` has, beside float32.
        options: those of `torch_tensorrt.compile`. Others of that front end say how its engines are built, and are
            left out: "max_batch_size" and the like.
    """
    precision = LowerPrecision(lower_precision) if isinstance(lower_precision, str) else lower_precision
    wanted = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision.value]
    declared = [item.declared() if isinstance(item, InputTensorSpec) else item for item in input]
    chosen = {name: value for name, value in options.items() if name not in _OF_THEIR_BUILDER}
    compiled: torch.nn.Module = compile_model(
        module, "fx", declared, enabled_precisions={wanted}, min_block_size=min_acc_module_size, **chosen
    )
    return compiled


_OF_THEIR_BUILDER = frozenset(
    {
        "max_batch_size",
        "max_workspace_size",
        "explicit_batch_dimension",
        "explicit_precision",
        "verbose_log",
        "timing_cache_prefix",
        "save_timing_cache",
        "cuda_graph_batch_size",
        "dynamic_batch",
        "is_aten",
        "use_experimental_rt",
        "use_experimental_fx_rt",
        "correctness_atol",
        "correctness_rtol",
    }
)
