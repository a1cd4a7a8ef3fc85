"""`refit_module_weights`: what was compiled, with the weights of another program."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ..api import compile as compile_model
from ..frontends.exported_program import example_arguments
from ..ir.memory import fingerprint
from ..runtime.compiled_module import CompiledModule
from .arguments import named, positional
from .files import CompiledProgram
from .made import remember
from .mistakes import InvalidType, InvalidValue, NotPossible, python_errors
from .modes import compiled_modules
from .tools import check_output_equal


@python_errors
def refit_module_weights(
    compiled_module: Any,
    new_weight_module: ExportedProgram,
    arg_inputs: Any = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    verify_output: bool = False,
    use_weight_map_cache: bool = True,
    in_place: bool = False,
    inputs: Any = None,
) -> torch.fx.GraphModule | CompiledProgram:
    """What was compiled, with the weights of another program of the same model.

    Engines that were compiled with `mutable_weights` (`immutable_weights=False`) read the new weights. Others hold the
    old ones, so that the program is compiled again, which is a warning.

    Args:
        compiled_module: what `compile` or `load` returned.
        new_weight_module: the model with the other weights, exported in the same way.
        arg_inputs, kwarg_inputs, inputs: examples for `verify_output`.
        verify_output: compare the results of both, on the examples.
        use_weight_map_cache: nothing here, where weights are found by name.
        in_place: change the compiled module itself. The model that it was compiled from keeps its weights.

    Returns:
        The compiled module with the new weights; the same one if `in_place`. A program, if `load` gave one.

    Raises:
        ValueError: the program has other weights than the compiled module.
        RuntimeError: results differ, or engines hold their weights and should be changed in place.
    """
    if not isinstance(new_weight_module, ExportedProgram):
        raise InvalidType(f"new_weight_module is a {type(new_weight_module).__name__}: give an ExportedProgram.")
    as_program = isinstance(compiled_module, CompiledProgram)
    (module, *more) = compiled_modules(compiled_module)
    if more:
        raise InvalidValue(f"there are {len(more) + 1} compiled modules in it: give one of them.")
    if _holds_other(module, new_weight_module):
        if in_place:
            raise NotPossible(
                "the engines hold their weights, which cannot be changed in place: compile with "
                "immutable_weights=False."
            )
        warnings.warn(
            "the engines hold their weights, so that the model is compiled again: compile with "
            "immutable_weights=False for weights that can change.",
            UserWarning,
            stacklevel=2,
        )
        changed = _compiled_again(module, new_weight_module)
    else:
        changed = module if in_place else copy.deepcopy(module)
        _take_weights(changed, new_weight_module)
    if verify_output:
        _verify(changed, new_weight_module, positional(inputs, arg_inputs), named(kwarg_inputs))
    return CompiledProgram.of(changed) if as_program else changed


def _weights_of(program: ExportedProgram) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in {**program.state_dict, **program.constants}.items() if _is_tensor(tensor)}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _holds_other(module: CompiledModule, program: ExportedProgram) -> bool:
    """Whether engines hold weights that differ from the program's, or were made of them."""
    weights, held = _weights_of(program), dict(module.fingerprints)
    if module.model_weights is not None:
        # Passes make weights of others, which the program has not.
        held = {name: then or held[name] for name, then in module.model_weights.fingerprints.items()}
    return any(name not in weights or fingerprint(weights[name]) != then for name, then in held.items())


def _take_weights(module: CompiledModule, program: ExportedProgram) -> None:
    weights = _weights_of(program)
    own = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    for name, tensor in own.items():
        other = weights.get(name)
        if other is None or (other.shape, other.dtype) != (tensor.shape, tensor.dtype):
            what = "no such weight" if other is None else f"one of {tuple(other.shape)} and {other.dtype}"
            raise InvalidValue(
                f"the weight {name} is of {tuple(tensor.shape)} and {tensor.dtype}, and the new program has {what}: "
                "give the same model with other weights."
            )
    for name, tensor in own.items():
        replace_weight(module, name, weights[name].detach().to(tensor.device).clone())


def replace_weight(module: torch.nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Put a tensor in the place of a parameter or buffer; others that have the old one keep it."""
    owner, _, attribute = name.rpartition(".")
    place = module.get_submodule(owner)
    if attribute in place._parameters:
        place._parameters[attribute] = torch.nn.Parameter(tensor, requires_grad=False)
    else:
        place._buffers[attribute] = tensor


def _compiled_again(module: CompiledModule, program: ExportedProgram) -> CompiledModule:
    report = vars(module).get("report")
    settings = dict(getattr(report, "settings", {}) or {})
    inputs = getattr(getattr(report, "program", None), "inputs", None) or None
    options = {**settings, "executor": module.options.executor}
    made: CompiledModule = remember(compile_model(program, inputs, ir="dynamo", **options))
    return made


def _verify(module: CompiledModule, program: ExportedProgram, args: Any, kwargs: Any) -> None:
    if args is None and kwargs is None:
        raise InvalidValue("verify_output compares results on examples: give arg_inputs.")
    examples, keywords = example_arguments(module, args or (), kwargs or {})
    copies = pytree.tree_map(lambda leaf: leaf.clone() if _is_tensor(leaf) else leaf, (examples, keywords))
    with torch.no_grad():
        one, other = module(*examples, **keywords), program.module()(*copies[0], **copies[1])
    if not check_output_equal(one, other, rtol=5e-2, atol=5e-2):
        raise NotPossible("the results with the new weights differ from those of the new program.")
