"""Cells of recurrent layers as the steps that they are on a CPU; on a GPU each is an operator without a graph."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F


def lstm_cell(
    x: torch.Tensor,
    state: Any,
    weight: torch.Tensor,
    state_weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    state_bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`torch.lstm_cell`: x [batch, features], state two tensors [batch, hidden]; their new values."""
    before, kept = state
    gates = F.linear(x, weight, bias) + F.linear(before, state_weight, state_bias)
    enter, forget, cell, out = gates.chunk(4, 1)
    now = torch.sigmoid(forget) * kept + torch.sigmoid(enter) * torch.tanh(cell)
    return torch.sigmoid(out) * torch.tanh(now), now


def gru_cell(
    x: torch.Tensor,
    state: torch.Tensor,
    weight: torch.Tensor,
    state_weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    state_bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """`torch.gru_cell`: x [batch, features], state [batch, hidden]; its new value."""
    given, kept = F.linear(x, weight, bias).chunk(3, 1), F.linear(state, state_weight, state_bias).chunk(3, 1)
    reset, update = torch.sigmoid(given[0] + kept[0]), torch.sigmoid(given[1] + kept[1])
    new = torch.tanh(given[2] + reset * kept[2])
    return (state - new) * update + new
