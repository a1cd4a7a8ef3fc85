"""What the evaluation of one layer sees: the layer, the values of its inputs, and the error to raise about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..layers import Layer


class ExecutorError(RuntimeError):
    """A network cannot be evaluated, or TensorRT and the evaluation disagree about a tensor; names the layer."""


@dataclass(frozen=True)
class Call:
    """One evaluation of one layer.

    Attributes:
        layer: the layer; `layer.handle` has its attributes.
        inputs: the values of its inputs, None where an optional input is unset.
        output_dtypes: the data types TensorRT declares for its outputs.
        device: where the results belong.
        weights: values of weights that TensorRT cannot give back (bf16, fp8), by name.
    """

    layer: Layer
    inputs: tuple[Tensor | None, ...]
    output_dtypes: tuple[torch.dtype, ...]
    device: torch.device
    weights: Mapping[str, Tensor]

    @property
    def handle(self) -> Any:
        return self.layer.handle

    def error(self, message: str) -> ExecutorError:
        return ExecutorError(f"{self.layer}: {message}")

    def optional(self, index: int) -> Tensor | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def required(self, index: int) -> Tensor:
        value = self.optional(index)
        if value is None:
            raise self.error(f"input {index} is not set")
        return value

    def wide(self, index: int) -> Tensor:
        """An input in the type it is computed in: TensorRT accumulates f16, bf16 and fp8 in f32."""
        return widen(self.required(index))

    def ints(self, index: int) -> list[int]:
        """The values of a shape tensor input; a 0-d tensor gives one."""
        return [int(value) for value in self.required(index).reshape(-1).tolist()]

    def single_axis(self, mask: int) -> int:
        """The axis of a bit mask with exactly one bit set."""
        axes = axes_of_mask(mask)
        if len(axes) != 1:
            raise self.error(f"exactly one axis is supported, its mask has {axes}")
        return axes[0]

    def stored_weights(self, weights: Any, name: str) -> Tensor | None:
        """Weights that a layer holds itself, flat and without a copy; None where they are empty.

        Args:
            weights: the `numpy.ndarray`, or `trt.Weights` where numpy has no such type, that TensorRT returned.
            name: the key in the side table for the second case.
        """
        if weights.size == 0:
            return None
        if isinstance(weights, np.ndarray):
            return torch.from_numpy(weights.reshape(-1)).to(self.device)
        if name not in self.weights:
            raise self.error(
                f"TensorRT does not give the values of {weights.dtype.name} weights back: "
                f"pass them to the executor as weights[{name!r}]"
            )
        return self.weights[name].reshape(-1).to(self.device)


Handler = Callable[[Call], tuple[Tensor, ...]]


def widen(tensor: Tensor) -> Tensor:
    """Floating-point types narrower than f32 as f32; every other type as it is."""
    return tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor


def axes_of_mask(mask: int) -> list[int]:
    """The positions of the set bits: TensorRT's axes masks have bit 0 for the first dimension."""
    return [axis for axis in range(mask.bit_length()) if mask >> axis & 1]
