"""Recurrent layers of models become the operators that export should see (see `ir/operators.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .operators import GRU, LSTM, RNN_RELU, RNN_TANH
from .recurrent_cells import gru_cell, lstm_cell

# Pairs, because dynamo, which traces the mode inside torch.cond and while_loop, cannot look up in a mapping proxy.
_REPLACEMENTS = ((torch.lstm, LSTM), (torch.gru, GRU), (torch.rnn_tanh, RNN_TANH), (torch.rnn_relu, RNN_RELU))
_CELLS: tuple[tuple[Any, Any], ...] = ((torch.lstm_cell, lstm_cell), (torch.gru_cell, gru_cell))


class WholeRecurrentLayers(TorchFunctionMode):
    """While it is active in a thread, recurrent layers call the package's operators, and cells are their steps."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the replacement of a function where there is one for its arguments."""
        for original, replacement in _REPLACEMENTS:
            if func is original and not kwargs and _is_deterministic_and_padded(args):
                return replacement(*args)
        for cell, steps in _CELLS:
            if func is cell and not kwargs:
                return steps(*args)
        return func(*args, **(kwargs or {}))


def _is_deterministic_and_padded(args: tuple[Any, ...]) -> bool:
    """Whether the arguments are those of a padded batch (packed sequences have their sizes second), without dropout."""
    return len(args) == 9 and isinstance(args[3], bool) and not (args[5] and args[6])
