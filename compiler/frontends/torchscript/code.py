"""TorchScript's graphs, read once into plain Python, with the user's lines."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import torch

from ...ir.source import frames_in
from .enumerations import is_unknown_class, member_of_constant
from .packed import unpacked

_FRAME = re.compile(r'^ *File "(?P<file>[^"]+)", line (?P<line>\d+)')
_MARK = re.compile(r"~ ?<--- HERE|~$")
_MANGLED = re.compile(r"\.___torch_mangle_\d+")


@dataclass(frozen=True)
class Place:
    """A line of the code that was scripted or traced: `text` is what stands there, as far as it was kept."""

    file: str
    line: int
    text: str

    @classmethod
    def of(cls, node: Any) -> Place | None:
        """Where TorchScript says that a node comes from; None for what it made up, or where no ranges were kept."""
        lines = str(node.sourceRange()).splitlines()
        found = _FRAME.match(lines[0]) if lines else None
        if found is None:
            return None
        marked = next((index for index, line in enumerate(lines) if line.strip().startswith("~")), 0)
        text = lines[marked - 1].strip() if marked > 1 else ""
        return cls(found["file"], int(found["line"]), text)

    @property
    def frame(self) -> str:
        """The place as a line of a traceback."""
        return f'  File "{self.file}", line {self.line}, in forward\n    {self.text}\n'


@dataclass(frozen=True)
class Origin:
    """Where a node comes from: the modules, outermost first, as path and class, and the lines that called them."""

    modules: tuple[tuple[str, str], ...] = (("", ""),)
    frames: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Op:
    """A node of a graph.

    Attributes:
        kind: such as "aten::relu" or "prim::If".
        inputs, outputs: the names of the values, which are unique in a graph.
        blocks: of control flow.
        schema: of the operator; None for most of `prim`.
        value: of a constant.
        name: of the attribute or method that it reads, writes or calls.
        place: the user's line.
        node: it itself.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    blocks: tuple[Code, ...]
    schema: Any
    value: Any
    name: str
    place: Place | None
    node: Any

    @property
    def is_mutable(self) -> bool:
        """Whether it writes to an argument, or to an attribute."""
        return self.kind == "prim::SetAttr" or (self.schema is not None and self.schema.is_mutable)


@dataclass(frozen=True, eq=False)
class Code:
    """A graph or a block: what it takes, does and gives."""

    inputs: tuple[str, ...]
    ops: tuple[Op, ...]
    outputs: tuple[str, ...]

    def every_op(self) -> Iterator[Op]:
        """All ops, those of inner blocks included."""
        for op in self.ops:
            yield op
            for block in op.blocks:
                yield from block.every_op()

    @functools.cached_property
    def free(self) -> tuple[str, ...]:
        """Names of values of outer blocks that this one reads."""
        return free_names(self.ops, self.inputs, self.outputs)


def free_names(ops: tuple[Op, ...], inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names that ops (and `outputs`) read, and neither make nor take as `inputs`."""
    known, found = set(inputs), dict[str, None]()
    for op in ops:
        used = [*op.inputs, *(name for block in op.blocks for name in block.free)]
        found.update((name, None) for name in used if name not in known)
        known.update(op.outputs)
    found.update((name, None) for name in outputs if name not in known)
    return tuple(found)


def read_code(graph: Any) -> Code:
    """A graph, or a block of one."""
    return Code(_names(graph.inputs()), tuple(map(read_op, graph.nodes())), _names(graph.outputs()))


def read_op(node: Any) -> Op:
    """One node, with its blocks."""
    text = node.schema()
    return Op(
        kind=node.kind(),
        inputs=_names(node.inputs()),
        outputs=_names(node.outputs()),
        blocks=tuple(map(read_code, node.blocks())),
        schema=None if text.startswith("(") else torch._C.parse_schema(text),
        value=_constant(node),
        name=node.s("name") if "name" in node.attributeNames() else "",
        place=Place.of(node),
        node=node,
    )


def _names(values: Any) -> tuple[str, ...]:
    return tuple(value.debugName() for value in values)


def _constant(node: Any) -> Any:
    if node.kind() == "prim::ConstantMKLDNNTensor":  # of optimize_for_inference, in a format of the CPU's
        return node.t("value").to_dense()
    if node.kind() != "prim::Constant" or node.output().type().kind() == "FunctionType":
        return None
    try:
        return unpacked(node.output().toIValue())
    except RuntimeError as error:
        member = member_of_constant(node) if is_unknown_class(error) else None
        if member is None:
            raise
        return member


def function_graph(call: Any) -> Any:
    """The graph of the function that a `prim::CallFunction` node calls, on the call's arguments."""
    graph: Any = torch._C.Graph()
    function, *arguments = call.inputs()
    made = {function.debugName(): graph.insertNode(graph.createClone(function.node(), lambda value: value)).output()}
    return _of_call(graph, call, arguments, made)


def callee_graph(call: Any) -> Any:
    """The graph of what a `prim::CallMethod` or `prim::fork` node calls, on all that it is given, with calls inlined.

    Calls of interfaces stay.
    """
    if call.kind() != "prim::fork":
        return _of_call(torch._C.Graph(), call, list(call.inputs()), {})
    graph: Any = call.g("Subgraph").copy()
    torch._C._jit_pass_inline(graph)
    return graph


def _of_call(graph: Any, call: Any, arguments: Sequence[Any], made: Mapping[str, Any]) -> Any:
    """A graph with a call alone, inlined: its arguments are the graph's inputs, and other values are made there."""
    values = dict(made)
    for argument in arguments:
        values[argument.debugName()] = graph.addInput().setType(argument.type())
    clone = graph.insertNode(graph.createClone(call, lambda value: values[value.debugName()]))
    for output in clone.outputs():
        graph.registerOutput(output)
    torch._C._jit_pass_inline(graph)
    return graph


def class_name(type: Any) -> str:
    """The name of a class as Python knows it, such as "torch.nn.modules.linear.Linear"."""
    return _MANGLED.sub("", type.annotation_str).removeprefix("__torch__.")


def source_line(frames: Sequence[str], place: Place | None) -> str | None:
    """The user's line, as "file:line", of an op that lines called; the library's of a model without code of its own."""
    found = frames_in("".join([*frames, place.frame if place else ""]))
    if found or place is None or place.file.startswith("<"):
        return found[-1] if found else None
    parts = PurePath(place.file).parts  # a model without code of the user's, such as nn.Sequential
    start = parts.index("site-packages") + 1 if "site-packages" in parts else -1
    return f"{PurePath(*parts[start:]).as_posix()}:{place.line}"
