"""The front end "fx": what `torch.fx.symbolic_trace` makes of a module."""

from __future__ import annotations

import functools
import inspect
import operator
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node, Proxy, Tracer
from torch.fx.proxy import Attribute
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..inputs import declares_input
from ..ir.memory import memory_of, times_written
from ..ir.source import source_of
from .called_again import check_not_computed_with, python_state_watched
from .dataclasses_in_results import register_dataclasses_in
from .exported_program import example_arguments, state_of
from .given_arguments import check_signature, hint_at_shapes, is_declared
from .kept_state import kept_values
from .made_tensors import Made, RecordedFactories, written_by
from .modes import Modes
from .module_view import ModuleView, run_with_lines
from .python_state import Place
from .seeds import seed_watched


def symbolically_traced(model: nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> nn.Module:
    """The model as fx traces it, with the user's lines, and called like the model; a GraphModule as it is.

    Arguments that are numbers, text or None, also within others, are constants in the graph, since fx cannot follow
    decisions on them otherwise. Tracing leaves the model as it was.

    Raises:
        UserError: the inputs do not fit the model's arguments, fx cannot trace it, with its reason, or the model
            computes with what it changes in Python when it is called.
    """
    if isinstance(model, GraphModule):
        return model
    signature = inspect.signature(model.forward)
    check_signature(model.forward, inputs, kwargs)
    given = signature.bind(*inputs, **kwargs)
    try:
        tracer = _CallTracer(given, records_factories=True)
        module, changed = _graph_of(model, tracer)
    except _Untraceable:
        # Python may compute with tensors that it makes itself, as in `torch.arange(3).tolist()`, which fx runs then.
        tracer = _CallTracer(given, records_factories=False)
        try:
            module, changed = _graph_of(model, tracer)
        except _Untraceable as error:
            hint = hint_at_shapes([*inputs, *kwargs.values()])
            raise UserError(f"{error}: use ir='dynamo', which runs its Python.{hint}") from error.__cause__
    if changed:
        check_not_computed_with(changed, model, *example_arguments(model, inputs, kwargs), nullcontext)

    @functools.wraps(model.forward)
    def forward(*args: Any, **keywords: Any) -> Any:
        values = _leaves(signature.bind(*args, **keywords))
        for seed in tracer.seeds:
            torch.manual_seed(seed)
        results = run_with_lines(module, *(values[path] for path in tracer.paths), modes=tracer.modes)
        return pytree.tree_unflatten(list(results), tracer.structure)

    return ModuleView(module, forward)


class _Untraceable(UserError):
    """torch.fx cannot trace the model."""


def _graph_of(model: nn.Module, tracer: _CallTracer) -> tuple[GraphModule, list[Place]]:
    """The model's graph, and what a call changes of its Python state; the model is left as it was."""
    state = state_of(model)
    with kept_values(state), _unchanged(model), python_state_watched(model) as changed, seed_watched() as tracer.seeds:
        before = list(map(times_written, state))
        _attributes_as_buffers(model)
        try:
            graph = tracer.trace(model)
            module = GraphModule(tracer.root, graph, class_name=type(model).__name__)
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise _Untraceable(f"torch.fx cannot trace the model ({lines[0].rstrip('.')})") from error
        _check_attributes(model, graph)
        if list(map(times_written, state)) != before:
            raise UserError(
                "the model writes to a tensor of its own that it has from another object than a module, which torch.fx "
                "does not record: use ir='dynamo', or the buffer itself."
            )
        tracer.check_constants(graph)
    return module, [place for place in changed if not place.name.startswith(_CONSTANT)]


_CONSTANT = "_tensor_constant"
"""How fx calls the tensors that are no buffers."""


class _CallTracer(Tracer):
    """Traces one call: every tensor in its arguments is an input of the graph, and every leaf of its result an output.

    `paths` say where in the arguments the inputs are, and `structure` is that of the result. `modes` are those that the
    model turns on, by the names of nodes that were made meanwhile, and `seeds` what it seeds random numbers with.
    """

    paths: tuple[str, ...]
    seeds: list[int]
    structure: pytree.TreeSpec

    def __init__(self, given: inspect.BoundArguments, records_factories: bool) -> None:
        super().__init__()
        self._given = given
        self._factories = RecordedFactories(self) if records_factories else nullcontext()
        self._made = Made()
        self._used: dict[int, tuple[torch.Tensor, int]] = {}
        self.modes: dict[str, Modes] = {}
        self._usual = Modes.now()
        self.paths = tuple(path for path, leaf in _leaves(given).items() if _is_tensor(leaf))
        self.record_stack_traces = True
        # Else a model that writes to a buffer does so while it is traced, and no more.
        self.proxy_buffer_attributes = True

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """The function to trace and its arguments: the call, with its inputs as they are needed."""
        inputs = [self.create_proxy("placeholder", f"input_{i}", (), {}) for i in range(len(self.paths))]
        return lambda *proxies: self._results(proxies), inputs

    def create_node(self, *args: Any, **kwargs: Any) -> Node:
        """A node, of which the modes are noted that are on."""
        node = super().create_node(*args, **kwargs)
        modes = Modes.now()
        if modes != self._usual:
            self.modes[node.name] = modes
        return node

    def proxy(self, node: Node) -> Proxy:
        """What stands for a node's result in the model's code."""
        return _RecordedProxy(node, self)

    def create_arg(self, a: Any) -> Any:
        """What stands for an argument of a call in the graph."""
        if isinstance(a, torch.Tensor) and memory_of(a) in self._made.memories:
            self._used.setdefault(memory_of(a), (a, times_written(a)))
        return super().create_arg(a)

    def check_constants(self, graph: Graph) -> None:
        """Raise UserError if the model writes to a tensor that it made while it was traced, which is one for good."""
        used = {memory_of(tensor) for tensor, _ in self._used.values()}
        names = {name for name, item in vars(self.root).items() if isinstance(item, torch.Tensor)}
        names = {name for name in names if memory_of(vars(self.root)[name]) in used}
        written = [node for node in graph.nodes if any(arg.target in names for arg in written_by(node))]
        if written or any(times_written(tensor) != times for tensor, times in self._used.values()):
            line = source_of(written[0]) if written else None
            raise UserError(
                f"the model writes to a tensor that it makes itself{f' at {line}' if line else ''}, which torch.fx "
                "takes for a constant: use ir='dynamo', or make it of an input, as in torch.zeros_like(x)."
            )

    def _results(self, proxies: Sequence[Proxy]) -> list[Any]:
        args, keywords = _with_proxies(self._given, dict(zip(self.paths, proxies, strict=True)))
        with self._factories, self._made:
            result = self.root.forward(*args, **keywords)
        register_dataclasses_in(result)
        leaves, self.structure = pytree.tree_flatten(result)
        return leaves


def _recorded(function: Callable[..., Any]) -> Callable[[Proxy, Any], Proxy]:
    """A method of a proxy that puts a call of a function of two arguments into the graph."""
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


class _RecordedProxy(Proxy):
    """A proxy whose changes in place are in the graph: fx itself makes `x + 1`, another tensor, of `x += 1`."""

    __iadd__ = _recorded(operator.iadd)
    __isub__ = _recorded(operator.isub)
    __imul__ = _recorded(operator.imul)
    __itruediv__ = _recorded(operator.itruediv)
    __ifloordiv__ = _recorded(operator.ifloordiv)
    __imod__ = _recorded(operator.imod)
    __ipow__ = _recorded(operator.ipow)
    __imatmul__ = _recorded(operator.imatmul)
    __iand__ = _recorded(operator.iand)
    __ior__ = _recorded(operator.ior)
    __ixor__ = _recorded(operator.ixor)
    __ilshift__ = _recorded(operator.ilshift)
    __irshift__ = _recorded(operator.irshift)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, key, value), {})

    def __getattr__(self, name: str) -> Any:
        return _RecordedAttribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in _OWN:
            raise TypeError(f"it assigns to {name!r} of a tensor")
        super().__setattr__(name, value)


class _RecordedAttribute(_RecordedProxy, Attribute):
    """An attribute of what a proxy stands for, such as `x.T`."""


_OWN = frozenset({"tracer", "node", "root", "attr", "_node", "__dict__"})
"""Attributes of proxies themselves."""


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) or declares_input(leaf)


def _leaves(given: inspect.BoundArguments) -> dict[str, Any]:
    """The tensors, numbers and so on in the arguments of a call, by where they are, such as "['x'][0]"."""
    found, _ = pytree.tree_flatten_with_path(dict(given.arguments), is_leaf=is_declared)
    return {pytree.keystr(path): leaf for path, leaf in found}


def _with_proxies(
    given: inspect.BoundArguments, proxies: Mapping[str, Proxy]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a call, with proxies at those places."""
    arguments = pytree.tree_map_with_path(
        lambda path, leaf: proxies.get(pytree.keystr(path), leaf), dict(given.arguments), is_leaf=is_declared
    )
    call = inspect.BoundArguments(given.signature, arguments)
    return call.args, call.kwargs


def _check_attributes(model: nn.Module, graph: Graph) -> None:
    """Raise UserError if the model, traced just now, replaced a tensor that it reads, which a graph cannot."""
    for node in filter(lambda node: node.users, graph.find_nodes(op="get_attr")):
        *path, name = str(node.target).split(".")
        owner = model.get_submodule(".".join(path))
        if any(isinstance(places.get(name), Proxy) for places in (vars(owner), owner._buffers)):
            raise UserError(
                f"the model replaces its attribute {node.target!r} when it is called, which torch.fx does not record: "
                "make it a buffer (register_buffer) and write to it in place, as in self.x.copy_(…)."
            )


def _attributes_as_buffers(model: nn.Module) -> None:
    """Make buffers of tensors that are plain attributes: fx records reads of buffers, and runs those of attributes."""
    for module in model.modules():
        for name in [name for name, item in vars(module).items() if isinstance(item, torch.Tensor)]:
            module._buffers[name] = vars(module).pop(name)


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Afterwards, the attributes of the model and its modules are as they were, with the lists and dicts in them."""
    before: dict[int, tuple[Any, Any]] = {}
    for module in model.modules():
        _remember(vars(module), before)
    try:
        yield
    finally:
        for container, content in before.values():
            container.clear()
            container.extend(content) if isinstance(container, list) else container.update(content)


def _remember(container: Any, before: dict[int, tuple[Any, Any]]) -> None:
    if type(container) not in (dict, OrderedDict, list, set) or id(container) in before:
        return
    before[id(container)] = (container, container.copy())
    for item in container.values() if isinstance(container, dict) else container:
        _remember(item, before)
