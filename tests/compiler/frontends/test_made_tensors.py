"""Tensors that a model makes itself and then writes to, through every front end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import trt_passes as tp


def _added(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros(2, 4).index_add_(0, torch.tensor([0, 1, 1]), x)


def _set(x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(2, 4)
    out[0] = x.sum(0)
    out[1] += x[0]
    return out * 2


def _views(x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(3, 4)
    out[:, 0].add_(x[:, 0])
    out.t()[1].add_(x[:, 1]).mul_(2)
    return out + x


def _one_after_the_other(x: torch.Tensor) -> torch.Tensor:
    out = torch.ones(3, 4)
    out[1] = 5.0
    out.mul_(x)
    out[0] = 7.0
    return out


def _out(x: torch.Tensor) -> torch.Tensor:
    out = torch.empty(3, 4)
    torch.add(x, 1, out=out)
    return out.relu()


def _mask(x: torch.Tensor) -> torch.Tensor:
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask &= x > 0
    mask[:, 0] = False
    return x.masked_fill(mask, 0.0)


def _parts(x: torch.Tensor) -> torch.Tensor:
    whole = torch.zeros(6, 4)
    whole[:3] = x
    whole.view(2, 12).mul_(2)
    return whole


class Model(torch.nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize("ir", ["dynamo", "fx", "torch_compile"])
@pytest.mark.parametrize("function", [_added, _set, _views, _one_after_the_other, _out, _mask, _parts])
def test_it_is_made_anew_in_every_call(function, ir: str) -> None:
    compiled = tp.compile(Model(function), [torch.randn(3, 4)], ir=ir, min_block_size=1, executor="reference")
    for _ in range(2):
        x = torch.randn(3, 4)
        torch.testing.assert_close(compiled(x), function(x))


def _decided(x: torch.Tensor) -> torch.Tensor:
    rates = torch.linspace(0, 1, 3).tolist()
    total = torch.tensor(rates)
    return x * rates[1] + total.sum() if total.shape[0] > 2 else x


def test_fx_computes_in_python_with_what_it_does_not_write_to() -> None:
    x = torch.randn(3, 4)
    compiled = tp.compile(Model(_decided), [x], ir="fx", min_block_size=1, executor="reference")
    torch.testing.assert_close(compiled(x), _decided(x))


def _decided_and_written(x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(3, 4)
    if out.shape[0] > 2:
        out.add_(x)
    return out * 2


def test_fx_refuses_what_it_runs_in_python_and_the_model_writes_to() -> None:
    with pytest.raises(tp.UserError, match=r"writes to a tensor that it makes itself at \S*test_made_tensors.py:\d+"):
        tp.compile(Model(_decided_and_written), [torch.randn(3, 4)], ir="fx", min_block_size=1, executor="reference")
