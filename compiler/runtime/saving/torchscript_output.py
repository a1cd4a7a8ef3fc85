"""A compiled module as TorchScript: its graph written as TorchScript source, so that sizes stay computed, not recorded.

`torch.jit.trace` would fix every size that is read on the way to that of the example.
"""

from __future__ import annotations

import builtins
import keyword
import math
import operator
import warnings
from collections.abc import Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from ...errors import UserError
from ...ir.engine_operator import engine_calls
from ...ir.module_state import blank_module, with_state
from ...ir.source import source_of
from ...ir.text import op_name
from ..calls.layout import Layout
from ..calls.shared_memory import SharedMemory
from .torchscript_types import Signature, literal

_INFIX = MappingProxyType(
    {
        operator.add: "({} + {})",
        operator.sub: "({} - {})",
        operator.mul: "({} * {})",
        operator.floordiv: "({} // {})",
        operator.truediv: "({} / {})",
        operator.mod: "({} % {})",
        operator.pow: "({} ** {})",
        operator.lshift: "({} << {})",
        operator.rshift: "({} >> {})",
        operator.neg: "(-{})",
        operator.pos: "{}",
        operator.abs: "abs({})",
        operator.eq: "({} == {})",
        operator.ne: "({} != {})",
        operator.lt: "({} < {})",
        operator.le: "({} <= {})",
        operator.gt: "({} > {})",
        operator.ge: "({} >= {})",
        operator.and_: "({} and {})",
        operator.or_: "({} or {})",
        operator.not_: "(not {})",
        operator.getitem: "{}[{}]",
        torch.sym_not: "(not {})",
        torch.sym_float: "float({})",
        torch.sym_int: "int({})",
        torch.sym_ite: "({1} if {0} else {2})",
        torch.sym_sqrt: "math.sqrt({})",
        math.trunc: "int({})",
        math.ceil: "math.ceil({})",
        math.floor: "math.floor({})",
        math.sqrt: "math.sqrt({})",
        torch.sym_max: "max({}, {})",
        torch.sym_min: "min({}, {})",
        torch.ops.aten.sym_size.int: "{}.size({})",
        torch.ops.aten.sym_stride.int: "{}.stride({})",
        torch.ops.aten.sym_numel.default: "{}.numel()",
        torch.ops.aten.sym_storage_offset.default: "{}.storage_offset()",
    }
)
"""Functions on sizes, and how TorchScript writes them."""

_OF_WHOLE = MappingProxyType({operator.and_: "({} & {})", operator.or_: "({} | {})", operator.pow: "int({} ** {})"})
"""Those of whole numbers, where these are others: its powers are floats, and `and` gives truths."""

_ASSERTIONS = (
    torch.ops.aten._assert_async.msg,
    torch.ops.aten._assert_async.default,
    torch.ops.aten._assert_scalar.default,
)

_TAKEN = frozenset({"self", "torch", "math", "abs", "bool", "float", "int", "max", "min", "getattr"})
_LONG = 100


def script_module(
    compiled: GraphModule, program: ExportedProgram, types: Mapping[str, str] = MappingProxyType({})
) -> torch.jit.ScriptModule:
    """A ScriptModule that computes what a compiled module does, for every size that it was compiled for.

    `program` tells the arguments and results of the module, `types` those of arguments that TorchScript knows.

    It can be saved by `torch.jit.save`; `torch.jit.load` reads it once `trt_passes` is imported, which has the operator
    that runs engines. Weights are shared with `compiled` and keep their names; engines are attributes, which `.to`
    leaves where they are. Arguments are those of the model, in order: tensors, numbers, and tuples, lists and dicts of
    tensors; `None`s are left out. Results likewise; of other containers, such as dataclasses, TorchScript gets a tuple.

    Raises:
        UserError: TorchScript cannot express an argument, a result or an operator that stayed in PyTorch.
    """
    writer = _Writer(compiled, program, types)
    source = writer.source()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, which is what was asked for
        script: torch.jit.ScriptModule = torch.jit.script(writer.root)
        try:
            _define(script, source, writer.signature.named)
        except (RuntimeError, UnicodeError) as error:  # TorchScript's own message cuts letters other than ASCII in two
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise UserError(f"the compiled module cannot be written as TorchScript: {lines[0]}") from error
    return script.eval()


def _define(script: Any, source: str, named: Mapping[str, Any]) -> None:
    """`script.define`, with classes that the source has names for."""
    known = {"torch": torch, "math": math, **named}
    script._c._define(script._concrete_type, source, lambda name: known.get(name, getattr(builtins, name, None)))


class _Writer:
    """Writes the graph of a module as the source of a method, and collects what the source refers to in `root`."""

    def __init__(self, compiled: GraphModule, program: ExportedProgram, types: Mapping[str, str]) -> None:
        self.graph, self.module, self.root = compiled.graph, compiled, blank_module()
        self.root.training = False
        codegen: Any = self.graph._codegen
        known = {_local(name): kind for name, kind in types.items()}
        self.signature = Signature.of(program, [_local(name) for name in codegen.pytree_info.orig_args], known)
        self.engines = {operand for call in engine_calls(compiled) for operand in (call.args[1], call.args[3])}
        self.names: dict[Node, str] = {}
        self.device: str | None = None

    def source(self) -> str:
        """The source of `forward`."""
        placeholders = self.graph.find_nodes(op="placeholder")
        checks, lines = self.signature.checks(), list[str]()
        for node, path in zip(placeholders, self.signature.leaves, strict=True):
            self.names[node] = path
            if self.device is None and isinstance(node.meta.get("val"), torch.Tensor):
                self.device = f"{path}.device"
        for node in self.graph.nodes:
            if node.op == "get_attr":
                self.names[node] = self._attribute(node)
            elif node.target in _ASSERTIONS:
                # As an operator without a result TorchScript would drop it.
                holds, *words = (self._text(argument) for argument in node.args)
                lines.append(f"assert bool({holds}), {words[0] if words else literal('an assertion does not hold')}")
            elif node.op == "call_function":
                self.names[node] = _local(node.name)
                lines.append(f"{self.names[node]} = {self._call(node)}")
        results = [self._text(value) for value in pytree.tree_leaves(self.graph.output_node().args[0], _is_none)]
        lines.append(f"return {self.signature.packed(results)}")
        checks += [*self._layout_checks(placeholders), *self._memory_check(placeholders)]
        return "\n    ".join([f"def forward(self{self.signature.parameters}):", *checks, *lines, ""])

    def _layout_checks(self, placeholders: Sequence[Node]) -> list[str]:
        """Statements that refuse inputs with other strides, where these decide what is read and written."""
        layouts = [layout for i, node in enumerate(placeholders) if (layout := Layout.of(i, node)) is not None]
        return [
            f"assert {layout.condition(self.names[placeholders[layout.place]])}, {literal(layout.refusal)}"
            for layout in layouts
        ]

    def _memory_check(self, placeholders: Sequence[Node]) -> list[str]:
        """A statement that refuses inputs that share memory with what is written to; none if nothing is."""
        memory = SharedMemory.of(self.module)
        if memory is None:
            return []
        tensors = [(i, node) for i, node in enumerate(placeholders) if isinstance(node.meta.get("val"), torch.Tensor)]
        owned = {str(node.target): self.names[node] for node in self.graph.find_nodes(op="get_attr")}
        state = [owned[name] for name in (*memory.written_state, *memory.state)]
        written = [number for number, (place, _) in enumerate(tensors) if place in memory.written]
        written += range(len(tensors), len(tensors) + len(memory.written_state))
        inputs = ", ".join(self.names[node] for _, node in tensors)
        return [
            f"assert torch.ops.trt_passes.share_no_memory([{inputs}], "
            f"torch.jit.annotate(List[Tensor], [{', '.join(state)}]), {written}), "
            '"an input shares memory with what the model writes to: give a clone() of it"'
        ]

    def _attribute(self, node: Node) -> str:
        path = str(node.target)
        value = attrgetter(path)(self.module)
        if not isinstance(value, torch.Tensor):
            raise UserError(f"{node.name} is a part of the model that TorchScript cannot call: use ir='dynamo'.")
        if node in self.engines:
            setattr(self.root, path, value)  # no buffer, which `.to("cuda")` would move
        else:
            with_state(self.root, path, value)
        text = "self"
        for name in path.split("."):
            text = f"{text}.{name}" if name.isidentifier() else f'getattr({text}, "{name}")'
        return text

    def _call(self, node: Node) -> str:
        target: Any = node.target
        if target in _INFIX:
            whole = isinstance(node.meta.get("val"), torch.SymInt)
            form = _OF_WHOLE.get(target, _INFIX[target]) if whole else _INFIX[target]
            return form.format(*(self._text(argument) for argument in node.args))
        if not isinstance(target, torch._ops.OpOverload):
            place = source_of(node)
            where = f" ({place})" if place else ""
            raise UserError(
                f"{op_name(target)}{where} stays in PyTorch, and TorchScript has no such operator: use ir='dynamo'."
            )
        schema = target._schema
        types = {argument.name: argument.type for argument in schema.arguments}
        named = dict(zip(types, node.args, strict=False)) | dict(node.kwargs)
        texts = [
            f"{name}={self._tensor(value) if _is_truth(target, name, value) else self._text(value, types[name])}"
            for name, value in named.items()
        ]
        # TorchScript knows the first argument of most operators by another name too.
        texts[:1] = [text.partition("=")[2] for text in texts[:1]]
        namespace, _, name = schema.name.partition("::")
        text = f"torch.ops.{namespace}.{name}({', '.join(texts)})"
        value = node.meta.get("val")
        kinds = ((torch.SymInt, "int"), (torch.SymFloat, "float"), (torch.SymBool, "bool"))
        return next((f"{kind}({text})" for sym, kind in kinds if isinstance(value, sym)), text)

    def _tensor(self, value: Any) -> str:
        device = f", device={self.device}" if self.device is not None else ""
        return f"torch.scalar_tensor({value}, dtype=torch.bool{device})"

    def _text(self, value: Any, type: Any = None) -> str:
        """A value of a schema's type in TorchScript."""
        if isinstance(value, Node):
            return self.names[value]
        if isinstance(value, list | tuple):
            return self._list(value, type)
        if isinstance(value, torch.device):
            # What the graph makes is made where its arguments are, since TorchScript modules are moved.
            return self.device or f'torch.device("{value}")'
        if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
            return str(value)
        if isinstance(value, str) and len(value) > _LONG:
            name = f"text_{len(vars(self.root))}"
            setattr(self.root, name, value)
            return f"self.{name}"
        if isinstance(value, int) and not isinstance(value, bool) and str(type) in ("float", "Optional[float]"):
            value = float(value)
        return literal(value)

    def _list(self, values: Any, type: Any) -> str:
        if isinstance(type, torch._C.OptionalType):
            type = type.getElementType()
        if not isinstance(type, torch._C.ListType):
            return f"({', '.join(map(self._text, values))},)"
        element = type.getElementType()
        items = ", ".join(self._text(value, element) for value in values)
        return f"torch.jit.annotate(List[{element.annotation_str}], [{items}])"


def _is_truth(target: torch._ops.OpOverload, name: str, value: Any) -> bool:
    """Whether an argument is a boolean in place of a number, which may be a tensor too.

    TorchScript takes True for 1, and whole numbers would come of `mask | True`.
    """
    if not isinstance(value, bool):
        return False
    packet: Any = target._overloadpacket
    schemas = [getattr(packet, overload)._schema for overload in packet.overloads()]
    kinds = [{item.name: str(item.type) for item in schema.arguments if not item.is_out} for schema in schemas]
    own = {item.name: str(item.type) for item in target._schema.arguments}
    return own[name] == "Tensor" or (own[name] == "number" and {**own, name: "Tensor"} in kinds)


def _is_none(value: Any) -> bool:
    return value is None


def _local(name: str) -> str:
    return f"{name}_" if name in _TAKEN or keyword.iskeyword(name) else name
