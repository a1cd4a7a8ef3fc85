"""Entries for what `op_db` has no samples of: folding, recurrent networks, and attention with heads of usual sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch.testing import make_tensor
from torch.testing._internal.common_dtype import floating_types_and
from torch.testing._internal.opinfo.core import OpInfo, SampleInput

_RECURRENT: Mapping[str, Callable[..., torch.nn.Module]] = MappingProxyType(
    {
        "lstm": torch.nn.LSTM,
        "gru": torch.nn.GRU,
        "rnn_tanh": torch.nn.RNN,
        "rnn_relu": functools.partial(torch.nn.RNN, nonlinearity="relu"),
    }
)


def own_entries() -> list[OpInfo]:
    """The entries, made like those of `op_db`."""
    attention = torch.nn.functional.scaled_dot_product_attention
    return [
        _entry("nn.functional.fold", torch.nn.functional.fold, _fold_samples),
        *(_entry(name, _recurrent, _recurrent_samples) for name in _RECURRENT),
        _entry("scaled_dot_product_attention_heads", attention, _attention_samples),
    ]


def _entry(name: str, op: Callable[..., Any], samples: Callable[..., Iterator[SampleInput]]) -> OpInfo:
    floats = floating_types_and(torch.float16)
    return OpInfo(name, op=op, dtypes=floats, sample_inputs_func=samples, supports_out=False)


def _attention_samples(
    info: OpInfo, device: Any, dtype: torch.dtype, requires_grad: bool, **_: Any
) -> Iterator[SampleInput]:
    """Queries and keys of the size that normalized activations have: scores of a few units."""
    make = functools.partial(make_tensor, device=device, low=-2, high=2)
    shape, longer = (2, 3, 5), (2, 3, 7)
    for head in (16, 20, 32, 40, 64, 80, 96, 128):
        operands = [make((*sizes, head), dtype=dtype) for sizes in (shape, longer, longer)]
        mask = make((2, 1, 5, 7), dtype=torch.float32) > -1
        mask[0, 0, 2] = False
        yield SampleInput(operands[0], args=tuple(operands[1:]))
        yield SampleInput(operands[0], args=tuple(operands[1:]), kwargs={"is_causal": True})
        yield SampleInput(operands[0], args=(*operands[1:], mask))
        yield SampleInput(operands[0], args=(*operands[1:], mask[:, :, :1]))
        yield SampleInput(operands[0], args=(*operands[1:], make((5, 7), dtype=dtype)), kwargs={"scale": 0.3})
    few = [make((2, 2, 7, 32), dtype=dtype) for _ in range(2)]
    yield SampleInput(make((2, 4, 5, 32), dtype=dtype), args=tuple(few), kwargs={"enable_gqa": True})


def _fold_samples(
    info: OpInfo, device: Any, dtype: torch.dtype, requires_grad: bool, **_: Any
) -> Iterator[SampleInput]:
    cases: list[tuple[tuple[int, ...], tuple[int, int], dict[str, Any]]] = [
        ((2, 12, 12), (4, 5), {"kernel_size": (2, 2)}),
        ((12, 12), (4, 5), {"kernel_size": 2}),
        ((1, 18, 16), (4, 4), {"kernel_size": 3, "padding": 1}),
        ((2, 8, 6), (4, 6), {"kernel_size": 2, "stride": 2}),
        ((1, 4, 9), (5, 5), {"kernel_size": 2, "dilation": 2}),
        ((3, 6, 6), (5, 6), {"kernel_size": (2, 3), "stride": (2, 2), "padding": (1, 0), "dilation": (2, 1)}),
    ]
    for shape, size, kwargs in cases:
        yield SampleInput(make_tensor(shape, device=device, dtype=dtype), size, **kwargs)


def _recurrent_samples(
    info: OpInfo, device: Any, dtype: torch.dtype, requires_grad: bool, **_: Any
) -> Iterator[SampleInput]:
    steps, batch, features, hidden = 5, 3, 4, 2
    for layers, bidirectional, bias, batch_first in (
        (1, False, True, False),
        (1, False, False, True),
        (2, False, True, True),
        (1, True, True, False),
        (2, True, True, True),
    ):
        module = _RECURRENT[info.name](
            features, hidden, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional, dtype=dtype
        ).eval()
        shape = (batch, steps, features) if batch_first else (steps, batch, features)
        state = make_tensor((layers * (1 + bidirectional), batch, hidden), device=device, dtype=dtype, low=-1, high=1)
        states = (state, state + 0.5) if info.name == "lstm" else state
        yield SampleInput(make_tensor(shape, device=device, dtype=dtype, low=-2, high=2), args=(states, module))


def _recurrent(x: torch.Tensor, states: Any, module: torch.nn.Module) -> Any:
    return module(x, states)
