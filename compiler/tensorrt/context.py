"""`ConverterContext`: what converters build a network with; every layer is named, traced and type-checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import Any

import sympy
import torch
from torch.fx import Node

from ..ir.call import Call
from ..ir.dtypes import INT4, short_name
from ..ir.memory import view_key
from ..ir.packed_numbers import pack_four_bits
from ..ir.program import is_symbolic
from ..ir.symbols import Dim, Range, dims_of, expression
from .dtypes import from_trt, to_trt
from .loader import TensorRT, tensor_shape
from .log import error_lines
from .sizes import Sizes
from .tensor import DeferredTensor, Tensor
from .uniform import UniformTensors
from .weights import as_weights, storable

Value = Tensor | DeferredTensor | tuple[Tensor | None, ...] | None

ConvertFunction = Callable[["ConverterContext", Call], Value]
"""`(ctx, call)` to the call's tensor, a tuple of them (None for results that the layers do not compute), or None for a
size."""


class ConversionError(RuntimeError):
    """A node could not be converted; `node` names it, the message says why, in TensorRT's own words if it refused."""

    def __init__(self, node: str, message: str) -> None:
        self.node, self.message = node, message
        super().__init__(f"node {node}: {message}")


class ConverterContext:
    """Builds the network of one segment.

    Converters use `tensor` for their inputs, `network` and `trt` to add layers, and `emit` around every layer.

    Attributes:
        library: the TensorRT library.
        network: the `INetworkDefinition` under construction.
        kept_alive: the memory of all weights; TensorRT only points to it.
        unreadable: the values of constants that TensorRT does not give back, by layer name.
        layer_nodes: the fx node of every layer, by layer name.
        sizes: computes symbolic sizes.
        converter_of: the function that converts calls of an operator, for graphs inside of operators; None if none.
        use_fp32_acc: whether the terms of matrix products of halves are added up in float32.
        nodes: the names of all nodes that this network is made of, those to come as well.
        several_profiles: whether the engine has several optimization profiles.
        outputs: the names of the nodes whose results leave the network.
        aliases: the nodes whose results are in the memory of an input, with the name of that binding.
        apart: copies of tensors that kernels read as they are, by name of the tensor.
    """

    def __init__(
        self,
        library: TensorRT,
        network: Any,
        log: Any,
        constants: Mapping[str, torch.Tensor] | None = None,
        converter_of: Callable[[Any], Any] = lambda target: None,
        use_fp32_acc: bool = True,
        ranges: Mapping[sympy.Symbol, Range] | None = None,
        nodes: Collection[str] = (),
        several_profiles: bool = False,
        outputs: Collection[str] = (),
    ) -> None:
        self.several_profiles, self.outputs = several_profiles, frozenset(outputs)
        self.aliases: dict[str, str] = {}
        self.apart: dict[str, Tensor] = {}
        self.library, self.network, self.converter_of = library, network, converter_of
        self.use_fp32_acc, self.nodes = use_fp32_acc, frozenset(nodes)
        self.kept_alive: list[torch.Tensor] = []
        self.unreadable: dict[str, torch.Tensor] = {}
        self.layer_nodes: dict[str, str] = {}
        self.sizes = Sizes(self, ranges or {})
        self._log = log
        self._constants = dict(constants or {})
        self._values: dict[str, Value] = {}
        self._segment_values = self._values
        self._shared: dict[Any, Tensor] = {}
        self._copies: dict[Any, torch.Tensor] = {}
        self._constant_tensors: set[str] = set()
        self._uniform = UniformTensors()
        self._node = ""
        self._owners: tuple[str, ...] = ()
        self._log_start = 0
        self._last_layer = ""
        self._names: Counter[str] = Counter()

    @property
    def trt(self) -> ModuleType:
        """The TensorRT module, for its enumerations."""
        return self.library.module

    def data_type(self, dtype: torch.dtype) -> Any:
        """The `trt.DataType` of a torch dtype."""
        return to_trt(self.trt, dtype)

    # --- values of nodes ------------------------------------------------------------------------------------------- -
    def begin(self, node: str) -> None:
        """Attribute the layers that follow to a node."""
        self._node = node

    def bind(self, name: str, value: Value) -> None:
        """Set the value of a node."""
        self._values[name] = value

    def lend_constant(self, name: str, values: torch.Tensor) -> None:
        """Let a name stand for a constant, as that of a weight of the model does, until it is forgotten."""
        self._constants[name] = values

    def forget(self, names: Iterable[str]) -> None:
        """End what names that are no nodes of the segment stand for."""
        for name in names:
            self._values.pop(name, None)
            self._constants.pop(name, None)

    def node_tensors(self) -> dict[str, tuple[str, ...]]:
        """The names of the tensors that are the values of the segment's nodes; "" for what is no tensor."""
        groups = {name: value if isinstance(value, tuple) else (value,) for name, value in self._segment_values.items()}
        return {name: tuple(map(self._tensor_name, group)) for name, group in groups.items()}

    def _tensor_name(self, value: Any) -> str:
        if isinstance(value, DeferredTensor):
            value = self._shared.get((value.key, value.rank))
        return value.trt.name if isinstance(value, Tensor) else ""

    @contextmanager
    def subgraph(self, label: str, constants: Mapping[str, torch.Tensor]) -> Iterator[None]:
        """Convert nodes of a graph that is an argument of the current node: their names have values of their own.

        Layers still belong to the current node, and are named after `label` and the node of the graph.

        Args:
            label: which graph it is, such as "body".
            constants: the constant tensors that the graph gets as inputs, by placeholder name.
        """
        outer = self._values, self._constants, self._node, self._owners
        self._values, self._constants, self._owners = {}, dict(constants), (*self._owners, self._node, label)
        try:
            yield
        finally:
            self._values, self._constants, self._node, self._owners = outer

    @contextmanager
    def widened(self, nodes: Iterable[Node]) -> Iterator[None]:
        """Within, the values of some nodes, which are halves, are float32: constants converted, others cast."""
        names = [node.name for node in nodes]
        outer = {name: self._values.get(name) for name in names}
        constants = {name: self._constants[name] for name in names if name in self._constants}
        for name in names:
            if name in constants:
                self._constants[name] = self._in_float32(constants[name])
                self._values.pop(name, None)
            else:
                narrow = self.value(name)
                layer = self.network.add_cast(narrow.trt, self.data_type(torch.float32))
                self._values[name] = self.emit(layer, narrow.shape, "wide")
        try:
            yield
        finally:
            self._constants.update(constants)
            for name, value in outer.items():
                self._values.pop(name, None)
                if value is not None:
                    self._values[name] = value

    def _in_float32(self, values: torch.Tensor) -> torch.Tensor:
        key = ("float32", view_key(values))
        if key not in self._copies:
            self._copies[key] = values.float()
        return self._copies[key]

    def segment_input(self, name: str) -> Tensor:
        """The tensor of an input of the network, also from inside a subgraph.

        Raises:
            ConversionError: the network has no such input.
        """
        value = self._segment_values.get(name)
        if not isinstance(value, Tensor):
            raise ConversionError(self._node, f"%{name} is not a tensor of this network")
        return value

    def value(self, name: str) -> Tensor:
        """The tensor that a node yields; a parameter or constant becomes a layer when it is first used.

        Raises:
            ConversionError: the node yields no tensor here.
        """
        if name not in self._values and name in self._constants:
            self._values[name] = self._stored(name, self._constants[name])
        value = self._values.get(name)
        if isinstance(value, DeferredTensor):
            return self._made(value, value.rank)
        if not isinstance(value, Tensor):
            raise ConversionError(self._node, f"its input %{name} is not a tensor of this network")
        return value

    def tensor(self, argument: Any) -> Tensor:
        """An argument of a call as a tensor: a node's value, or a constant for a Python number or a size."""
        if isinstance(argument, Node):
            if isinstance(argument.meta.get("val"), torch.Tensor):
                return self.value(argument.name)
            argument = argument.meta.get("val")
        return self.scalar(argument)

    def has(self, node: Node) -> bool:
        """Whether a node's value is in this network, or is a constant."""
        return node.name in self._values or node.name in self._constants

    def optional(self, argument: Any) -> Tensor | None:
        """Like `tensor`, with None for None."""
        return None if argument is None else self.tensor(argument)

    def results(self, node: Node) -> tuple[Tensor | None, ...]:
        """The results of a node that yields several."""
        value = self._values.get(node.name)
        if not isinstance(value, tuple):
            raise ConversionError(self._node, f"its input %{node.name} does not yield several tensors")
        return value

    def constant_value(self, argument: Any) -> torch.Tensor | None:
        """The values of an argument that is a parameter, a buffer or a constant of the model; else None."""
        return self._constants.get(argument.name) if isinstance(argument, Node) else None

    # --- layers ---------------------------------------------------------------------------------------------------- -
    def emit(self, layer: Any, shape: Sequence[Dim], role: str = "") -> Tensor:
        """Name, trace and check a layer that was just added, and return its result.

        The result knows its values where they are all one number (see `uniform`).

        Args:
            layer: what `network.add_…` returned.
            shape: the symbolic shape that the result must have.
            role: what the layer is for, as the suffix of its name; the node's main layer has none.

        Raises:
            ConversionError: TensorRT refused the layer, or infers another shape.
        """
        self.enter(layer, role)
        return replace(self.output(layer, 0, shape), constant=self._uniform.result(layer))

    def enter(self, layer: Any, role: str = "") -> None:
        """Name and trace a layer, without asking for its results (which `output` gives)."""
        if layer is None:
            raise ConversionError(self._node, self._refusal("TensorRT refused the layer"))
        owner = self._owners[0] if self._owners else self._node
        layer.name = self._unique(".".join([*self._owners, self._node, *([role] if role else [])]))
        layer.metadata = f"[fx:{owner}]"
        self.layer_nodes[layer.name] = owner
        self._last_layer = layer.name

    def number_of(self, tensor: Any) -> float | None:
        """The number that all elements of an `ITensor` are; None if that is not known."""
        number = self._uniform.number(tensor)
        return None if number is None else number.item()

    def output(self, layer: Any, index: int, shape: Sequence[Dim]) -> Tensor:
        """A result of a layer, checked."""
        return self.check(layer.get_output(index), shape)

    def check(self, tensor: Any, shape: Sequence[Dim]) -> Tensor:
        """An `ITensor` with its dtype and symbolic shape. Reading the shape makes TensorRT infer and check it."""
        inferred = tensor_shape(tensor)
        if inferred is None:
            raise ConversionError(self._node, self._refusal("TensorRT could not infer the result's shape"))
        agree = len(inferred) == len(shape) and all(
            actual == wanted or actual < 0 or not isinstance(wanted, int)
            for actual, wanted in zip(inferred, shape, strict=True)
        )
        if not agree:
            text = ",".join(map(str, shape))
            raise ConversionError(self._node, f"TensorRT infers the shape {list(inferred)}, PyTorch has [{text}]")
        return Tensor(tensor, from_trt(tensor.dtype), tuple(shape))

    def _unique(self, name: str) -> str:
        # Node names contain no dots, so a name with a number after the dot cannot be another node's.
        count = self._names[name]
        self._names[name] += 1
        return name if count == 0 else f"{name}.{count}"

    def _refusal(self, fallback: str) -> str:
        lines = error_lines(self._log.records[self._log_start :])
        return "; ".join(lines) or fallback

    # --- constants ------------------------------------------------------------------------------------------------- -
    def constant(self, value: torch.Tensor, role: str = "constant") -> Tensor:
        """A tensor of values as a constant layer, without a copy where its layout allows; bf16 is stored as f32.

        Raises:
            ConversionError: TensorRT has no constants of the dtype.
        """
        if value.dtype == torch.float8_e4m3fn:
            return self.stored(value, value.dtype, role)
        try:
            stored = storable(value)
        except TypeError as error:
            raise ConversionError(self._node, str(error)) from error
        self.kept_alive.append(stored)
        layer = self.network.add_constant(tuple(stored.shape), as_weights(self.library, stored))
        result = self.emit(layer, tuple(stored.shape), role)
        self._constant_tensors.add(result.trt.name)
        self._uniform.constant(result.trt, stored)
        if value.dtype != stored.dtype:
            layer = self.network.add_cast(result.trt, self.data_type(value.dtype))
            result = self.emit(layer, result.shape, f"{role}.cast")
        return replace(result, constant=value)

    def is_constant(self, tensor: Tensor) -> bool:
        """Whether a tensor is the result of a constant layer."""
        return tensor.trt.name in self._constant_tensors

    def writes_in_place(self, node: Node, written: Any, tensor: Tensor) -> bool:
        """Whether the result of a node can be in the memory of a cache that it writes to, which is noted then.

        Args:
            node: whose result is the cache with what was written.
            written: the node of the cache, which nothing else may read.
            tensor: its value, [B,H,M,D].
        """
        fixed = tensor.rank == 4 and all(isinstance(size, int) for size in tensor.shape[1:])
        able = hasattr(self.network, "add_kv_cache_update") and tensor.trt.is_network_input and not self._owners
        readers = [user for user in written.users if not is_symbolic(user)]
        if not (fixed and able and node.name in self.outputs and readers == [node]):
            return False
        self.aliases[node.name] = tensor.trt.name
        return True

    def with_rank(self, argument: Any, rank: int) -> Tensor | None:
        """A parameter, buffer or constant of the model with dimensions of size 1 in front, up to `rank`; else None.

        It is one constant layer on the model's memory, where reshaping `tensor(argument)` takes another layer. So is
        a weight that is stored quantised, with the layer that dequantises it.
        """
        weight = self._values.get(argument.name) if isinstance(argument, Node) else None
        if isinstance(weight, DeferredTensor):
            return self._made(weight, max(rank, weight.rank))
        values = self.constant_value(argument)
        return None if values is None else self._stored(argument.name, values[(None,) * (rank - values.dim())])

    def _made(self, deferred: DeferredTensor, rank: int) -> Tensor:
        """A deferred tensor, made once for each rank."""
        key = (deferred.key, rank)
        if key not in self._shared:
            node, self._node = self._node, deferred.name
            self._shared[key] = deferred.layers(rank)
            self._node = node
        return self._shared[key]

    def stored(self, values: torch.Tensor, dtype: torch.dtype, role: str) -> Tensor:
        """A constant of a type that numpy lacks: float8_e4m3fn, or int4 for the numbers -8 to 7 of an int8 tensor.

        TensorRT does not give their values back, so they are kept in `unreadable` too.
        """
        values = values.detach().cpu().contiguous()
        memory = pack_four_bits(values) if dtype == INT4 else values
        self.kept_alive.append(memory)
        weights = self.trt.Weights(self.data_type(dtype), memory.data_ptr(), values.numel())
        result = self.emit(self.network.add_constant(tuple(values.shape), weights), tuple(values.shape), role)
        self.unreadable[self._last_layer] = values
        return result

    def copied_matrix(self, argument: Any, rank: int, rows: int, transposed: bool) -> Tensor | None:
        """Like `with_rank`, a copy of a matrix, for as long as the network lives.

        Args:
            argument: a constant of two dimensions; for anything else there is no result.
            rank: of the result.
            rows: at least those of `argument`; what is added are zeros.
            transposed: exchange the dimensions, of the rows too.
        """
        values = self.constant_value(argument)
        if values is None or values.dim() != 2:
            return None
        key = ("transposed" if transposed else "padded", rows, view_key(values))
        if key not in self._copies:
            shape = (values.shape[1], rows) if transposed else (rows, values.shape[1])
            copy = values.new_zeros(shape, device="cpu")
            (copy.t() if transposed else copy)[: values.shape[0]] = values
            self._copies[key] = copy
        return self._stored(argument.name, self._copies[key][(None,) * (rank - 2)])

    def scalar(self, value: Any, dtype: torch.dtype | None = None, rank: int = 0) -> Tensor:
        """A Python number, SymInt or SymFloat as a tensor of size 1 in each of `rank` dimensions, made once."""
        value = expression(value)
        natural = _natural_dtype(value)
        if natural is None:
            return self._symbolic_scalar(value)
        key = (repr(value), dtype or natural, rank)
        if key not in self._shared:
            tensor = torch.full((1,) * rank, value, dtype=dtype or natural)
            self._shared[key] = self.constant(tensor)
        shared = self._shared[key]
        return replace(shared, weak=dtype is None)

    def _symbolic_scalar(self, value: Any) -> Tensor:
        size = self.sizes.tensor(value)
        layer = self.network.add_shuffle(size.trt)
        layer.reshape_dims = ()
        scalar = self.emit(layer, (), "size")
        return Tensor(scalar.trt, scalar.dtype, (), weak=True)

    def _stored(self, name: str, values: torch.Tensor) -> Tensor:
        """A constant of the model as a layer of its name, once for the same memory in the same shape."""
        key = view_key(values)
        if key not in self._shared:
            node, self._node = self._node, name
            self._shared[key] = self.constant(values, role="")
            self._node = node
        return self._shared[key]

    # --- results --------------------------------------------------------------------------------------------------- -
    def convert(self, call: Call, convert: Any) -> None:
        """Run a converter on a call and bind what it yields.

        Raises:
            ConversionError: the converter failed, TensorRT refused, or the result is not what PyTorch yields.
        """
        self.begin(call.name)
        self._log_start = len(self._log.records)
        result = convert(self, call)
        if result is None and isinstance(call.out, torch.Tensor) and call.node.users:
            raise ConversionError(call.name, "the converter yields nothing, where PyTorch yields a tensor")
        if isinstance(result, tuple):
            self.bind(call.name, tuple(map(self._agreed, result, call.out)))
        else:
            self.bind(call.name, self._agreed(result, call.out))

    def _agreed(self, result: Any, out: Any) -> Any:
        """The result with the exporter's own expressions for its sizes."""
        if isinstance(result, DeferredTensor) or result is None or not isinstance(out, torch.Tensor):
            return result
        wanted = dims_of(out.shape)
        sizes_agree = result.rank == len(wanted) and all(
            left == right
            for left, right in zip(result.shape, wanted, strict=True)
            if isinstance(left, int) and isinstance(right, int)
        )
        if result.dtype != out.dtype or not sizes_agree:
            expected = f"{short_name(out.dtype)}[{','.join(map(str, wanted))}]"
            raise ConversionError(self._node, f"the converter yields {result} where PyTorch yields {expected}")
        return replace(result, shape=wanted, weak=False)


def _natural_dtype(value: Any) -> torch.dtype | None:
    if isinstance(value, bool):
        return torch.bool
    if isinstance(value, int):
        return torch.int64
    return torch.float32 if isinstance(value, float) else None
