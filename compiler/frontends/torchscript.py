"""TorchScript to a module that torch.export takes, through PyTorch's own converter."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from ..errors import UserError, did_you_mean
from ..ir.dtypes import short_name
from ..ir.held_logs import held_logs
from ..ir.module_state import blank_module
from .exported_program import example_arguments
from .module_view import ModuleView
from .torchscript_graph import DeclaredSizes, Unconverted, converted_graph, layer_at, run_graph

_MEANINGS = MappingProxyType(
    {
        "prim::Loop": "it has a loop whose length depends on a size or a value: write it for a fixed number of rounds",
        "prim::If": "it has an `if` whose branches return or change something that is no tensor: give both the same",
        "data-dependent": "it has an `if` on a Python number made of a tensor, as by item(): compare the tensor itself",
    }
)
"""What the converter says, and what is the case."""


def module_from_script(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> nn.Module:
    """A module of ATen calls with the tensors of a TorchScript module, made with example inputs (see `trace`).

    A method of such a module, or a function, is taken likewise.

    Control flow is kept where it depends on tensors (`if` on one, as torch.cond) and followed where it is the same in
    every call: on attributes, numbers, sizes that all declared ranges decide alike, and arguments that are left out.
    The converter cannot take

    - loops whose length depends on a size or a value (`for i in range(x.size(0))`, `while`), other than those that
      TorchScript unrolls;
    - `if` on a size that some of the declared sizes answer one way and some the other;
    - `if` on a tensor whose branches return something else than tensors of one shape;
    - `if` on a Python number made of a tensor (`if x.max().item() > 1`); such numbers may be used otherwise;
    - arguments that are None, text or of a class: leave them out, which makes them their defaults.

    Raises:
        UserError: the model raises for the examples, PyTorch cannot convert the code, with its reason, or what it made
            of it computes something else.
    """
    script = _Script.of(model)
    declared = _by_name(script, args, kwargs or {})
    _, given = example_arguments(script.owner, (), declared)
    expected = _called(script, given)
    callee = _with_given_arguments(script, given)
    sizes = DeclaredSizes(declared)
    results = script.schema.returns[0].type
    with _quiet():
        module = _converted(script.owner, callee, tuple(given.values()), sizes)
        _check(expected, module, given)
    signature = inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in given])

    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        sizes.read(bound.arguments)
        try:
            return _of_type(results, run_graph(module, *bound.args))
        except UserError:
            raise
        except Exception as error:
            raise _refusal(error) from error

    forward.__signature__ = signature  # type: ignore[attr-defined]
    return ModuleView(module, forward)


def _converted(
    owner: nn.Module, script: torch.jit.ScriptModule, args: tuple[Any, ...], sizes: DeclaredSizes
) -> GraphModule:
    # The converter takes two arguments that are one tensor for one argument.
    args = pytree.tree_map_only(torch.Tensor, torch.Tensor.clone, args)
    try:
        with torch.no_grad():
            return converted_graph(script, args, sizes)
    except Unconverted as error:
        layer = layer_at(owner, error.place)
        if layer is not None and hasattr(nn, layer[1].original_name):
            raise _refused_layer(*layer) from error
        raise _refusal(error.__cause__ or error, error.place) from error
    except Exception as error:
        raise _refusal(error) from error


def _refused_layer(path: str, layer: Any) -> UserError:
    """Code of PyTorch's own, of which the user can change nothing but the mode."""
    what = f"layer {path!r} ({layer.original_name}) of the TorchScript model" if path else layer.original_name
    mode, way = (" in training mode", "call eval() on the model, or ") if layer.training else ("", "")
    return UserError(
        f"PyTorch cannot convert {what}{mode} from TorchScript: {way}compile the nn.Module that it was made from, with "
        "ir='ts'."
    )


def _refusal(error: BaseException, place: str = "") -> UserError:
    text = str(error).strip()
    lines = text.splitlines() or [type(error).__name__]
    meaning = next((meaning for word, meaning in _MEANINGS.items() if word in text), None)
    reason = f"{meaning} ({lines[0].rstrip('.')})" if meaning else lines[0]
    line = re.search(r'File "(.*)", line (\d+)', place)
    where = f" at {PurePath(line[1]).name}:{line[2]}" if line else ""
    return UserError(f"PyTorch cannot convert the TorchScript model{where}: {reason}")


def _of_type(kind: Any, value: Any) -> Any:
    """A result in the containers of its TorchScript type, which the converter exchanges for its own."""
    if isinstance(kind, torch._C.OptionalType):
        return None if value is None else _of_type(kind.getElementType(), value)
    if isinstance(kind, torch._C.TupleType):
        return tuple(_of_type(inner, item) for inner, item in zip(kind.elements(), value, strict=True))
    if isinstance(kind, torch._C.ListType):
        return [_of_type(kind.getElementType(), item) for item in value]
    if isinstance(kind, torch._C.DictType):
        return {key: _of_type(kind.getValueType(), item) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class _Script:
    """What of TorchScript is called.

    Attributes:
        run: it itself.
        owner: the module that has its weights; one without any for a function.
        schema: of the method or function.
        call: how TorchScript calls it, where it (or the module whose method it is) is the attribute `script`.
        arguments: those of the schema that a caller gives.
    """

    run: Any
    owner: nn.Module
    schema: Any
    call: str
    arguments: tuple[Any, ...]

    @classmethod
    def of(cls, model: Any) -> _Script:
        """The module's `forward`, the method, or the function."""
        if isinstance(model, torch._C.ScriptMethod):
            return cls._of_method(model)
        if not isinstance(model, torch.jit.ScriptModule):
            return cls(model, nn.Module(), model.schema, "self.script", tuple(model.schema.arguments))
        forward = getattr(model, "forward", None)
        if forward is None:
            raise UserError(
                f"the TorchScript module {model.original_name} has no method forward: give the nn.Module that it was "
                "made from, with ir='ts', or another method of it, such as model.encode."
            )
        return cls(model, model, forward.schema, "self.script", tuple(forward.schema.arguments[1:]))

    @classmethod
    def _of_method(cls, method: Any) -> _Script:
        wrap: Any = torch.jit._recursive.wrap_cpp_module
        owner = wrap(method.owner)
        if method.name == "forward":
            return cls.of(owner)
        call = f"self.script.{method.name}"
        return cls(method, owner, method.schema, call, tuple(method.schema.arguments[1:]))

    @property
    def attribute(self) -> Any:
        """What `call` finds as the attribute `script`."""
        return self.run if isinstance(self.run, torch.jit.ScriptFunction) else self.owner


def _by_name(script: _Script, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, in the order in which the model takes them."""
    names = [item.name for item in script.arguments]
    unknown = next((name for name in kwargs if name not in names), None)
    if unknown is not None:
        raise UserError(f"the TorchScript model has no argument {unknown!r}.{did_you_mean(unknown, names)}")
    if len(args) > len(names):
        raise UserError(f"the TorchScript model takes {len(names)} arguments, but {len(args)} inputs are given.")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    for name, value in given.items():
        if value is None:
            raise UserError(
                f"argument {name!r} of the TorchScript model is None, which PyTorch cannot convert: leave it out, "
                "which makes it its default."
            )
    for item in (item for item in script.arguments if item.name not in given):
        if not item.has_default_value():
            raise UserError(f"the TorchScript model is not given {item.name!r}: give an input for it.")
        if item.default_value is None and isinstance(item.type, torch._C.TensorType):
            raise UserError(
                f"argument {item.name!r} of the TorchScript model is a Tensor whose default is None, which TorchScript "
                f"cannot pass: annotate it as `{item.name}: Optional[torch.Tensor] = None` and script the model again, "
                "or give the argument."
            )
    return {name: given[name] for name in names if name in given}


def _with_given_arguments(script: _Script, given: Mapping[str, Any]) -> torch.jit.ScriptModule:
    """The module itself, or one with only the arguments that are given, since the converter knows no optional ones."""
    optional = any(isinstance(item.type, torch._C.OptionalType) for item in script.arguments)
    if isinstance(script.run, torch.jit.ScriptModule) and len(given) == len(script.arguments) and not optional:
        return script.run
    types = {item.name: item.type for item in script.arguments}
    plain = {name: _not_optional(types[name]) for name in given}
    parameters = "".join(f", {name}: {type.annotation_str}" for name, type in plain.items())
    call = ", ".join(f"{name}={name}" for name in plain)
    root = blank_module()
    root.script = script.attribute
    with _quiet():
        caller = torch.jit.script(root)
        caller.define(f"def forward(self{parameters}):\n    return {script.call}({call})\n")
    return caller


def _not_optional(type: Any) -> Any:
    return type.getElementType() if isinstance(type, torch._C.OptionalType) else type


def _called(script: _Script, given: Mapping[str, Any]) -> Any:
    """What the model makes of the examples."""
    try:
        with _quiet():
            return _unchanged(script.owner, lambda: script.run(**_copies(given)))
    except Exception as error:
        inputs = ", ".join(f"{name}: {_described(value)}" for name, value in given.items())
        raise UserError(
            f"the TorchScript model raises when it is called with {inputs}: {_reason(error)}. Give inputs of sizes and "
            "types that it takes."
        ) from error


def _reason(error: Exception) -> str:
    """The first line of an error, or of the one that TorchScript quotes at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    quoted = isinstance(error, torch.jit.Error) or "in the TorchScript interpreter" in lines[0]
    return lines[-1].rpartition("Error: ")[2].rstrip(".") if quoted else lines[0].rstrip(".")


def _described(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{short_name(value.dtype)}[{','.join(map(str, value.shape))}]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_described, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_described(item)}' for key, item in value.items())}}}"
    return repr(value)


def _check(expected: Any, module: GraphModule, given: Mapping[str, Any]) -> None:
    """Compare what the graph computes from the examples with what the model does."""
    # Unlike the script, the graph knows its arguments by their order alone.
    try:
        result = _unchanged(module, lambda: run_graph(module, *_copies(given).values()))
    except UserError:
        raise
    except Exception as error:
        raise _refusal(error) from error
    try:
        torch.testing.assert_close(
            pytree.tree_leaves(result),
            pytree.tree_leaves(expected),
            rtol=1e-2,
            atol=1e-2,
            equal_nan=True,
            check_stride=False,
        )
    except AssertionError as error:
        raise UserError(
            "PyTorch's converter makes a program of the TorchScript model that computes something else: "
            "compile the nn.Module that it was made from."
        ) from error


def _copies(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: pytree.tree_map_only(torch.Tensor, torch.Tensor.clone, value) for name, value in given.items()}


def _unchanged(module: nn.Module, call: Callable[[], Any]) -> Any:
    """The result of a call after which the module's buffers are as they were."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            return pytree.tree_map_only(torch.Tensor, torch.Tensor.clone, call())
    finally:
        with torch.no_grad():
            for buffer, content in before:
                buffer.copy_(content)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without PyTorch's advice not to use TorchScript, and what the converter logs besides raising it."""
    with held_logs("torch._export.converter"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
