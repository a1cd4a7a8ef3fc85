"""TorchScript to a module that torch.export takes, through PyTorch's own converter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import UserError
from ..inputs import Input


def module_from_script(
    script: torch.jit.ScriptModule, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> torch.nn.Module:
    """A module of ATen calls with the parameters of a TorchScript module, made with example inputs (tensors, `Input`s).

    Raises:
        UserError: TorchScript code that PyTorch cannot convert, with its reason.
    """
    from torch._export.converter import TS2EPConverter

    examples = tuple(_tensor(item) for item in args)
    named = {name: _tensor(item) for name, item in (kwargs or {}).items()}
    logger = logging.getLogger("torch._export.converter")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what it logs, it also raises
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, which the user cannot change here
            exported = TS2EPConverter(script, examples, named).convert()
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"PyTorch cannot convert the TorchScript model: {lines[0]}") from error
    finally:
        logger.setLevel(level)
    # The guards would fix every size to that of the examples.
    return exported.module(check_guards=False)


def _tensor(item: Any) -> Any:
    return item.example() if isinstance(item, Input) else item
