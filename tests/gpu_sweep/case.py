"""One network of a layer or a few, and what PyTorch computes for the same: the unit of the sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trt_passes.compiler.tensorrt.context import ConverterContext
from trt_passes.compiler.tensorrt.loader import load
from trt_passes.compiler.tensorrt.log import collecting_logger, error_lines

Build = Callable[[ConverterContext, Sequence[Any]], Any]
"""`(ctx, inputs)` to the result, as `ITensor`s; `ctx.network` and `ctx.trt` add layers."""


@dataclass(frozen=True)
class Case:
    """A network and its oracle.

    Attributes:
        name: unique; says the layer, the type and what its operands are.
        inputs: the network's inputs.
        build: adds the layers.
        eager: what PyTorch computes from the inputs.
        tolerance: relative and absolute; None for equality.
        timed: whether to measure how long the engine takes.
    """

    name: str
    inputs: tuple[torch.Tensor, ...]
    build: Build
    eager: Callable[..., torch.Tensor]
    tolerance: tuple[float, float] | None = None
    timed: bool = False


class Refused(Exception):
    """TensorRT did not take the network, or built no engine of it."""


@dataclass(frozen=True)
class Made:
    """The network of a case, with what must live as long as it."""

    library: Any
    log: Any
    builder: Any
    network: Any
    kept_alive: Sequence[Any]

    def plan(self) -> Any:
        """The serialized engine."""
        config = self.builder.create_builder_config()
        plan = self.builder.build_serialized_network(self.network, config)
        if plan is None:
            raise Refused("not built: " + "; ".join(error_lines(self.log.records))[:300])
        return plan


def made(case: Case) -> Made:
    """The network of a case.

    Raises:
        Refused: TensorRT does not take it, as not every layer has every type.
    """
    library = load()
    log = collecting_logger(library.module)
    builder = library.module.Builder(log)
    network = library.create_network(builder)
    ctx = ConverterContext(library, network, log)
    inputs = [
        network.add_input(f"x{index}", ctx.data_type(tensor.dtype), tuple(tensor.shape))
        for index, tensor in enumerate(case.inputs)
    ]
    try:
        result = case.build(ctx, inputs)
        _ = result.shape
    except Exception as error:
        raise Refused("; ".join(error_lines(log.records))[:300] or str(error)[:300]) from error
    if result.is_network_input or ctx.network.get_layer(ctx.network.num_layers - 1).type.name == "CONSTANT":
        result = network.add_identity(result).get_output(0)
    result.name = "y"
    network.mark_output(result)
    return Made(library, log, builder, network, ctx.kept_alive)
