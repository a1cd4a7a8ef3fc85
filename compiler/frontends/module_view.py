"""A module's tensors behind another `forward`: a method of it, or its fx graph run node by node."""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node
from torch.fx import traceback as fx_traceback
from torch.fx.immutable_collections import immutable_dict, immutable_list

from ..errors import UserError, did_you_mean
from .modes import Modes

_STATE = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
_NO_MODES: Mapping[str, Modes] = MappingProxyType({})
_ROOT = re.compile(r"^[LG]\['\w+'\]\.?")


class ModuleView(nn.Module):
    """The parameters, buffers and children of `owner`, not copied and under the same names, with another `forward`."""

    def __init__(self, owner: nn.Module, forward: Callable[..., Any]) -> None:
        super().__init__()
        for name in _STATE:
            object.__setattr__(self, name, getattr(owner, name))
        self.training = owner.training
        self.forward = forward


def method_module(method: types.MethodType) -> nn.Module | None:
    """The module whose `forward` is a bound method of a module; None if the method is bound to something else."""
    owner = method.__self__
    return ModuleView(owner, method) if isinstance(owner, nn.Module) else None


def method_of(module: nn.Module, name: str) -> Any:
    """What of a module is compiled for a method: the module for `forward`, else the method.

    Raises:
        UserError: there is no such method.
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"a {type(module).__name__} has no methods to compile: give a module.")
    if isinstance(module, torch.jit.ScriptModule):
        names = [item for item in module._c._method_names() if not item.startswith("__")]
    else:
        names = [item for item in dir(type(module)) if item not in dir(nn.Module) and not item.startswith("_")]
        names = [item for item in (*names, "forward") if callable(getattr(module, item, None))]
    if name not in names:
        raise UserError(f"{type(module).__name__} has no method {name!r}.{did_you_mean(name, names)}")
    return module if name == "forward" else getattr(module, name)


def is_torchscript(model: Any) -> bool:
    """Whether a model is a TorchScript module, a method of one, or a function, scripted or traced."""
    return isinstance(model, torch.jit.ScriptModule | torch.jit.ScriptFunction | torch._C.ScriptMethod)


def interpreted(module: GraphModule) -> nn.Module:
    """The module with its graph run node by node, so that exporting it keeps the lines and modules its nodes name."""
    signature = inspect.signature(module.forward)

    @functools.wraps(module.forward)
    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return _plain(run_with_lines(module, *bound.args))

    return ModuleView(module, forward)


def run_with_lines(module: GraphModule, *args: Any, modes: Mapping[str, Modes] = _NO_MODES) -> Any:
    """The results of a graph; what is traced meanwhile gets the lines and modules that the graph's nodes name.

    Nodes whose names have `modes` are run with these on.
    """
    with fx_traceback.preserve_node_meta():
        return _WithoutCheckpoints(module, modes).run(*args)


class _WithoutCheckpoints(Interpreter):
    """Runs parts that are computed again for gradients as others, which they are without gradients."""

    def __init__(self, module: GraphModule, modes: Mapping[str, Modes] = _NO_MODES) -> None:
        super().__init__(module)
        self._modes = modes

    def run_node(self, n: Node) -> Any:
        modes = self._modes.get(n.name)
        if modes is None:
            return super().run_node(n)
        with modes.entered():
            return super().run_node(n)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target is torch.ops.higher_order.tag_activation_checkpoint:
            body, *given = args
            return _WithoutCheckpoints(body).run(*given)
        return super().call_function(target, args, kwargs)


def _plain(result: Any) -> Any:
    """A result with dicts and lists where a graph has fx's immutable ones, which are for its nodes only."""
    if isinstance(result, immutable_dict):
        return {key: _plain(item) for key, item in result.items()}
    if isinstance(result, immutable_list):
        return [_plain(item) for item in result]
    return tuple(map(_plain, result)) if type(result) is tuple else result


def is_better_interpreted(module: nn.Module) -> bool:
    """Whether a module is an fx graph, with positional inputs, that torch.export takes better from `interpreted`.

    Namely one of PyTorch calls whose nodes know the user's lines, or one that returns dicts or lists.
    """
    return (
        isinstance(module, GraphModule)
        and all(parameter.kind is not inspect.Parameter.KEYWORD_ONLY for parameter in _parameters(module))
        and (
            any(node.meta.get("stack_trace") for node in module.graph.nodes if node.op != "placeholder")
            or _has_containers(module.graph.output_node().args[0])
        )
    )


def _has_containers(result: Any) -> bool:
    if isinstance(result, tuple):
        return any(map(_has_containers, result))
    return isinstance(result, immutable_dict | immutable_list)


def name_modules_like_users(exported: ExportedProgram) -> ExportedProgram:
    """The program, in place, with module paths such as "L['self'].layers.0", which dynamo gives, cut to "layers.0"."""
    for node in exported.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if stack:
            node.meta["nn_module_stack"] = {
                key: (_ROOT.sub("", path), kind) if isinstance(path, str) else (path, kind)
                for key, (path, kind) in stack.items()
            }
    return exported


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    return list(inspect.signature(module.forward).parameters.values())


def state_path(source: str) -> str | None:
    """The dotted name of a parameter or buffer in the module that owns it, from dynamo's name for where it found it.

    "L['self']._modules['fc']._parameters['weight']" is "fc.weight"; None for what no module owns.
    """
    keys = re.findall(r"\._(modules|parameters|buffers)\['([^']+)'\]", source)
    if not keys or keys[-1][0] == "modules":
        return None
    return ".".join(key for _, key in keys)
