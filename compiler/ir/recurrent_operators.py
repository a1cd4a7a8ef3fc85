"""`trt_passes::lstm`, `gru`, `rnn_tanh` and `rnn_relu`: recurrent layers as export should see them.

torch.export runs PyTorch's own recurrent operators step by step to find the shapes of their results. That fixes the
sequence's length, and takes minutes for a long one. These operators compute the same and say their shapes instead.
Importing this module registers them, so that `torch.export.load` accepts programs that call them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten

_LIBRARY = torch.library.Library("trt_passes", "FRAGMENT")  # type: ignore[no-untyped-call]


def _lstm_shapes(
    input: torch.Tensor, hx: list[torch.Tensor], *options: Any
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return _output(input, hx[0], options[5]), torch.empty_like(hx[0]), torch.empty_like(hx[1])


def _shapes(input: torch.Tensor, hx: torch.Tensor, *options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return _output(input, hx, options[5]), torch.empty_like(hx)


def _output(input: torch.Tensor, hidden: torch.Tensor, bidirectional: bool) -> torch.Tensor:
    return input.new_empty(*input.shape[:2], hidden.shape[2] * (2 if bidirectional else 1))


def _registered(original: Any, shapes: Callable[..., Any]) -> Any:
    name = original._schema.name.split("::")[1]
    _LIBRARY.define(f"{name}{str(original._schema).partition('.input')[2]}", tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
    _LIBRARY.impl(name, lambda *arguments: original(*arguments), "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"trt_passes::{name}", shapes, lib=_LIBRARY)
    return getattr(torch.ops.trt_passes, name).default


LSTM = _registered(aten.lstm.input, _lstm_shapes)
GRU = _registered(aten.gru.input, _shapes)
RNN_TANH = _registered(aten.rnn_tanh.input, _shapes)
RNN_RELU = _registered(aten.rnn_relu.input, _shapes)

# Pairs, because dynamo, which traces the mode inside torch.cond and while_loop, cannot look up in a mapping proxy.
_REPLACEMENTS = ((torch.lstm, LSTM), (torch.gru, GRU), (torch.rnn_tanh, RNN_TANH), (torch.rnn_relu, RNN_RELU))


class WholeRecurrentLayers(TorchFunctionMode):
    """While it is active in a thread, recurrent layers call the operators of this module."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the replacement of a function where there is one for its arguments."""
        for original, replacement in _REPLACEMENTS:
            if func is original and not kwargs and _is_deterministic_and_padded(args):
                return replacement(*args)
        return func(*args, **(kwargs or {}))


def _is_deterministic_and_padded(args: tuple[Any, ...]) -> bool:
    """Whether the arguments are those of a padded batch (packed sequences have their sizes second), without dropout."""
    return len(args) == 9 and isinstance(args[3], bool) and not (args[5] and args[6])
