"""Calls of `contiguous` on tensors that are so already, which torch.export does not record."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.overrides import TorchFunctionMode

from ..ir.annotations import annotate_node
from ..ir.layouts import MADE_CONTIGUOUS
from ..ir.memory import memory_of
from ..ir.source import frames_in


class ContiguousCalls(TorchFunctionMode):
    """While a model is exported: notes of what `contiguous` gives the tensor itself, where others would be copied."""

    def __init__(self) -> None:
        super().__init__()
        self._found: list[tuple[torch.Tensor, str]] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch's, and note a call of `contiguous`."""
        result = func(*args, **(kwargs or {}))
        if func is torch.Tensor.contiguous and args:
            frames = frames_in("".join(traceback.format_stack(limit=12)))
            self._found.append((args[0], frames[-1] if frames else ""))
        return result

    def marked(self, exported: ExportedProgram) -> ExportedProgram:
        """The program, with annotations on the nodes whose memory `contiguous` was called for."""
        lines = {memory_of(tensor): line for tensor, line in reversed(self._found)}
        for node in exported.graph.nodes if lines else ():
            value = node.meta.get("val")
            if isinstance(value, torch.Tensor) and memory_of(value) in lines:
                annotate_node(node, **{MADE_CONTIGUOUS: lines[memory_of(value)]})
        self._found.clear()
        return exported
