"""What the rest of the compiler knows of a segment's TensorRT network, which `tensorrt/network.py` makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from .engine_spec import Binding


class Network(Protocol):
    """A TensorRT network with everything that must live as long as it does.

    TensorRT's own objects have no types, and mean something inside of `compiler/tensorrt` only.
    """

    @property
    def trt(self) -> Any:
        """The TensorRT library that it belongs to, a `tensorrt.loader.TensorRT`."""

    @property
    def network(self) -> Any:
        """The `INetworkDefinition`."""

    @property
    def log(self) -> Any:
        """The builder's logger; `log.records` has all messages so far."""

    @property
    def inputs(self) -> tuple[Binding, ...]:
        """What enters it, in order, with the ranges of an optimization profile."""

    @property
    def outputs(self) -> tuple[Binding, ...]:
        """What leaves it, in order."""

    @property
    def layer_nodes(self) -> Mapping[str, str]:
        """The fx node that each layer comes from, by layer name."""

    @property
    def node_tensors(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the tensors that are the values of fx nodes; "" where a result is none."""

    @property
    def kept_alive(self) -> tuple[torch.Tensor, ...]:
        """The memory of the weights, which the network only points to."""

    @property
    def unreadable(self) -> Mapping[str, torch.Tensor]:
        """The values of constants that TensorRT does not give back (float8, int4), by layer name."""

    @property
    def exact(self) -> bool:
        """Whether float32 products must be exact in it, so that TF32 is not for them."""

    @property
    def size(self) -> int:
        """Number of layers other than constants and casts of them, which cost the builder nothing."""

    @property
    def largest_kernel(self) -> int:
        """Number of layers that may become one kernel, at most."""

    def text(self) -> str:
        """One line per input, layer and output, with the fx nodes they come from."""
