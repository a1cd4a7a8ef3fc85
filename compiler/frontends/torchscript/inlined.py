"""A copy of a TorchScript module whose method is one graph, in which every node knows where it comes from."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ...errors import UserError
from ...runtime.saving.output_formats import check_can_be_saved
from .code import Origin, Place, callee_graph, class_name, function_graph
from .nodes import all_nodes, graphs_of
from .twin import attribute_of, attributes
from .written_memory import assigned_own, is_own, writes_to_quiet_views, written_values

_MANY = 10_000
_NOTHING = object()


@dataclass
class Inlined:
    """A copy of a module, with a method as one graph.

    Attributes:
        script: the copy, whose parameters are those of the original.
        graph: of the method; what is done to it is done to the copy.
        origins: of nodes, by the name of an output, or by their text in the source.
        kept: nodes that call what was not to be inlined, by the name of an output, with the name that said so.
        reached: classes, and the methods of them that were inlined.
        modules: the classes of the modules.
        before: what the graph was.
    """

    script: Any
    graph: Any
    origins: dict[str, Origin] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    reached: set[tuple[str, str]] = field(default_factory=set)
    modules: frozenset[str] = field(init=False)
    before: Any = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.graph.copy()
        self.modules = frozenset(part._c._type().annotation_str for part in self.script.modules())

    def origin(self, node: Any) -> Origin:
        """Where a node comes from."""
        names = [value.debugName() for value in node.outputs()]
        found = (self.origins[name] for name in (*names, str(node.sourceRange())) if name in self.origins)
        return next(found, Origin())

    def is_object(self, type: Any) -> bool:
        """Whether a type is a class of the user's that is no module, as `@torch.jit.script` makes one."""
        text: str = type.annotation_str
        if type.kind() != "ClassType" or type.is_interface_type() or text.startswith("__torch__.torch."):
            return False
        return text not in self.modules

    def is_pure(self, call: Any) -> bool:
        """Whether what a node calls, with all that it may call in turn, writes to nothing but what it makes itself."""
        if call.kind() not in ("prim::CallMethod", "prim::fork"):
            return False
        return self._is_pure(callee_graph(call), set())

    def _is_pure(self, graph: Any, seen: set[str]) -> bool:
        for node in all_nodes(graph):
            if node.kind() in ("prim::SetAttr", "prim::PythonOp"):
                return False
            if not all(map(is_own, written_values(node))):
                return False
            if node.kind() == "prim::fork" and not self._is_pure(callee_graph(node), seen):
                return False
            if node.kind() == "prim::CallMethod" and node.s("name") not in seen:  # of an interface
                name = node.s("name")
                seen.add(name)
                parts = [part for part in self.script.modules() if part._c._has_method(name)]
                if not all(self._is_pure(part._c._get_method(name).graph, seen) for part in parts):
                    return False
        return True

    def assigned_elsewhere(self) -> Iterable[tuple[tuple[str, str], bool]]:
        """Attributes that methods assign which were not inlined, see `assigned_own`."""
        for part, name, graph in graphs_of(self.script):
            if (part._c._type().annotation_str, name) not in self.reached:
                yield from assigned_own(all_nodes(graph))


def inlined(copy: Any, excluded: Collection[str] = (), method: str = "forward") -> Inlined:
    """A copied module, in place, with calls of its modules and functions in a method inlined.

    Args:
        copy: see `copied`.
        excluded: paths, class names and full class names of modules whose calls stay calls.
        method: the method.
    """
    graph = copy._c._get_method(method).graph
    result = Inlined(copy, graph)
    result.reached.add((copy._c._type().annotation_str, method))
    root = next(graph.inputs()).debugName()
    origin = Origin((("", class_name(copy._c._type())),))
    for node in all_nodes(graph):
        result.origins.update((value.debugName(), origin) for value in node.outputs())
    for _ in range(_MANY):
        if not _inline_all(result, root, excluded):
            break
    _fix_attributes(result, root)
    native: Any = torch._C
    native._jit_pass_constant_propagation_immutable_types(graph)
    if not writes_to_quiet_views(graph):  # which PyTorch takes for new
        torch._C._jit_pass_remove_mutation(graph)
    torch._C._jit_pass_dce(graph)
    return result


def _fix_attributes(result: Inlined, root: str) -> None:
    """Put constants in the place of numbers and texts that no method assigns."""
    written = set(attributes(result.script, "prim::SetAttr"))
    for node in [node for node in all_nodes(result.graph) if node.kind() == "prim::GetAttr"]:
        owner, name = next(node.inputs()), node.s("name")
        path = path_of(owner, root)
        if path is None or (owner.type().annotation_str, name) in written:
            continue
        module = module_at(result.script, path)
        value = attribute_of(module, name) if module is not None else _NOTHING
        if value is None or type(value) in (bool, int, float, str):
            constant = result.graph.insertConstant(value)
            constant.node().moveBefore(node)
            node.output().replaceAllUsesWith(constant)


def copied(script: torch.jit.ScriptModule) -> Any:
    """A copy of a module that shares its parameters.

    Raises:
        UserError: TorchScript cannot copy the module.
    """
    check_can_be_saved(script)
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(script, buffer)
            buffer.seek(0)
            copy: Any = torch.jit.load(buffer)  # type: ignore[no-untyped-call]
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the TorchScript model cannot be compiled in blocks, since it cannot be saved: {reason}"
        ) from error
    own = dict(copy.named_modules())
    for path, part in script.named_modules():
        for name, tensor in part.named_parameters(recurse=False):
            if path in own:
                own[path]._c.setattr(name, tensor)
    return copy


def _inline_all(result: Inlined, root: str, excluded: Collection[str]) -> bool:
    """Put what the nodes call in their place; whether any called something."""
    found = False
    for node in list(all_nodes(result.graph)):
        is_fork = node.kind() == "prim::fork"
        if _inline(result, node, root, excluded):
            found = True
            if is_fork:  # what waited for it is no node any more
                break
    return found


def _inline(result: Inlined, node: Any, root: str, excluded: Collection[str]) -> bool:
    """Put what a node calls in its place; whether that was done."""
    names = [value.debugName() for value in node.outputs()]
    if node.kind() == "prim::CallFunction":
        caller = result.origin(node)
        _replace(result, node, function_graph(node), list(node.inputs())[1:], caller)
        return True
    if node.kind() == "prim::fork":
        return _inline_fork(result, node)
    if node.kind() != "prim::CallMethod" or any(name in result.kept for name in names):
        return False
    owner = next(node.inputs())
    if result.is_object(owner.type()):
        _replace(result, node, callee_graph(node), list(node.inputs()), result.origin(node))
        return True
    path = path_of(owner, root)
    module = None if path is None or owner.type().is_interface_type() else module_at(result.script, path)
    if module is None or not module._c._has_method(node.s("name")):
        result.kept.update(dict.fromkeys(names, ""))
        return False
    kind = class_name(module._c._type())
    said = [word for word in (path, kind, kind.rpartition(".")[2]) if word and word in excluded]
    if said:
        result.kept.update(dict.fromkeys(names, said[0]))
        return False
    result.reached.add((module._c._type().annotation_str, node.s("name")))
    caller = result.origin(node)
    place = Place.of(node)
    modules = caller.modules if caller.modules[-1][0] == path else (*caller.modules, (str(path), kind))
    origin = Origin(modules, (*caller.frames, place.frame if place else ""))
    _replace(result, node, module._c._get_method(node.s("name")).graph, list(node.inputs()), origin)
    return True


def _inline_fork(result: Inlined, node: Any) -> bool:
    """Put what a fork does in its place, if all that is done with it is to wait for it."""
    users = [use.user for use in node.output().uses()]
    if any(user.kind() != "aten::wait" for user in users):
        return False
    for user in users:
        user.output().replaceAllUsesWith(node.output())
        user.destroy()
    _replace(result, node, node.g("Subgraph"), list(node.inputs()), result.origin(node))
    return True


def path_of(value: Any, root: str) -> str | None:
    """The dotted path of the module that a value is; None if that is not known."""
    names: list[str] = []
    while value.debugName() != root:
        node = value.node()
        if node.kind() != "prim::GetAttr" or value.type().is_interface_type():
            return None
        names.append(node.s("name"))
        value = next(node.inputs())
    return ".".join(reversed(names))


def module_of_value(model: Inlined, value: Any) -> Any:
    """The module in the copy that a value of the graph is; None if that is not known."""
    path = path_of(value, next(model.graph.inputs()).debugName())
    return None if path is None else module_at(model.script, path)


def module_at(script: Any, path: str) -> Any:
    """The module of a path in another; None without one."""
    for name in filter(None, path.split(".")):
        if script is None or not script._c.hasattr(name):
            return None
        script = attribute_of(script, name)
        script = script if isinstance(script, nn.Module) else None
    return script


def _replace(result: Inlined, node: Any, body: Any, arguments: list[Any], origin: Origin) -> None:
    graph = result.graph
    values = dict(zip((value.debugName() for value in body.inputs()), arguments, strict=True))
    known: Callable[[Any], Any] = lambda value: values[value.debugName()]  # noqa: E731
    for inner in body.nodes():
        clone = graph.createClone(inner, known)
        clone.insertBefore(node)
        for before, after in zip(inner.outputs(), clone.outputs(), strict=True):
            values[before.debugName()] = after
        for made in (clone, *(part for block in clone.blocks() for part in all_nodes(block))):
            result.origins.update((value.debugName(), origin) for value in made.outputs())
            if Place.of(made) is not None:  # files keep none for what assigns an attribute
                result.origins.setdefault(str(made.sourceRange()), origin)
    for output, value in zip(node.outputs(), body.outputs(), strict=True):
        output.replaceAllUsesWith(values[value.debugName()])
    node.destroy()
