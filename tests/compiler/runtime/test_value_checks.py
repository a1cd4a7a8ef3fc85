"""Checks of values that a model makes: they raise from a compiled module as from the model."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp


class Picks(torch.nn.Module):
    def forward(self, x, index):
        k = index.item()
        torch._check(k >= 0)
        torch._check(k < x.shape[1])
        return torch.relu(x)[:, k] * 2


class Avoids(torch.nn.Module):
    def forward(self, x, index):
        torch._check(index.item() != 3)
        return torch.relu(x) * 2


class Bounded(torch.nn.Module):
    def forward(self, x, index):
        torch._assert_async((x < 9 + index).all())
        return torch.relu(x) * 2


class AllTrue(torch.nn.Module):
    def forward(self, x, index):
        torch._check_tensor_all(x < 9 + index, lambda: "too large")
        return torch.relu(x) * 2


class OneTruth(torch.nn.Module):
    """torch.export writes True for what the check says, in the check as well."""

    def forward(self, x, index):
        torch._check((index > 0).all().item())
        torch._check((x < 9).any().item())
        return torch.relu(x) * 2


class OneValue(torch.nn.Module):
    def forward(self, x, index):
        k = index.item()
        torch._check(k == 2)
        return torch.relu(x) * k


class EvenSize(torch.nn.Module):
    def forward(self, x, index):
        found = x[x * 0 + torch.arange(4) < index]
        torch._check(found.shape[0] % 2 == 0)
        torch._check(found.shape[0] >= 3)
        return torch.relu(found) * 2


class Repeats(torch.nn.Module):
    """What is repeated may be more than there was, unlike what is found."""

    def forward(self, x, index):
        rows = torch.repeat_interleave(index.expand(2))
        torch._check(rows.shape[0] <= 4)
        return torch.relu(x)[rows] * 2


RIGHT, X = torch.tensor(2), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
CASES = [(Picks(), (-1, 4)), (Avoids(), (3,)), (Bounded(), (-20,))]
CASES += [(AllTrue(), (-20,)), (OneTruth(), (0, -1)), (OneValue(), (1, 3)), (EvenSize(), (0, 1)), (Repeats(), (3,))]


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize(("model", "wrong"), CASES)
def test_a_check_that_fails_raises(model, wrong, exported, saved, tmp_path):
    given = torch.export.export(model, (X, RIGHT)) if exported else model
    compiled = tp.compile(given, None if exported else (X, RIGHT), min_block_size=1, executor="reference")
    if saved:
        tp.save(compiled, tmp_path / "model.pt2")
        compiled = tp.load(tmp_path / "model.pt2", executor="pytorch")
    torch.testing.assert_close(compiled(X, RIGHT), model(X, RIGHT))
    for number in map(torch.tensor, wrong):
        with pytest.raises(RuntimeError):
            model(X, number)
        with pytest.raises(RuntimeError):
            compiled(X, number)


def test_what_holds_of_every_mask_is_not_checked():
    class Found(torch.nn.Module):
        def forward(self, x):
            return x[x[..., 0] > 0.5] * 2

    x = torch.rand(2, 5, 3)
    compiled = tp.compile(Found(), [x], min_block_size=1, executor="reference")
    assert not any("assert" in str(node.target) for node in compiled.report.program.graph.nodes)
    torch.testing.assert_close(compiled(x), Found()(x))
