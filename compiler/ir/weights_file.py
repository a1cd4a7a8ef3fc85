"""`weights.json` of a dump: what a program saved without weights needs to get them back from the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from ..errors import UserError
from .dtypes import short_name
from .input import Input
from .memory import fingerprint
from .program import Program
from .strict_json import strict_json

NAME = "weights.json"


@dataclass(frozen=True)
class Weight:
    """A parameter, buffer or constant of a model: its type in words, and the SHA-256 of its numbers."""

    type: str
    sha256: str

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Weight:
        """That of a tensor."""
        return cls(f"{short_name(tensor.dtype)}{list(tensor.shape)}", fingerprint(tensor))


@dataclass(frozen=True)
class WeightsFile:
    """The weights of a program by the names that the model gives them, and its declared inputs."""

    weights: Mapping[str, Weight]
    inputs: tuple[Input, ...]

    @classmethod
    def of(cls, program: Program) -> WeightsFile:
        """Those of a program."""
        found = {name: Weight.of(tensor) for name, tensor in tensors_of(program.exported).items()}
        return cls(found, program.inputs)

    def text(self) -> str:
        """The file."""
        weights = {name: vars(weight) for name, weight in self.weights.items()}
        return f"{json.dumps({'inputs': [str(item) for item in self.inputs], 'weights': weights}, indent=1)}\n"

    @classmethod
    def read(cls, path: Path) -> WeightsFile:
        """The file that `text` made.

        Raises:
            UserError: it is not there, or damaged.
        """
        if not path.exists():
            raise UserError(f"{path.parent} has no {path.name}, as dumps of earlier releases: write the dump again.")
        try:
            data: Any = strict_json(path.read_text(encoding="utf-8"))
            weights = {name: Weight(**row) for name, row in data["weights"].items()}
            return cls(weights, tuple(Input.parse(text) for text in data["inputs"]))
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise UserError(f"{path} is damaged ({error}): write the dump again.") from error


def tensors_of(exported: ExportedProgram) -> dict[str, torch.Tensor]:
    """The weights and constants of a program by name."""
    found = {**exported.state_dict, **exported.constants}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
