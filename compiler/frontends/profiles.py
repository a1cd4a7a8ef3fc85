"""The argument `profiles` of `compile`: the sizes of all inputs, once for each optimization profile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ..errors import UserError, did_you_mean
from ..inputs import as_input, declares_input
from ..ir.input import Input, Profile
from ..ir.program import Program
from .declared_ranges import own_inputs
from .parameter_names import parameter_names

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""


def with_profiles(
    model: Any, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, profiles: Any
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """The inputs of a model with the sizes that each profile gives them.

    Args:
        model: as for `compile`.
        inputs, kwargs: as for `compile`, with data types and the sizes of what a profile leaves out; both may be None
            if the first profile has `Input`s, tensors or texts, or the model is an ExportedProgram.
        profiles: for each profile a list of all positional inputs, or a dict of some inputs by name. An input in it is
            an `Input`, an example tensor, a text, one shape, or (min, opt, max).

    Raises:
        UserError: a profile has other inputs than the model, or something that is not the size of one.
    """
    if isinstance(profiles, str | Mapping | torch.Tensor) or not isinstance(profiles, Sequence) or not profiles:
        raise UserError(f"profiles is {profiles!r}: give a list with the sizes of the inputs for every profile.")
    base = _base(model, inputs, kwargs, profiles[0])
    names = parameter_names(model, len(base[0]))
    for leaf in pytree.tree_leaves(base):
        if declares_input(leaf) and len(as_input(leaf).profiles) > 1:
            raise UserError(f"input {leaf} has profiles of its own, and profiles is given: give them in one place.")
    given = [_arguments(number, profile, base, names) for number, profile in enumerate(profiles)]
    try:
        merged = pytree.tree_map(_merged, base, *given, is_leaf=_is_input)
    except ValueError as error:
        raise UserError(f"a profile has its inputs in other containers than the model takes: {error}.") from error
    args, named = merged
    return list(args), named


def _is_input(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or declares_input(value)


def _base(model: Any, inputs: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, first: Any) -> Arguments:
    """What the model is called with, apart from the sizes that profiles give."""
    if inputs is not None or kwargs:
        return tuple(inputs or ()), dict(kwargs or {})
    exported = model.exported if isinstance(model, Program) else model
    if isinstance(exported, ExportedProgram):
        own = own_inputs(exported)
        if own:
            return own, {}
    base: Arguments = ((), dict(first)) if isinstance(first, Mapping) else (tuple(first), {})
    if not any(_is_input(leaf) for leaf in pytree.tree_leaves(base)):
        raise UserError("profiles has sizes only, and no data types: give inputs too, or tp.Input(…) in profiles.")
    return base


def _arguments(number: int, profile: Any, base: Arguments, names: Sequence[str]) -> Arguments:
    """The arguments of one profile, in the form of the model's."""
    args, kwargs = base
    if isinstance(profile, Mapping):
        found: dict[str, Any] = {**dict(zip(names, args, strict=True)), **kwargs}
        for name in profile:
            if name not in found:
                raise UserError(f"profile {number} has an input {name!r} that is none.{did_you_mean(name, found)}")
        found.update(profile)
        return tuple(found[name] for name in names), {name: found[name] for name in kwargs}
    if isinstance(profile, str | torch.Tensor | Input) or not isinstance(profile, Sequence):
        raise UserError(f"profile {number} is {profile!r}: give a list of all inputs, or a dict of some by name.")
    if len(profile) != len(args):
        raise UserError(f"profile {number} has {len(profile)} positional inputs, and the model {len(args)}.")
    return tuple(profile), kwargs


def _merged(base: Any, *given: Any) -> Any:
    """An input with the sizes of all profiles; what is no tensor has to be the same in all of them."""
    if not _is_input(base):
        if any(item is not base and item != base for item in given):
            raise UserError(f"{base!r} is no tensor, and has other values in profiles: it is a part of the graph.")
        return base
    declared = as_input(base)
    ranges = [_range(declared, item) for item in given]
    shapes: list[Profile] = ranges if len(set(ranges)) > 1 else ranges[:1]
    return Input(shapes=shapes, dtype=declared.dtype, name=declared.name, format=declared.format)


def _range(declared: Input, item: Any) -> Profile:
    """Smallest, usual and largest size of an input in one profile."""
    if isinstance(item, str) and ":" not in item and declares_input(item):
        item = Input.parse(item).profiles[0]
    if _is_input(item):
        found = as_input(item)
        if found.dtype is not declared.dtype:
            raise UserError(f"an input is {declared.dtype}, and in a profile {found.dtype}: give the same data type.")
        if len(found.profiles) > 1:
            raise UserError(f"{found} has several profiles, and is the input of one: give one range.")
        return found.profiles[0]
    return Input(shapes=[item], dtype=declared.dtype, name=declared.name).profiles[0]
