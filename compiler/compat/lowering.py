"""What Torch-TensorRT does to a program before it converts it, and is done by passes here when it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram

from ...passes.decompose import decompositions


def get_decompositions(
    enable_experimental_decompositions: bool = False, decompose_attention: bool = False
) -> dict[Any, Callable[..., Any]]:
    """The decompositions that the pass `decompose` uses, for `ExportedProgram.run_decompositions`.

    Args:
        enable_experimental_decompositions: as there; here they are all those of core ATen, except of operators that
            TensorRT takes whole.
        decompose_attention: likewise: attention is kept whole.
    """
    return dict(decompositions())


def pre_export_lowering(exported_program: ExportedProgram, *settings: Any, **others: Any) -> ExportedProgram:
    """The program itself: passes lower it when it is compiled."""
    return exported_program


def post_lowering(graph_module: torch.fx.GraphModule, *settings: Any, **others: Any) -> torch.fx.GraphModule:
    """The module itself: passes lower it when it is compiled."""
    return graph_module
