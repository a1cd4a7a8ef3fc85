"""The weights of a model that was compiled, also those that passes folded into others, or that were replaced since."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ..ir.memory import fingerprint, view_key


@dataclass(frozen=True)
class ModelWeights:
    """What the weights of a model were when it was compiled.

    Attributes:
        model: an nn.Module or ExportedProgram, which can go.
        fingerprints: by the names of its tensors; see `ir.memory.fingerprint`.
    """

    model: weakref.ref[Any]
    fingerprints: Mapping[str, str]

    @classmethod
    def of(cls, model: Any, names: Collection[str], compiled: Mapping[str, torch.Tensor]) -> ModelWeights:
        """The weights of a model, which was just compiled.

        Args:
            model: owns the weights.
            names: of those that its program reads; names that the model does not know are left out, and subclasses of
                tensors that wrap others are always there.
            compiled: tensors that are compared anyway, by name: where the model has the same one, it is left out until
                the model has another.
        """
        found = {name: tensor for name in names if (tensor := _tensor(model, name)) is not None}
        found.update(_wrappers(model))
        known = {name for name, tensor in found.items() if _same(tensor, compiled.get(name))}
        return cls(weakref.ref(model), {name: "" if name in known else fingerprint(found[name]) for name in found})

    def changed(self, compiled: Mapping[str, torch.Tensor], then: Mapping[str, str]) -> Iterator[str]:
        """Names of weights that the model has not, or that are not what they were.

        Args:
            compiled: tensors that were compared already, by name.
            then: fingerprints of those when the model was compiled.
        """
        model = self.model()
        for name, before in self.fingerprints.items() if model is not None else ():
            tensor = _tensor(model, name)
            if tensor is None or (
                not _same(tensor, compiled.get(name)) and fingerprint(tensor) != (before or then.get(name))
            ):
                yield name


def _tensor(model: Any, name: str) -> torch.Tensor | None:
    if isinstance(model, ExportedProgram):
        found: Any = model.state_dict.get(name, model.constants.get(name))
    else:
        try:
            found = attrgetter(name)(model)
        except AttributeError:
            return None
    return found if isinstance(found, torch.Tensor) else None


def _wrappers(model: Any) -> dict[str, torch.Tensor]:
    tensors = model.state_dict if isinstance(model, ExportedProgram) else model.state_dict(keep_vars=True)
    return {
        name: tensor
        for name, tensor in tensors.items()
        if isinstance(tensor, torch.Tensor) and is_traceable_wrapper_subclass(tensor)
    }


def _same(one: torch.Tensor, other: torch.Tensor | None) -> bool:
    return other is not None and view_key(one) == view_key(other)
