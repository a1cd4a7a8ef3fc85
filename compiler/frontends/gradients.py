"""Models that compute gradients when they are called, such as forces that are derivatives of an energy."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..errors import UserError
from ..ir.source import frames_in


class GradientsNoticed(TorchFunctionMode):
    """While a model is exported: notes where it asks for gradients.

    torch.export does not follow them: it fails, or takes the tensors that they are computed from for constants (see
    `inputs_as_constants`).
    """

    def __init__(self) -> None:
        super().__init__()
        self._place: str | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch's."""
        if self._place is None and func in (torch.autograd.grad, torch.Tensor.backward, torch.autograd.backward):
            frames = [frame for frame in frames_in("".join(traceback.format_stack())) if not frame.startswith("<")]
            self._place = f" at {frames[-1]}" if frames else ""
        return func(*args, **(kwargs or {}))

    def explain(self, error: Exception) -> None:
        """Raise UserError if torch.export failed, and the model asked for gradients."""
        if self._place is not None:
            raise UserError(
                f"the model computes gradients{self._place}, which torch.export does not follow: write the derivative "
                "out, or use ir='torch_compile', which leaves that part to PyTorch."
            ) from error


@contextmanager
def transforms_ended() -> Iterator[None]:
    """Afterwards, transforms of torch.func that were begun inside are ended, as they are not when tracing gives up.

    The graphs of torch.compile begin and end them in calls of their own; whatever followed in the process would run
    inside of one that is left.
    """
    functorch: Any = torch._C._functorch
    autograd: Any = torch._C._autograd
    depth = functorch.get_dynamic_layer_stack_depth()
    in_place, hooks = functorch.get_inplace_requires_grad_allowed(), autograd._saved_tensors_hooks_is_enabled()
    forward_mode = _in_forward_mode()
    try:
        yield
    finally:
        if _in_forward_mode() and not forward_mode:
            torch._C._exit_dual_level(level=0)
        if functorch.get_dynamic_layer_stack_depth() > depth:
            functorch.pop_dynamic_layer_stack_and_undo_to_depth(depth)
            functorch.set_inplace_requires_grad_allowed(in_place)
            if hooks:
                autograd._saved_tensors_hooks_enable()


def _in_forward_mode() -> bool:
    """Whether a level of forward-mode differentiation is open; there can be one only, and nothing tells of it."""
    try:
        level = torch._C._enter_dual_level()
    except RuntimeError:
        return True
    torch._C._exit_dual_level(level=level)
    return False
