"""The ahead-of-time front end: nn.Module, GraphModule or ExportedProgram to `Program`, through torch.export."""

from __future__ import annotations

import contextlib
import functools
import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from keyword import iskeyword
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..inputs import declares_input
from ..ir.input import Input
from ..ir.left_out import LeftOut
from ..ir.memory import memory_of
from ..ir.program import Program
from ..ir.quantisation import Quantisation
from ..ir.recurrent_operators import WholeRecurrentLayers
from ..ir.retraced import HIDING_NAMES, with_plain_names
from ..ir.symbols import expression
from ..ir.tracing import tracing
from .adopted_program import adopted
from .called_again import check_not_computed_with, python_state_watched
from .causal_masks import masks_not_compared
from .contiguous_calls import ContiguousCalls
from .dataclasses_in_results import results_registered
from .declared_ranges import with_inputs
from .example_decisions import NotWanted, values_of_examples, with_decisions
from .flex_attention import flex_attention_in_operators
from .given_arguments import (
    as_leaf,
    check_containers,
    check_signature,
    hint_at_shapes,
    is_declared,
)
from .gradients import GradientsNoticed, transforms_ended
from .inputs_as_constants import check_inputs_are_none
from .kept_containers import containers_kept
from .kept_state import kept_state, kept_values
from .keyword_signature import named_keywords
from .memory_reads import MemoryReads, require_what_is_asked
from .module_view import interpreted, is_better_interpreted, is_torchscript, method_module
from .plain_state import with_plain_state
from .pooled_rows import PooledRows
from .quantisers import exported_quantisers, unpack_quantised
from .quiet import quiet_rejection
from .rejections import first_line, is_unknown_result, own_failure, rejection
from .reshaped_tensors import NothingRebound, check_not_reshaped
from .seeds import check_draws_as_seeded, seed_watched
from .size_decisions import lines_of_decisions
from .size_guards import check_size_guards
from .size_trial import SizeTrial
from .torchao_weights import check_weights
from .training_mode import warn_of_training
from .unchanged_modules import unchanged_modules_left
from .written_constants import written_constants_as_buffers

Leaf = Any

_NOT_IN_NAMES = frozenset("\"'\\")
"""Of a result that PyTorch cannot take apart; 2.11 asks first whether it is hashable, which dataclasses are not."""


def trace(
    model: torch.nn.Module | types.MethodType | ExportedProgram | Program,
    inputs: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    decide_by_examples: bool = False,
) -> Program:
    """Export a model for the shapes that its inputs declare.

    Args:
        model: an nn.Module (or fx.GraphModule) in eval mode, a method of one such as `model.encode`, or an
            ExportedProgram, which is taken as it is: its own ranges hold unless `Input`s or texts declare others.
        inputs: the positional arguments: `Input`s, example tensors, texts such as "1..8x3:f16", nested lists, tuples
            and dicts of them, Python numbers, other texts, and None. A dimension whose smallest and largest sizes
            differ is exported as dynamic. What torch.export decides by the example's sizes, and that nothing is of size
            1, is tried where other declared sizes may differ: the model is right for all of them, or refused.
        kwargs: keyword arguments, likewise.
        decide_by_examples: where the model decides by a value of a tensor, which torch.export cannot follow
            (`if mask.any():`), export what it does for the example tensors; a call for which it would decide otherwise
            raises RuntimeError. Without it such a model is exported only if all those values come from constants.

    Raises:
        UserError: torch.export rejects the model (with its reason and the user's line), or the model does not allow the
            declared ranges.
    """
    if decide_by_examples and isinstance(model, Program | ExportedProgram):
        raise UserError(
            "decide_by_examples is for models that are not exported yet, and this one is already: leave it out."
        )
    if isinstance(model, Program):
        return model
    if isinstance(model, ExportedProgram):
        program = adopted(_as_taken(model), inputs, kwargs)
        warn_of_training(program, None)
        return program
    if is_torchscript(model):
        raise UserError(
            "the model is a TorchScript module: pass the nn.Module it was made from, or an ExportedProgram."
        )
    model = _as_module(model)
    check_weights(model)
    unpack_quantised(model)
    check_containers(inputs, kwargs)
    if inputs is None and not kwargs:
        raise UserError("the model has no inputs to be exported with: give tp.Input objects or example tensors.")
    check_signature(model.forward, inputs or (), kwargs or {})
    declared, spec = pytree.tree_flatten((tuple(inputs or ()), dict(kwargs or {})), is_leaf=is_declared)
    leaves = [as_leaf(leaf) for leaf in declared]
    if decide_by_examples and any(declares_input(leaf) for leaf in declared):
        raise UserError("decide_by_examples follows the model where its inputs lead: give example tensors as inputs.")
    device = _device_of_call(model, declared)
    examples = unshared([_example_of(leaf, device) for leaf in declared], _tensors_of(model))
    try:
        program = _checked(model, examples, spec, leaves, decide_by_examples)
    except UserError as rejection:
        program = _with_other_examples(model, spec, leaves, device, rejection)
    warn_of_training(program, model)
    quantisation = getattr(model, "quantisation", None)
    return replace(
        program,
        left_out=LeftOut.of(model.forward, inputs or (), kwargs or {}),
        quantisation=quantisation if isinstance(quantisation, Quantisation) else None,
    )


def _checked(
    model: torch.nn.Module, examples: list[Any], spec: Any, leaves: list[Leaf], by_examples: bool = False
) -> Program:
    """The model, exported with examples and compared with what its inputs declare."""
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Input))
    try:
        exported = _export(model, pytree.tree_unflatten(examples, spec), leaves, by_examples)
    except UserError as error:
        raise _NotExported(str(error)) from error.__cause__
    program = with_inputs(exported, tensors, tried=True)
    check_size_guards(program, _trial(exported, model, examples, spec, leaves))
    return program


class _NotExported(UserError):
    """torch.export itself rejects the model."""


def _with_other_examples(
    model: torch.nn.Module, spec: Any, leaves: list[Leaf], device: torch.device, rejection: UserError
) -> Program:
    """The model, exported with examples of other sizes than the usual ones, for which it was rejected.

    torch.export may have decided by a size of theirs that happens to be 1, or that of something else.

    Raises:
        UserError: it is rejected again; if torch.export itself rejected it, with what it says of equal sizes.
    """
    tensors = [leaf for leaf in leaves if isinstance(leaf, Input)]
    if isinstance(rejection, _NotExported):
        common = _common_size(tensors)
        if common is None:
            raise rejection from rejection.__cause__
        # Usual sizes that differ where the model needs equal ones: with equal sizes it can be said which they are.
        try:
            return _checked(model, [_example(leaf, None, device, lambda *_: common) for leaf in leaves], spec, leaves)
        except _NotExported:
            raise rejection from rejection.__cause__
    for more in _MORE if any(item.is_dynamic for item in tensors) else ():
        examples = [_example(leaf, None, device, functools.partial(_shifted, more)) for leaf in leaves]
        with contextlib.suppress(UserError):
            return _checked(model, examples, spec, leaves)
    raise rejection from rejection.__cause__


_MORE = (3, 8)
"""How much larger than usual sizes others are that are tried."""


def _shifted(more: int, low: int, usual: int, high: int) -> int:
    low = max(low, 2)
    return low + (usual - low + more) % max(high - low + 1, 1)


def _trial(
    exported: ExportedProgram, model: torch.nn.Module, examples: list[Any], spec: Any, leaves: list[Leaf]
) -> SizeTrial | None:
    """What tells whether the graph is what the model does at some sizes; None if no size varies."""
    if not any(isinstance(leaf, Input) and leaf.is_dynamic for leaf in leaves):
        return None
    shapes = [example.shape for example in examples if isinstance(example, torch.Tensor)]
    nodes = (node.meta.get("val") for node in Program(exported).user_inputs)
    values = [value for value in nodes if isinstance(value, torch.Tensor)]
    dims = (pair for value, shape in zip(values, shapes, strict=True) for pair in zip(value.shape, shape, strict=True))
    usual = {expression(size): length for size, length in dims if isinstance(size, torch.SymInt)}

    def example(index: int, shape: Sequence[int]) -> torch.Tensor:
        given: torch.Tensor = examples[index]
        return given if given.shape == tuple(shape) else leaves[index].example(given.device, shape)

    return SizeTrial(exported, usual, model, examples, spec, lambda: _as_traced(model), example)


@contextlib.contextmanager
def _exporting() -> Iterator[None]:
    """While entered, `torch.compiler.is_compiling()` and `is_exporting()` say yes, as they do in torch.export."""
    names = ("_is_compiling_flag", "_is_exporting_flag")
    before = [getattr(torch.compiler, name) for name in names]
    try:
        for name in names:
            setattr(torch.compiler, name, True)
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(torch.compiler, name, value)


@contextlib.contextmanager
def _as_traced(model: torch.nn.Module) -> Iterator[None]:
    """While entered, the model runs as it is traced; its state is kept."""
    with kept_state(model, ()), _called_as_traced():
        yield


@contextlib.contextmanager
def _called_as_traced() -> Iterator[None]:
    """While entered, models do what they do while they are traced."""
    # Models ask whether they are compiled, and mixtures of experts then call other operators.
    with WholeRecurrentLayers(), masks_not_compared(), flex_attention_in_operators(), _exporting():
        yield


def _as_module(model: Any) -> torch.nn.Module:
    if isinstance(model, torch.fx.GraphModule) and is_better_interpreted(model):
        return interpreted(model)
    module = method_module(model) if isinstance(model, types.MethodType) else model
    if isinstance(module, str | os.PathLike):
        raise UserError(
            f"the model is the name {os.fspath(module)!r}: load what is there, with torch.export.load, torch.jit.load "
            "or tp.load, and give that."
        )
    if not isinstance(module, torch.nn.Module):
        raise UserError(
            f"the model is a {type(model).__name__}: give an nn.Module, a method of one or a "
            "torch.export.ExportedProgram."
        )
    return module


def _example(
    leaf: Leaf, tensor: torch.Tensor | None, device: torch.device, size: Callable[[int, int, int], int] | None = None
) -> Any:
    """An example of a leaf: the tensor given for it, or one of the usual sizes.

    A size that varies is what `size` makes of the smallest, the usual and the largest.
    """
    if not isinstance(leaf, Input):
        return leaf
    if tensor is not None:
        return tensor
    # torch.export takes an example size of 1 (or 0) for a constant, so a dynamic dimension shows it another one.
    sizes = list(leaf.opt_shape)
    for dim in leaf.dynamic_dims:
        least = sizes[dim] if sizes[dim] >= 2 else min(2, leaf.max_shape[dim])
        sizes[dim] = least if size is None else size(leaf.min_shape[dim], sizes[dim], leaf.max_shape[dim])
    return leaf.example(device, sizes)


def example_arguments(
    model: torch.nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any], otherwise: str = "cpu"
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments to call a model with, made from what `trace` takes as inputs; tensors are used as they are.

    They are on the model's device; if the model has no tensors on that of the first one given, or on the other one.
    """
    call = (tuple(inputs), dict(kwargs))
    device = _device_of_call(model, pytree.tree_leaves(call, is_leaf=is_declared), otherwise)
    args, named = pytree.tree_map(lambda leaf: _example_of(leaf, device), call, is_leaf=is_declared)
    return args, named


def device_of(model: torch.nn.Module, otherwise: str = "cpu") -> torch.device:
    """The device of a model's first tensor, or the other one if it has none."""
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device(otherwise))


def _device_of_call(model: torch.nn.Module, declared: Sequence[Any], otherwise: str = "cpu") -> torch.device:
    given = next((str(item.device) for item in declared if isinstance(item, torch.Tensor)), otherwise)
    return device_of(model, given)


def _example_of(declared: Any, device: torch.device) -> Any:
    return _example(as_leaf(declared), declared if isinstance(declared, torch.Tensor) else None, device)


def _tensors_of(model: torch.nn.Module) -> list[torch.Tensor]:
    """Parameters, buffers, and tensors that are plain attributes."""
    return [*model.parameters(), *state_of(model)]


def state_of(model: torch.nn.Module) -> list[torch.Tensor]:
    """Buffers, and tensors that are plain attributes."""
    attributes = (item for module in model.modules() for item in vars(module).values())
    return [*model.buffers(), *(item for item in attributes if isinstance(item, torch.Tensor))]


def unshared(values: Sequence[Any], owned: Sequence[torch.Tensor] = ()) -> list[Any]:
    """The values, with copies of tensors that share memory with an earlier one, or one of `owned`; none is a view.

    torch.export takes them for one tensor: what the program does with one it would do with the other. Of a view it
    checks the size of what that is a view of, also where none is any more.
    """
    seen = {memory_of(tensor) for tensor in owned}
    result = []
    for value in values:
        if isinstance(value, torch.Tensor):
            memory = memory_of(value)
            value = value.detach().clone() if memory in seen else (value.data if _is_view(value) else value)
            seen.add(memory)
        result.append(value)
    return result


def _is_view(tensor: torch.Tensor) -> bool:
    return not tensor.is_inference() and tensor._base is not None


def _common_size(inputs: Sequence[Input]) -> int | None:
    """A size that every dynamic dimension may have; None when there is none, or all usual sizes are equal anyway."""
    ranges = [
        (item.min_shape[dim], item.opt_shape[dim], item.max_shape[dim]) for item in inputs for dim in item.dynamic_dims
    ]
    if len({opt for _, opt, _ in ranges}) < 2:
        return None
    size = max(2, *(low for low, _, _ in ranges))
    return size if size <= min(high for _, _, high in ranges) else None


def _dynamic_shapes(model: torch.nn.Module, args: Any, kwargs: Any, leaves: list[Leaf]) -> Any:
    """The `dynamic_shapes` argument of torch.export: every declared range, equalities left for it to find."""
    if not any(isinstance(leaf, Input) and leaf.is_dynamic for leaf in leaves):
        return None
    from torch.export.dynamic_shapes import _combine_args

    hints = iter([_hints(leaf) for leaf in leaves])
    marked_args, marked_kwargs = pytree.tree_map(lambda _: next(hints), (args, kwargs))
    return _combine_args(model, marked_args, marked_kwargs)


def _hints(leaf: Leaf) -> Any:
    if not isinstance(leaf, Input) or not leaf.is_dynamic:
        return None
    return _Hints({dim: Dim.AUTO(min=leaf.min_shape[dim], max=leaf.max_shape[dim]) for dim in leaf.dynamic_dims})


class _Hints(dict[int, Any]):
    """A dict that pytree takes for a leaf."""


def _export(model: torch.nn.Module, call: Any, leaves: list[Leaf], by_examples: bool) -> ExportedProgram:
    args, kwargs = call
    with named_keywords(model, kwargs):
        shapes = _dynamic_shapes(model, args, kwargs, leaves)
        if shapes is not None:
            shapes = {name: _plain(value) for name, value in shapes.items()}
        return export_module(model, args, kwargs, shapes, by_examples)


def export_module(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    dynamic_shapes: Any,
    by_examples: bool = False,
) -> ExportedProgram:
    """`torch.export.export` without gradients; `by_examples` as `trace` has it.

    Raises:
        UserError: torch.export rejects the model (with its reason and the user's line), or the model computes with what
            it changes in Python when it is called.
    """
    reads = MemoryReads()
    with python_state_watched(model) as changed, reads, seed_watched() as seeds:
        try:
            exported = _exported(model, args, kwargs, dynamic_shapes, by_examples)
        except UserError as error:
            if not isinstance(error, _UnknownResult):
                raise
            with results_registered(model):
                exported = _exported(model, args, kwargs, dynamic_shapes, by_examples)
    check_inputs_are_none(exported, (args, kwargs))
    check_draws_as_seeded(seeds, exported.graph.nodes)
    check_not_computed_with(changed, model, args, kwargs, _called_as_traced)
    require_what_is_asked(exported, reads, model, args, kwargs, lambda: _as_traced(model))
    return exported


class _UnknownResult(UserError):
    """The model returns a container that PyTorch cannot take apart."""


def _exported(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    dynamic_shapes: Any,
    by_examples: bool,
) -> ExportedProgram:
    rebound, contiguous, gradients = NothingRebound(), ContiguousCalls(), GradientsNoticed()

    def exported(strict: bool, values: AbstractContextManager[None] | None = None) -> ExportedProgram:
        with (
            tracing(),
            quiet_rejection(),
            torch.no_grad(),
            transforms_ended(),
            WholeRecurrentLayers(),
            PooledRows(),
            rebound,
            contiguous,
            gradients,
            masks_not_compared(),
            flex_attention_in_operators(),
            unchanged_modules_left(),
            lines_of_decisions(__file__),
            kept_values(state_of(model)),
            exported_quantisers(model),
            values or contextlib.nullcontext(),
        ):
            found = torch.export.export(model, args, dict(kwargs), dynamic_shapes=dynamic_shapes, strict=strict)
            return _as_taken(contiguous.marked(found))

    try:
        with containers_kept(model, (args, kwargs)):
            return exported(strict=False)
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, GuardOnDataDependentSymNode):
            try:
                return with_decisions(exported(strict=False, values=values_of_examples()), by_examples)
            except NotWanted as refusal:
                error = NotWanted(refusal.line, first_line(error))
            except Exception as failure:
                error = failure if by_examples else error
            # Dynamo reads `int(tensor)` as `tensor.item()`, where Python itself wants to know the number.
            with contextlib.suppress(Exception):
                return exported(strict=True)
            if isinstance(error, NotWanted):
                raise error from None
        rebound.explain(error)
        hint = hint_at_shapes([*args, *kwargs.values()])
        text = rejection(error)
        if not (isinstance(error, GuardOnDataDependentSymNode) or is_unknown_result(error)):
            own = own_failure(model, args, kwargs)
            if own is None:
                gradients.explain(error)
            text = own or text
        kind = _UnknownResult if is_unknown_result(error) else UserError
        raise kind(f"{text.rstrip('.')}.{hint}" if hint else text) from error


def _as_taken(exported: ExportedProgram) -> ExportedProgram:
    """The program, from torch.export, in the form in which the passes take it, or UserError."""
    for name in (*exported.state_dict, *exported.constants):
        if not name.isprintable() or set(name) & _NOT_IN_NAMES or any(map(iskeyword, name.split("."))):
            raise UserError(
                f"the model's tensor {name!r} has a quote, backslash, line break or Python keyword in its name, which "
                "the code of PyTorch's graphs cannot hold: rename the module or parameter."
            )
    for name in HIDING_NAMES.intersection(map(str, exported.graph_signature.user_inputs)):
        raise UserError(
            f"an argument of the model is called {name!r}, which hides what PyTorch's graphs need: rename it."
        )
    return written_constants_as_buffers(with_plain_state(with_plain_names(check_not_reshaped(exported))))


def _plain(value: Any) -> Any:
    if isinstance(value, _Hints):
        return dict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_plain, value))
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    if type(value) in pytree.SUPPORTED_NODES:
        return list(map(_plain, pytree.SUPPORTED_NODES[type(value)].flatten_fn(value)[0]))
    return value
