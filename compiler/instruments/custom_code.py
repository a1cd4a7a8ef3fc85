"""What a run had that this package does not bring: passes, converters and operators of the user's own, as code."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import torch
from torch._library import custom_ops, simple_registry
from torch.fx import Graph, GraphModule

from ..ir.text import op_name
from ..pass_base import Pass
from ..pipeline import known_passes
from ..tensorrt.registry import Converter, Registry, default_registry
from .source_code import SourceCode, has_text, is_library_name

_OURS = frozenset({"aten", "prims", "prim", "trt_passes", "higher_order", "quantized", "c10d", "inductor"})


def own_passes(passes: Iterable[Pass]) -> list[Pass]:
    """The passes that do not come with this package."""
    return [item for item in passes if known_passes().get(item.name) is not type(item)]


def own_converters(registry: Registry, graphs: Iterable[Graph]) -> list[Converter]:
    """The converters of operators in some graphs that do not come with this package."""
    found: dict[int, Converter] = {}
    for target in _targets(graphs):
        converter = registry.get(target)
        if converter is not None and converter is not default_registry().get(target):
            found[id(converter)] = converter
    return list(found.values())


def own_operators(graphs: Iterable[Graph]) -> list[Any]:
    """The operators in some graphs that neither PyTorch nor this package defines."""
    operators = [target for target in _targets(graphs) if isinstance(target, torch._ops.OpOverload)]
    return [target for target in dict.fromkeys(operators) if target.namespace not in _OURS]


def _targets(graphs: Iterable[Graph]) -> Iterator[Any]:
    for graph in graphs:
        for node in graph.nodes:
            if node.op == "call_function":
                yield node.target
        root = graph.owning_module
        bodies = root.children() if root is not None else ()
        yield from _targets(body.graph for body in bodies if isinstance(body, GraphModule))


def add_passes(code: SourceCode, passes: Sequence[Pass]) -> list[str]:
    """Define passes; what each is called in the script, which is a class or a pass."""
    return [_add_pass(code, item) for item in passes]


def _add_pass(code: SourceCode, item: Pass) -> str:
    made = type(item)
    function = getattr(made, "function", None)
    if function is None:
        return code.add(made)
    name = code.add(function)
    if not has_text(function):
        # The text of a function has the decorator that made a pass of it; its code has not.
        facts = {key: set(getattr(made, key)) for key in ("requires", "establishes", "breaks") if getattr(made, key)}
        options = "".join(f", {key}={value!r}" for key, value in {"kind": made.kind, **facts}.items())
        code.import_line("import trt_passes as tp")
        code.line(f"{name} = tp.graph_pass({made.name!r}{options})({name})")
    return name


def add_operators(code: SourceCode, operators: Sequence[Any]) -> None:
    """Define or import operators."""
    for target in operators:
        name = target._schema.name
        definition = custom_ops.OPDEFS.get(name)
        if definition is not None:
            home = definition._init_fn.__module__
            if is_library_name(home):
                code.import_line(f"import {home}")
            else:
                code.add(definition, definition._init_fn.__name__)
            continue
        module = _module_of(target)
        if module is None:
            code.lacks(
                f"Import or define what registers the operator {op_name(target)} here: where it is, is not known."
            )
        elif is_library_name(module.__name__):
            code.import_line(f"import {module.__name__}")
        else:
            code.add(module, module.__name__.strip("_").replace(".", "_"))


def _module_of(target: torch._ops.OpOverload) -> ModuleType | None:
    """The module that registered an operator, as far as PyTorch remembers: it knows the line of its fake kernel."""
    entry = simple_registry.singleton.find(target._schema.name)
    kernel = entry.fake_impl.kernel
    file = kernel.source.rpartition(":")[0] if kernel is not None else None
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and file is not None and getattr(module, "__file__", None) == file:
            return module
    return sys.modules.get(target.namespace)


def add_converters(code: SourceCode, converters: Sequence[Converter]) -> list[str]:
    """Define converters; the code that makes each."""
    made = []
    for item in converters:
        wide = getattr(item.convert, "__wrapped__", None)
        function = code.add(wide or item.convert)
        if wide is not None:
            code.import_line("from trt_passes.compiler.tensorrt.in_float32 import in_float32")
            function = f"in_float32({function})"
        targets = ", ".join(_target_code(target, code) for target in item.targets)
        more = ", composite=True" if item.composite else ""
        code.import_line("from trt_passes.compiler.instruments.custom_code import converter_of")
        made.append(f"converter_of(({targets},), {function}{more})")
    return made


def converter_of(targets: tuple[Any, ...], function: Any, composite: bool = False) -> Converter:
    """The converter of a function for operators; what `tp.converter` made of the function already is one."""
    return function if isinstance(function, Converter) else Converter(targets, function, composite=composite)


def _target_code(target: Any, code: SourceCode) -> str:
    if isinstance(target, str):
        return repr(target)
    if isinstance(target, torch._ops.OpOverload):
        namespace, _, name = target._schema.name.partition("::")
        return f"torch.ops.{namespace}.{name}.{target._overloadname}"
    return code.add(target)
