"""TorchScript, run node by node in Python: what torch.export traces of it is what it does, and knows its lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch
from torch.fx import Graph, Node
from torch.fx import traceback as fx_traceback
from torch.utils import _pytree as pytree

from ...errors import UserError
from ...ir.recurrent_cells import gru_cell, lstm_cell
from .code import Code, Op, Origin, callee_graph, class_name, function_graph, read_code
from .decisions import DeclaredSizes, both
from .fast_paths import multi_head_attention, transformer_encoder_layer
from .mkldnn import in_mkldnn
from .native import is_native, run_native
from .packed import number_in
from .quantised import call_quantised, concerns_quantised
from .traced_numbers import InTensor, as_tensors, holds_numbers, on_numbers, plain
from .twin import Twin, Unconverted
from .values import ENUMS, VALUES

_MOST_ROUNDS = 2000
_NO_GRAD = object()
"""An object of the class torch.no_grad, as `with torch.no_grad():` makes one."""

RECURRENT = MappingProxyType(
    {
        "aten::lstm.input": torch.lstm,
        "aten::gru.input": torch.gru,
        "aten::rnn_tanh.input": torch.rnn_tanh,
        "aten::rnn_relu.input": torch.rnn_relu,
    }
)
"""Functions that `WholeRecurrentLayers` replaces, for the operators that they are."""


def _convolution(*values: Any) -> Any:
    """Without the flags for cuDNN, with which PyTorch 2.11 does not trace sizes that vary."""
    return torch.ops.aten.convolution.default(*values[:9])


INSTEAD: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "aten::_convolution": _convolution,
        "aten::_convolution.deprecated": _convolution,
        "aten::lstm_cell": lstm_cell,
        "aten::gru_cell": gru_cell,
        "aten::_native_multi_head_attention": multi_head_attention,
        "aten::_transformer_encoder_layer_fwd": transformer_encoder_layer,
        "aten::size.int": torch.Tensor.size,
        "aten::stride.int": torch.Tensor.stride,
        "aten::dim": torch.Tensor.dim,
        "aten::numel": torch.Tensor.numel,
        "aten::item": torch.Tensor.item,
        "aten::index.Tensor_hacked_twin": torch.ops.aten.index.Tensor,
        "aten::index_put.hacked_twin": torch.ops.aten.index_put.default,
        "aten::index_put_.hacked_twin": torch.ops.aten.index_put_.default,
        "aten::_unsafe_index.Tensor_hacked_twin": torch.ops.aten._unsafe_index.Tensor,
        "aten::_index_put_impl_.hacked_twin": torch.ops.aten._index_put_impl_.default,
    }
)
"""What is called instead of an operator: to keep sizes symbolic, or where PyTorch has it under another name."""


_NUMBERS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"aten::Float": float, "aten::Int": int, "aten::FloatImplicit": float, "aten::IntImplicit": int}
)
"""Operators that make numbers of tensors."""


class Instance:
    """An object of a class that `@torch.jit.script` compiled, with the values of its attributes."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.values: dict[str, Any] = {}


class Raised(Exception):
    """The code raises, with its message."""


class Interpreter:
    """Runs code on values: tensors, numbers, sizes, texts, None, containers, and twins of modules.

    Args:
        sizes: decides what depends on sizes.
        path: of the module whose method is run, in the model.
    """

    def __init__(self, sizes: DeclaredSizes, path: str = "") -> None:
        self.sizes = sizes
        self._assigned: dict[tuple[Twin, str], Any] = {}
        self._read: dict[tuple[Twin, str], tuple[Any, Any]] = {}
        self._single: dict[int, tuple[torch.Tensor, Twin, str]] = {}
        self._modules: list[tuple[str, str]] = []
        self._frames: list[str] = []
        self._paths: dict[Twin, str] = {}
        self._path = path
        self._origins = Graph()
        self._functions: dict[Op, Code] = {}
        self._of_node: Callable[[Any], Origin] | None = None

    def method(self, owner: Twin, name: str, arguments: Sequence[Any]) -> Any:
        """The result of a method, called from outside; tensors that it assigns to attributes are written to buffers."""
        self._assigned.clear()
        self._read.clear()
        self._paths[owner] = self._path
        with fx_traceback.preserve_node_meta():
            result = self._method(owner, name, arguments)
            self._keep()
        return result

    def function(self, code: Code, arguments: Sequence[Any]) -> Any:
        """The result of a function."""
        with fx_traceback.preserve_node_meta():
            return self.run(code, arguments, {})[0]

    def region(self, owner: Twin, ops: Sequence[Op], known: dict[str, Any], origins: Callable[[Any], Origin]) -> None:
        """Run ops of an inlined graph, whose module `owner` is, on values by name; `known` gets what they make."""
        self._paths[owner] = ""
        self._of_node = origins
        with fx_traceback.preserve_node_meta():
            for op in ops:
                self.step(op, known)

    def run(self, code: Code, arguments: Sequence[Any], known: dict[str, Any]) -> list[Any]:
        """What a graph or block gives; `known` has the values of outer blocks by name, and gets those made here."""
        known.update(zip(code.inputs, arguments, strict=True))
        for op in code.ops:
            self.step(op, known)
        return [known[name] for name in code.outputs]

    def step(self, op: Op, known: dict[str, Any]) -> None:
        """Run one op on values by name, and add what it makes."""
        with self._origin(op):
            try:
                results = self._results(op, [known[name] for name in op.inputs], known)
            except (At, Raised, UserError):
                raise
            except Exception as error:
                raise At(op, str(error)) from error
        known.update(zip(op.outputs, results, strict=True))

    # --- state ---
    def _method(self, owner: Twin, name: str, arguments: Sequence[Any]) -> Any:
        self._modules.append((self._paths[owner], owner.ts_kind))
        try:
            return self.run(owner.ts_code(name), [owner, *arguments], {})[0]
        finally:
            self._modules.pop()

    def _attribute(self, owner: Any, name: str) -> Any:
        if isinstance(owner, Instance):
            return owner.values[name]
        if not isinstance(owner, Twin):
            raise Unconverted(f"it has an object of the class {type(owner).__name__}")
        key = (owner, name)
        if key in self._assigned:
            return self._assigned[key]
        if key in self._read:
            return self._read[key][0]
        value = owner.ts_value(name)
        if isinstance(value, torch.Tensor) and value.numel() == 1 and name not in owner.ts_written:
            self._single[id(value)] = (value, owner, name)
        if isinstance(value, Twin):
            self._paths[value] = f"{self._paths[owner]}.{name}".lstrip(".")
        elif isinstance(value, list | dict):
            self._read[key] = (value, value.copy())
        return value

    def _assign(self, owner: Any, name: str, value: Any) -> None:
        if isinstance(owner, Instance):
            owner.values[name] = value
            return
        if not isinstance(owner, Twin) or isinstance(value, Twin):
            raise Unconverted(f"it assigns a module or an object to the attribute {name!r}")
        self._assigned[owner, name] = plain(value)

    def _keep(self) -> None:
        """Write what was assigned to attributes."""
        for (_, name), (now, before) in self._read.items():
            if not _is_same(now, before):
                raise Unconverted(f"it changes the {type(now).__name__} that is the attribute {name!r}")
        final = []
        for (owner, name), value in self._assigned.items():
            kept = owner._buffers.get(name)
            if kept is None and not isinstance(value, torch.Tensor) and _is_same(value, owner.ts_value(name)):
                continue
            if kept is None or not isinstance(value, torch.Tensor):
                before = _described(owner.ts_value(name) if kept is None else kept)
                raise Unconverted(
                    f"it assigns {_described(value)} to the attribute {name!r}, which was {before}, and a graph keeps "
                    "tensors alone"
                )
            if kept.shape != value.shape or kept.dtype != value.dtype:
                raise Unconverted(
                    f"it assigns {_described(value)} to the attribute {name!r}, which was {_described(kept)}"
                )
            if kept is not value:
                final.append((kept, value.clone()))  # what is assigned may be what another attribute was
        for kept, value in final:
            kept.copy_(value)

    # --- ops ---
    def _results(self, op: Op, values: list[Any], known: dict[str, Any]) -> Sequence[Any]:
        kind = op.kind
        if kind in ("prim::Constant", "prim::ConstantMKLDNNTensor"):
            return (op.value,)
        if kind == "prim::GetAttr":
            return (self._attribute(values[0], op.name),)
        if kind == "prim::SetAttr":
            self._assign(values[0], op.name, values[1])
            return ()
        if kind == "prim::If":
            return self._if(op, values[0], known)
        if kind == "prim::Loop":
            return self._loop(op, values, known)
        if kind == "prim::CallMethod":
            return (self._called(op, values),)
        if kind == "prim::CallFunction":
            if op not in self._functions:
                self._functions[op] = read_code(function_graph(op.node))
            return self.run(self._functions[op], values[1:], {})
        if kind == "prim::fork":  # what runs beside the rest gives the same when it runs before it
            if op not in self._functions:
                self._functions[op] = read_code(op.node.g("Subgraph"))
            return self.run(self._functions[op], values, {})
        if kind == "aten::wait":
            return (values[0],)
        if kind in ("prim::TupleUnpack", "prim::ListUnpack"):
            return tuple(values[0])
        if kind in ("prim::Enter", "prim::Exit") and values[0] is _NO_GRAD:
            return (None,) if op.outputs else ()
        if kind == "prim::CreateObject" and op.node.output().type().annotation_str.endswith(".grad_mode.no_grad"):
            return (_NO_GRAD,)  # nothing here has gradients
        if kind == "prim::CreateObject":
            text = op.node.output().type().annotation_str
            if text.startswith("__torch__.torch."):
                raise Unconverted(f"it has an object of the class {class_name(op.node.output().type())}")
            return (Instance(text),)
        if kind == "prim::TupleSlice":
            return (values[0][op.node.i("beg") : op.node.i("end")],)
        if kind == "prim::RaiseException":
            raise Raised(str(values[0]))
        if kind == "prim::NumToTensor" and isinstance(values[0], int | torch.SymInt):
            return (InTensor(values[0]),)
        if kind == "aten::quantize_per_tensor":
            values[1:3] = (self._grid_number(value) for value in values[1:3])
        elif kind in _NUMBERS and self._of_quantised_module(values[0]):
            return (_NUMBERS[kind](self._grid_number(values[0])),)
        return _in_outputs(op, call(op, values))

    def _grid_number(self, value: Any) -> Any:
        """The scale or zero point in a constant, or in an attribute that nothing writes; any other value as it is."""
        if id(value) in self._single:
            _, owner, name = self._single[id(value)]
            return owner.ts_number(name)
        return number_in(value) if type(value) is torch.Tensor else value

    def _of_quantised_module(self, value: Any) -> bool:
        return id(value) in self._single and ".quantized." in self._single[id(value)][1].ts_kind

    def _called(self, op: Op, values: list[Any]) -> Any:
        owner = values[0]
        if owner is _NO_GRAD:
            return None
        if isinstance(owner, Instance):
            if op not in self._functions:
                self._functions[op] = read_code(callee_graph(op.node))
            return self.run(self._functions[op], values, {})[0]
        if not isinstance(owner, Twin):
            raise Unconverted(f"it calls the method {op.name!r} of an object of another class than modules")
        frame = op.place.frame if op.place else ""
        self._frames.append(frame)
        try:
            return self._method(owner, op.name, values[1:])
        finally:
            self._frames.pop()

    def _if(self, op: Op, condition: Any, known: dict[str, Any]) -> Sequence[Any]:
        chosen, other = op.blocks
        raises = any(inner.kind == "prim::RaiseException" for block in op.blocks for inner in block.ops)
        if isinstance(condition, torch.Tensor) and torch.compiler.is_exporting():
            return self._both(op, condition, known)
        if not raises:
            condition = self.sizes.decided(condition)
        return self.run(chosen if condition else other, (), known)

    def _both(self, op: Op, condition: torch.Tensor, known: dict[str, Any]) -> Sequence[Any]:
        """torch.cond, whose branches may not change anything outside."""
        inside = [inner for block in op.blocks for inner in block.every_op()]
        for inner in inside:
            if inner.kind == "prim::Print" or inner.is_mutable:
                raise Unconverted("it has an `if` on a tensor with a branch that changes something")
        if not op.outputs and not any(inner.kind == "prim::RaiseException" for inner in inside):
            return ()
        names = dict.fromkeys(name for block in op.blocks for name in block.free)
        modules = {name: known[name] for name in names if isinstance(known[name], Twin)}
        operands = {name: known[name] for name in names if name not in modules}
        weights = self._tensors_of(op, modules)

        def branch(block: Code) -> Callable[[Any], list[Any]]:
            def run(given: Any) -> list[Any]:
                outer, self._assigned = self._assigned, {**self._assigned, **given[1]}
                try:
                    return self.run(block, (), {**modules, **given[0]})
                except Raised as error:
                    raise Unconverted("it has an `if` on a tensor with a branch that raises") from error
                finally:
                    self._assigned = outer

            return run

        return both(condition, branch(op.blocks[0]), branch(op.blocks[1]), (operands, weights))

    def _tensors_of(self, op: Op, modules: Mapping[str, Twin]) -> dict[tuple[Twin, str], Any]:
        """The tensors that branches may read of modules, which are to be operands of torch.cond."""
        known: dict[str, Any] = dict(modules)
        found: dict[tuple[Twin, str], Any] = {}
        for inner in (inner for block in op.blocks for inner in block.every_op()):
            owner = known.get(inner.inputs[0]) if inner.inputs else None
            if inner.kind == "prim::GetAttr" and owner is not None:
                value = known[inner.outputs[0]] = self._attribute(owner, inner.name)
                if not isinstance(value, Twin) and any(isinstance(x, torch.Tensor) for x in pytree.tree_leaves(value)):
                    found[owner, inner.name] = value  # of a list, its tensors
            if inner.kind == "prim::CallMethod" and isinstance(owner, Twin):
                for path, part in owner.named_modules():
                    assert isinstance(part, Twin)
                    self._paths.setdefault(part, f"{self._paths[owner]}.{path}".strip("."))
                    names = (*part._parameters, *part._buffers)
                    found.update(((part, name), self._attribute(part, name)) for name in names)
        return found

    def _loop(self, op: Op, values: list[Any], known: dict[str, Any]) -> Sequence[Any]:
        (body,) = op.blocks
        rounds, condition, *carried = values
        rounds = self.sizes.length(rounds)
        count = 0
        while count < rounds and self._goes_on(condition):
            if count == _MOST_ROUNDS:
                raise Unconverted(f"it has a loop of more than {_MOST_ROUNDS} rounds")
            condition, *carried = self.run(body, (count, *carried), known)
            count += 1
        return carried

    def _goes_on(self, condition: Any) -> bool:
        if isinstance(condition, torch.Tensor) and torch.compiler.is_exporting():
            raise Unconverted("it has a loop whose length depends on a size or a value")
        return self.sizes.decided(condition)

    @contextmanager
    def _origin(self, op: Op) -> Iterator[None]:
        """While entered, what is traced gets the op's line and modules."""
        if not torch.compiler.is_exporting() or op.schema is None:
            yield
            return
        node: Node = self._origins.call_function(_target(op))
        here = self._of_node(op.node) if self._of_node else Origin(tuple(self._modules), tuple(self._frames))
        frames = [*here.frames, op.place.frame if op.place else ""]
        if any(frames):
            node.meta["stack_trace"] = "".join(frames)
        node.meta["nn_module_stack"] = {
            f"{path}@{level}": (path, kind) for level, (path, kind) in enumerate(here.modules)
        }
        with fx_traceback.set_current_meta(node):
            yield


class At(Unconverted):
    """What cannot be converted, and the innermost op that is at fault."""

    def __init__(self, op: Op, reason: str) -> None:
        self.op = op
        super().__init__(reason)


def _target(op: Op) -> Any:
    namespace, name = op.schema.name.split("::")
    packet = getattr(getattr(torch.ops, namespace), name)
    return getattr(packet, op.schema.overload_name or "default", packet)


def full_name(op: Op) -> str:
    """The name of an operator with its overload."""
    return f"{op.schema.name}.{op.schema.overload_name}".rstrip(".")


def call(op: Op, values: list[Any]) -> Any:
    """What an operator makes of its arguments, in the order of its schema.

    Raises:
        Unconverted: it is none that can be traced.
    """
    if holds_numbers(values):
        found = on_numbers(op, values)
        if found is not None:
            return found[0]
        values = as_tensors(op, values)
    if concerns_quantised(op, values):
        return call_quantised(op, values, lambda given: call(op, given))
    of_cpu = in_mkldnn(op.kind)
    if of_cpu is not None:
        return of_cpu(op.node, *values)
    if op.schema is None:
        if op.kind not in VALUES:
            raise Unconverted(f"it has {op.kind}, which has no counterpart in PyTorch's graphs")
        return VALUES[op.kind](*values)
    name = full_name(op)
    if name in RECURRENT:
        return _recurrent(name, values)
    if name in INSTEAD:
        return INSTEAD[name](*values)
    if not torch._C._dispatch_has_kernel(name):
        if is_native(op, values):
            return run_native(op, values)
        if op.kind not in VALUES:
            raise Unconverted(f"it has {op.kind}, which has no counterpart in PyTorch's graphs")
        return VALUES[op.kind](*values)
    target = _target(op)
    arguments = target._schema.arguments
    given = [_plain(value, argument) for value, argument in zip(values, arguments, strict=True)]
    positional = [value for value, argument in zip(given, arguments, strict=True) if not argument.kwarg_only]
    named = {argument.name: value for value, argument in zip(given, arguments, strict=True) if argument.kwarg_only}
    return target(*positional, **named)


def _plain(value: Any, argument: Any) -> Any:
    """A value as Python passes it: TorchScript has numbers for data types."""
    kind = str(argument.real_type).removeprefix("Optional[").rstrip("]")
    return ENUMS[kind](value) if kind in ENUMS and type(value) is int else value


def _recurrent(name: str, values: list[Any]) -> Any:
    input, hidden, weights, biases, layers, dropout, *flags = values
    state = hidden if isinstance(hidden, torch.Tensor) else list(hidden)
    function: Any = RECURRENT[name]
    return function(input, state, list(weights), bool(biases), int(layers), float(dropout), *map(bool, flags))


def _in_outputs(op: Op, result: Any) -> Sequence[Any]:
    if len(op.outputs) != 1:
        return () if not op.outputs else tuple(result)
    return (list(result),) if op.schema is not None and isinstance(result, tuple) else (result,)


def _is_same(now: Any, before: Any) -> bool:
    first, second = pytree.tree_leaves(now), pytree.tree_leaves(before)
    pairs = zip(first, second, strict=False)
    same = (a is b or (not isinstance(a, torch.Tensor) and type(a) is type(b) and a == b) for a, b in pairs)
    return len(first) == len(second) and all(same)


def _described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of the sizes {list(value.shape)}"
    return "None" if value is None else f"the {type(value).__name__} {value!r}"
