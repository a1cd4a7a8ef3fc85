"""TorchScript, whole, to a module that torch.export takes."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

from ...errors import NotWhole, UserError, did_you_mean, first_line
from ...ir.dtypes import short_name
from ...ir.input import Input
from ...ir.module_state import blank_module
from ..exported_program import example_arguments
from ..kept_state import kept_state
from ..module_view import ModuleView
from .code import read_code
from .decisions import DeclaredSizes
from .given_types import check_fits
from .grid import Quantised
from .interpreter import At, Interpreter, Raised
from .traced_numbers import plain
from .twin import Twin, Unconverted, kept_attributes, twin_of


def module_from_script(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> nn.Module:
    """A module that does what a TorchScript module does, made with example inputs (see `trace`).

    A method of such a module, or a function, is taken likewise. Its code is run node by node, so that whatever is the
    same in every call is followed: attributes, numbers, text, None, containers of any kind, `if`s and loops on these
    and on sizes that all declared ranges decide alike. An `if` on a tensor becomes torch.cond. What the code assigns to
    attributes, tensors of one size and type, are buffers that are written. What cannot be converted are

    - loops whose length depends on a tensor, or on a size that is declared as a range;
    - `if` on a size that some of the declared sizes answer one way and some the other;
    - `if` on a tensor whose branches raise, change something, or return something else than tensors of one shape;
    - `if` on a Python number made of a tensor (`if x.max().item() > 1`); such numbers may be used otherwise;
    - attributes that change their size or type, or are no tensors, and objects of classes other than modules.

    Raises:
        NotWhole: the code cannot be converted, with the reason and the user's line.
        UserError: the inputs do not fit, or the model raises for the examples.
    """
    script = Script.of(model)
    declared = arguments_by_name(script, args, kwargs or {})
    devices = [item.name for item in script.arguments if item.name in declared and "Device" in str(item.type)]
    if devices:
        raise NotWhole(f"the TorchScript model takes a device, {devices[0]}, and a graph takes none.")
    twin, run = script.twin()
    _, given = example_arguments(twin, (), declared)
    expected = _called(script, given)
    sizes = DeclaredSizes(declared)
    results = script.schema.returns[0].type
    defaults = {item.name: item.default_value for item in script.arguments if item.has_default_value()}
    signature = inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in given])

    def forward(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs).arguments
        sizes.read(bound)
        values = {**defaults, **bound}
        try:
            return _of_type(results, run(sizes, [values[item.name] for item in script.arguments]), expected)
        except UserError:
            raise
        except Exception as error:
            raise refusal(error) from error

    _check(expected, twin, lambda: forward(**_copies(given)), _is_quantised(script))
    forward.__signature__ = signature  # type: ignore[attr-defined]
    return ModuleView(twin, forward)


def refusal(error: BaseException) -> NotWhole:
    """What is said of code that cannot be converted."""
    place = error.op.place if isinstance(error, At) else None
    where = f" at {PurePath(place.file).name}:{place.line}" if place else ""
    return NotWhole(f"the TorchScript model cannot be converted as a whole{where}: {_why(error).rstrip('.')}.")


def _why(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, At) and error.__cause__ is not None else error
    if isinstance(cause, Unconverted):
        return str(cause)
    if isinstance(cause, GuardOnDataDependentSymNode):
        return "it has an `if` on a Python number made of a tensor, as by item(): compare the tensor itself"
    if isinstance(cause, Raised):
        return f"it raises for the declared sizes: {cause}"
    return first_line(cause)


def _of_type(kind: Any, value: Any, like: Any) -> Any:
    """A result in the containers of its TorchScript type, which the converter exchanges for its own.

    Args:
        kind: the type.
        value: the result.
        like: what the model gave for the examples: tuples with names are of its classes; None where it had nothing.
    """
    if isinstance(value, Quantised):
        raise Unconverted("it returns a quantised tensor")
    if isinstance(kind, torch._C.OptionalType):
        return None if value is None else _of_type(kind.getElementType(), value, like)
    if isinstance(kind, torch._C.TupleType):
        others = like if isinstance(like, tuple) else [None] * len(value)
        parts = [_of_type(*each) for each in zip(kind.elements(), value, others, strict=True)]
        return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)
    if isinstance(kind, torch._C.ListType):
        first = like[0] if like else None
        return [_of_type(kind.getElementType(), item, first) for item in value]
    if isinstance(kind, torch._C.DictType):
        known: dict[Any, Any] = like or {}
        first = next(iter(known.values()), None)
        return {key: _of_type(kind.getValueType(), item, known.get(key, first)) for key, item in value.items()}
    return plain(value)


@dataclass(frozen=True)
class Script:
    """What of TorchScript is called.

    Attributes:
        run: it itself.
        owner: the module that has its weights; None for a function.
        name: of the method.
        schema: of the method or function.
        arguments: those of the schema that a caller gives.
    """

    run: Any
    owner: Any
    name: str
    schema: Any
    arguments: tuple[Any, ...]

    @classmethod
    def of(cls, model: Any) -> Script:
        """The module's `forward`, the method, or the function.

        Raises:
            UserError: the module has no `forward`.
        """
        wrap: Any = torch.jit._recursive.wrap_cpp_module
        if isinstance(model, torch._C.ScriptMethod):
            return cls(model, wrap(model.owner), model.name, model.schema, tuple(model.schema.arguments[1:]))
        if not isinstance(model, torch.jit.ScriptModule):
            return cls(model, None, "", model.schema, tuple(model.schema.arguments))
        forward = getattr(model, "forward", None)
        if forward is None:
            others = [name for name in model._c._method_names() if not name.startswith(("_", "forward__"))]
            instead = f", such as model.{others[0]}" if others else ""
            raise UserError(
                f"the TorchScript module {model.original_name} has no method forward: give another method of "
                f"it{instead}, or the nn.Module that it was made from, with ir='ts'."
            )
        return cls(model, model, "forward", forward.schema, tuple(forward.schema.arguments[1:]))

    def twin(self) -> tuple[nn.Module, Callable[[DeclaredSizes, Sequence[Any]], Any]]:
        """Plain modules with its tensors, and what runs its code on all arguments, in order."""
        if self.owner is None:
            code = read_code(self.run.graph)
            return nn.Module(), lambda sizes, values: Interpreter(sizes).function(code, values)
        twin: Twin = twin_of(self.owner)
        return twin, lambda sizes, values: Interpreter(sizes).method(twin, self.name, values)


def with_forward(model: Any) -> Any:
    """The module; for a method or a function, one whose `forward` calls it."""
    script = Script.of(model)
    if script.owner is not None and script.name == "forward":
        return script.owner
    root = blank_module()
    root.training = False
    root.script = script.run if script.owner is None else script.owner
    name = "self.script" if script.owner is None else f"self.script.{script.name}"
    texts = []
    for item in script.arguments:
        default = item.default_value if item.has_default_value() else _NONE
        kept = default is None or isinstance(default, bool | int | float | str)
        texts.append(f"{item.name}: {item.type.annotation_str}" + (f" = {default!r}" if kept else ""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        caller: Any = torch.jit.script(root)
        given = ", ".join(item.name for item in script.arguments)
        caller.define(f"def forward(self, {', '.join(texts)}):\n    return {name}({given})\n")
    return caller


_NONE = object()


def arguments_by_name(script: Script, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, in the order in which the model takes them."""
    names = [item.name for item in script.arguments]
    unknown = next((name for name in kwargs if name not in names), None)
    if unknown is not None:
        raise UserError(f"the TorchScript model has no argument {unknown!r}.{did_you_mean(unknown, names)}")
    if len(args) > len(names):
        raise UserError(f"the TorchScript model takes {len(names)} arguments, but {len(args)} inputs are given.")
    given = dict(zip(names, args, strict=False)) | dict(kwargs)
    for item in (item for item in script.arguments if item.name not in given):
        if not item.has_default_value():
            raise UserError(f"the TorchScript model is not given {item.name!r}: give an input for it.")
        if item.default_value is None and isinstance(item.type, torch._C.TensorType):
            raise UserError(
                f"argument {item.name!r} of the TorchScript model is a Tensor whose default is None, which TorchScript "
                f"cannot pass: annotate it as `{item.name}: Optional[torch.Tensor] = None` and script the model again, "
                "or give the argument."
            )
    for item in script.arguments:
        if item.name in given:
            check_fits(item.name, given[item.name], item.type)
    return {name: given[name] for name in names if name in given}


def defaults_of(model: Any, count: int, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, texts and None that arguments have by default, by name, of those that are not among the given ones.

    Args:
        model: TorchScript.
        count: of positional arguments that are given.
        kwargs: the others.
    """
    rest = [item for item in Script.of(model).arguments[count:] if item.name not in kwargs and item.has_default_value()]
    plain_values = (bool, int, float, str)
    return {
        item.name: item.default_value
        for item in rest
        if (isinstance(item.default_value, plain_values) and item.default_value == item.default_value)  # no nan
        or (item.default_value is None and not isinstance(item.type, torch._C.TensorType))
    }


def _called(script: Script, given: Mapping[str, Any]) -> Any:
    """What the model makes of the examples."""
    try:
        with kept_attributes(script.owner) if script.owner is not None else nullcontext():
            return _result_of(lambda: _run_in_order(script, _copies(given)))
    except Unconverted as error:
        raise refusal(error) from error
    except Exception as error:
        raise raised_by_model(error, given) from error


def _run_in_order(script: Script, given: dict[str, Any]) -> Any:
    """Call with positional arguments where that is possible: hooks of a module see no others."""
    names = [item.name for item in script.arguments]
    leading = [name for place, name in enumerate(names) if all(other in given for other in names[: place + 1])]
    first = [given.pop(name) for name in leading]
    return script.run(*first, **given)


def raised_by_model(error: Exception, given: Mapping[str, Any]) -> UserError:
    """What is said of a model that raises for its examples."""
    inputs = ", ".join(f"{name}: {_described(value)}" for name, value in given.items())
    return UserError(
        f"the TorchScript model raises when it is called with {inputs}: {_reason(error)}. Give inputs of sizes and "
        "types that it takes."
    )


def _reason(error: Exception) -> str:
    """The first line of an error, or of the one that TorchScript quotes at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    quoted = isinstance(error, torch.jit.Error) or "in the TorchScript interpreter" in lines[0]
    if not quoted:
        return lines[0].rstrip(".")
    kind, _, said = lines[-1].rpartition("Error: ")
    return f"there is no key {said!r}" if kind.endswith("Key") else said.rstrip(".")


def _described(value: Any) -> str:
    if isinstance(value, Input):
        return str(value)
    if isinstance(value, torch.Tensor):
        return f"{short_name(value.dtype)}[{','.join(map(str, value.shape))}]"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_described, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_described(item)}' for key, item in value.items())}}}"
    return repr(value)


def _is_quantised(script: Script) -> bool:
    """Whether a model has operators on quantised tensors."""
    methods = [
        part._c._get_method(name)
        for part in (script.owner.modules() if script.owner is not None else ())
        for name in part._c._method_names()
    ]
    return any("quantize" in str(method.graph) for method in (*methods, script.run))


def _check(expected: Any, twin: nn.Module, call: Callable[[], Any], is_quantised: bool) -> None:
    """Compare what is computed from the examples with what the model does."""
    with kept_state(twin, ()):
        result = _result_of(call)
    if not _is_close(pytree.tree_leaves(result), pytree.tree_leaves(expected), 0.05 if is_quantised else 0.0):
        raise NotWhole(
            "the program made of the TorchScript model computes something else than the model does for the examples."
        )


def _is_close(found: Sequence[Any], expected: Sequence[Any], steps: float) -> bool:
    """Whether results are the same: tensors and numbers nearly, texts, devices and None exactly.

    Numbers that lie between two of a grid become either, so that results of quantised models may be some steps apart:
    `steps`, of the largest number.
    """
    if len(found) != len(expected):
        return False
    numbers = (torch.Tensor, bool, int, float, complex)
    for ours, theirs in zip(found, expected, strict=True):
        if not isinstance(theirs, numbers):
            if type(ours) is not type(theirs) or ours != theirs:
                return False
            continue
        largest = float(theirs.abs().max()) if steps and isinstance(theirs, torch.Tensor) and theirs.numel() else 0.0
        atol = max(1e-2, steps * largest)
        if isinstance(theirs, torch.Tensor) and isinstance(ours, torch.Tensor) and ours.shape == theirs.shape:
            unknown = theirs.isnan()  # as of a row that a mask hides: what is made of it differs from kernel to kernel
            ours, theirs = ours.masked_fill(unknown, 0), theirs.masked_fill(unknown, 0)
        try:
            torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=atol, equal_nan=True, check_stride=False)
        except (AssertionError, TypeError):  # the latter where they are not of one kind
            return False
    return True


def _copies(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: pytree.tree_map_only(torch.Tensor, torch.Tensor.clone, value) for name, value in given.items()}


def _result_of(call: Callable[[], Any]) -> Any:
    """The result of a call, with the same random numbers every time."""
    with torch.no_grad(), torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        return pytree.tree_map_only(torch.Tensor, torch.Tensor.clone, call())
