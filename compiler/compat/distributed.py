"""`torch_tensorrt.distributed`: models that are divided over several processes, whose collectives PyTorch runs here."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..ir.collectives import collectives_in, group_of
from .mistakes import NotPossible
from .modes import compiled_in


def set_distributed_group(module: nn.Module, group: Any) -> None:
    """Check that the collectives of a compiled module are those of a process group.

    Args:
        module: what `compile` or `load` returned.
        group: of `torch.distributed`.

    Raises:
        RuntimeError: they are another group's, whose name is part of the graph that was compiled.
    """
    wanted = str(getattr(group, "group_name", group))
    for compiled in compiled_in(module):
        found = {group_of(node) for node in collectives_in(compiled.graph)} - {"", wanted}
        if found:
            raise NotPossible(
                f"the module was compiled for the process group {min(found)!r}, and is given {wanted!r}: compile the "
                "model with the collectives of that group."
            )


@contextmanager
def distributed_group(group: Any, module: nn.Module | None = None) -> Iterator[nn.Module | None]:
    """The module, whose collectives must be those of the group: see `set_distributed_group`.

    Args:
        group: of `torch.distributed`.
        module: what was compiled, if it is there already.
    """
    if module is not None:
        set_distributed_group(module, group)
    yield module


def set_distributed_mode(group: Any, module: Any = None) -> None:
    """The same as `set_distributed_group`, for a module or several."""
    for item in module if isinstance(module, list | tuple) else [module]:
        if item is not None:
            set_distributed_group(item, group)


@contextmanager
def distributed_context(group: Any, module: Any = None) -> Iterator[Any]:
    """The module or modules, whose collectives must be those of the group: see `set_distributed_group`."""
    set_distributed_mode(group, module)
    yield module


def setup_nccl_for_torch_tensorrt() -> None:
    """Nothing: PyTorch, which runs collectives here, has NCCL."""


def get_nccl_library_path() -> str | None:
    """The folder of the NCCL that was installed with PyTorch; None if there is no such package."""
    try:
        found = importlib.util.find_spec("nvidia.nccl")
    except ModuleNotFoundError:
        return None
    places = [] if found is None else list(found.submodule_search_locations or ())
    return os.path.join(places[0], "lib") if places else None


def initialize_nccl_comm(group: Any = None, device: Any = None) -> None:
    """Nothing: PyTorch makes a communicator when the first collective runs."""
