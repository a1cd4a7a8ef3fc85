"""`ConversionContext`: what a converter that was written for Torch-TensorRT is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch._guards import detect_fake_mode
from torch._subclasses.fake_tensor import FakeTensorMode

from ..ir.symbols import dims_of
from ..tensorrt.context import ConverterContext
from ..tensorrt.dtypes import from_trt
from ..tensorrt.registry import Registry, default_registry
from .compilation_settings import CompilationSettings
from .mistakes import NotPossible


@dataclass
class ConversionContext:
    """What a converter is given: TensorRT's network, as `net`, options, and this package's own context.

    Attributes:
        net: the `INetworkDefinition`.
        compilation_settings: options of the compilation.
        own: this package's context.
        requires_output_allocator: whether a size of a result is known only when the engine runs.
        requires_native_multidevice: as there.
    """

    net: Any
    compilation_settings: CompilationSettings
    own: ConverterContext
    requires_output_allocator: bool = False
    requires_native_multidevice: bool = False
    mode: Any = field(default=None, repr=False)
    values: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    number: int = 0

    @property
    def registry(self) -> Registry:
        """The converters of this package."""
        return default_registry()

    def record_weight(self, name: str, weight: Any) -> None:
        """Nothing: weights that may change are inputs of an engine, see `immutable_weights`."""

    def clear_cpu_weights_reference_holder(self) -> None:
        """Nothing: weights are kept for as long as the network lives."""

    def next_number(self) -> int:
        """Another number for each call."""
        self.number += 1
        return self.number

    def noted(self, tensor: Any, value: torch.Tensor) -> Any:
        """A tensor of the network, whose shape and type are remembered as PyTorch has them."""
        self.values[tensor.name] = value
        return tensor

    def value_of(self, item: Any) -> torch.Tensor:
        """What PyTorch knows of a tensor of the network, or of a constant: a fake tensor.

        Raises:
            RuntimeError: sizes of it vary, and layers of the converter's own made it.
        """
        if isinstance(item, torch.Tensor):
            with self._mode():
                return torch.empty_like(item, device="cpu")
        if item.name in self.values:
            return self.values[item.name]
        shape = tuple(item.shape)
        if any(size < 0 for size in shape):
            raise NotPossible(
                f"sizes of {item.name} vary, and are known to TensorRT only: go on with layers of ctx.net, or make it "
                "by functions of impl."
            )
        with self._mode():
            return torch.empty(shape, dtype=from_trt(item.dtype))

    def dims_of(self, value: torch.Tensor) -> Any:
        """The sizes of a fake tensor, as the network's context has them."""
        return dims_of(value.shape)

    def result_of(self, operator: Any, args: Any, kwargs: Any) -> Any:
        """What PyTorch knows of an operator's result."""
        with self._mode():
            return operator(*args, **kwargs)

    def _mode(self) -> Any:
        if self.mode is None:
            self.mode = detect_fake_mode(tuple(self.values.values())) or FakeTensorMode()
        return self.mode
