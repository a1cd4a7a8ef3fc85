"""The network of one segment: `NetworkBuilder` makes it, `BuiltNetwork` is the result."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sympy
import torch
from torch.fx import Node

from ..ir.call import Call
from ..ir.engine_spec import Binding
from ..ir.input import Profile
from ..ir.symbols import Dim, Range, dim_range, dims_of, is_static, symbol_sources
from .builders import builder_guard
from .clamps import limit_from_above_first
from .context import ConversionError, ConverterContext
from .elu_beside_loops import write_elu_as_selu
from .kernel_size import largest_kernel
from .layers import network_text
from .loader import TensorRT
from .log import collecting_logger
from .repeated_sums import repeat_small_sums
from .row_chains import copy_rows_of_chains
from .same_elements import copy_scattered_tensors, with_elements_of_their_own
from .slice_copies import copy_sliced_tensors
from .tensor import Tensor


@dataclass(frozen=True, eq=False)
class BuiltNetwork:
    """A TensorRT network with everything that must live as long as it does.

    Attributes:
        trt: the TensorRT library that it belongs to.
        builder: the `Builder` that made it; engines are built with it.
        network: the `INetworkDefinition`.
        log: the builder's logger; `log.records` has all messages so far.
        inputs, outputs: what crosses its border, in order, with the ranges of an optimization profile.
        layer_nodes: the fx node that each layer comes from, by layer name.
        kept_alive: the memory of the weights, which the network only points to.
        node_tensors: the names of the tensors that are the values of fx nodes; "" where a result is none.
        unreadable: the values of constants that TensorRT does not give back, by layer name.
        exact: whether float32 products must be exact in it, so that TF32 is not for them.
    """

    trt: TensorRT
    builder: Any = field(repr=False)
    network: Any = field(repr=False)
    log: Any = field(repr=False)
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    layer_nodes: Mapping[str, str] = field(repr=False)
    kept_alive: tuple[torch.Tensor, ...] = field(repr=False)
    node_tensors: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    unreadable: Mapping[str, torch.Tensor] = field(repr=False, default_factory=dict)
    exact: bool = False

    @property
    def size(self) -> int:
        """Number of layers other than constants and casts of them, which cost the builder nothing."""
        kinds = self.trt.module.LayerType
        layers = [self.network.get_layer(index) for index in range(self.network.num_layers)]
        constants = {layer.get_output(0).name for layer in layers if layer.type == kinds.CONSTANT}
        folded = [layer for layer in layers if layer.type == kinds.CAST and layer.get_input(0).name in constants]
        return len(layers) - len(constants) - len(folded)

    @property
    def largest_kernel(self) -> int:
        """Number of layers that may become one kernel, at most; see `kernel_size`."""
        return largest_kernel(self.trt, self.network)

    def text(self) -> str:
        """One line per input, layer and output, with the fx nodes they come from."""
        return network_text(self.trt, self.network)


class NetworkBuilder:
    """Makes the network of one segment: inputs first, then calls in graph order, then `finish`.

    Args:
        library: the TensorRT library.
        constants: the model's constant tensors by placeholder name.
        ranges: the range of every symbol of the program.
        converter_of: the function that converts calls of an operator, for graphs inside of operators; None if none.
        use_fp32_acc: whether the terms of matrix products of halves are added up in float32.
        nodes: the names of all nodes of the segment.
        outputs: the names of those that leave it.
        profiles: the ranges in each optimization profile; none if there is one only, which `ranges` has.
    """

    def __init__(
        self,
        library: TensorRT,
        constants: Mapping[str, torch.Tensor],
        ranges: Mapping[sympy.Symbol, Range],
        converter_of: Callable[[Any], Any] = lambda target: None,
        use_fp32_acc: bool = True,
        nodes: Collection[str] = (),
        profiles: Sequence[Mapping[sympy.Symbol, Range]] = (),
        outputs: Collection[str] = (),
    ) -> None:
        self._library, self._ranges = library, ranges
        self._profiles = profiles if len(profiles) > 1 else ()
        self._log = collecting_logger(library.module)
        with builder_guard():
            self._builder = library.module.Builder(self._log)
        self._network = library.create_network(self._builder)
        self._inputs: list[Binding] = []
        self._names: set[str] = set()
        self.context = ConverterContext(
            library,
            self._network,
            self._log,
            constants,
            converter_of,
            use_fp32_acc,
            ranges,
            nodes,
            several_profiles=len(self._profiles) > 1,
            outputs=outputs,
        )

    def add_inputs(self, nodes: Iterable[Node]) -> None:
        """Make nodes inputs of the network; sizes are computed from their shapes."""
        shapes: dict[str, Sequence[Dim]] = {}
        for node in nodes:
            binding = self._binding(node)
            self._add_input(node.name, binding.name, node.meta["val"])
            self._inputs.append(binding)
            shapes[node.name] = dims_of(node.meta["val"].shape)
        self.context.sizes.sources = symbol_sources(shapes)

    def convert(self, call: Call, function: Callable[[ConverterContext, Call], Any]) -> None:
        """Add the layers of a call.

        Raises:
            ConversionError: the converter or TensorRT refused.
            UnderivableSize: it needs a size that the network's inputs do not tell.
        """
        self.context.convert(call, function)

    def substitute(self, call: Call) -> None:
        """Let a call that failed yield inputs, so that the calls after it can be tried; the network is then useless."""
        outs = call.out if isinstance(call.out, tuple | list) else (call.out,)
        results = []
        for index, out in enumerate(outs):
            name = f"{call.name}.substitute.{index}"
            results.append(self._add_input(name, name, out) if isinstance(out, torch.Tensor) else None)
        self.context.bind(call.name, tuple(results) if isinstance(call.out, tuple | list) else results[0])

    def finish(self, outputs: Iterable[Node]) -> BuiltNetwork:
        """Mark the outputs and return the network."""
        write_elu_as_selu(self.context)
        limit_from_above_first(self.context)
        repeat_small_sums(self.context)
        copy_sliced_tensors(self.context)
        copy_rows_of_chains(self.context)
        copy_scattered_tensors(self.context)
        bindings = []
        nodes = list(outputs)
        tensors = with_elements_of_their_own(self.context, {n.name: self.context.value(n.name) for n in nodes})
        for node in nodes:
            self.context.begin(node.name)
            tensor = self._own_tensor(tensors[node.name])
            binding = replace(self._binding(node), alias=self.context.aliases.get(node.name))
            tensor.trt.name = binding.name
            self._network.mark_output(tensor.trt)
            bindings.append(binding)
        return BuiltNetwork(
            trt=self._library,
            builder=self._builder,
            network=self._network,
            log=self._log,
            inputs=tuple(self._inputs),
            outputs=tuple(bindings),
            layer_nodes=dict(self.context.layer_nodes),
            kept_alive=tuple(self.context.kept_alive),
            node_tensors=self.context.node_tensors(),
            unreadable=dict(self.context.unreadable),
        )

    def _own_tensor(self, tensor: Tensor) -> Tensor:
        """The tensor itself where it can be an output, else a copy: inputs and constants cannot."""
        trt = tensor.trt
        if not (trt.is_network_input or self.context.is_constant(tensor)):
            return tensor
        return self.context.emit(self._network.add_identity(trt), tensor.shape, "output")

    def _add_input(self, name: str, binding: str, value: torch.Tensor) -> Tensor:
        shape = dims_of(value.shape)
        dims = tuple(size if isinstance(size, int) else -1 for size in shape)
        self.context.begin(name)
        tensor = self._network.add_input(binding, self.context.data_type(value.dtype), dims)
        if tensor is None:
            raise ConversionError(name, f"TensorRT refused the input {binding} of shape {dims}")
        result = Tensor(tensor, value.dtype, shape)
        self.context.bind(name, result)
        return result

    def _binding(self, node: Node) -> Binding:
        value = node.meta["val"]
        shape = dims_of(value.shape)
        sizes = tuple(size if isinstance(size, int) else str(size) for size in shape)
        profiles = () if is_static(shape) else tuple(_corners(shape, ranges) for ranges in self._profiles)
        name = self._binding_name(node.name)
        return Binding(name, value.dtype, sizes, *_corners(shape, self._ranges), profiles=profiles)

    def _binding_name(self, name: str) -> str:
        wanted = re.sub(r"\W", "_", name)
        unique, count = wanted, 1
        while unique in self._names:
            count += 1
            unique = f"{wanted}_out" if count == 2 else f"{wanted}_out{count - 1}"
        self._names.add(unique)
        return unique


def _corners(shape: Sequence[Dim], ranges: Mapping[sympy.Symbol, Range]) -> Profile:
    corners = [dim_range(size, ranges) for size in shape]
    low, usual, high = (tuple(corner[index] for corner in corners) for index in range(3))
    return low, usual, high
