"""Errors of a call name the user's line, and are what PyTorch raises."""

from __future__ import annotations

import pytest
import torch
import trt_passes as tp


class Model(torch.nn.Module):
    def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        y = torch.linalg.cholesky(torch.relu(x))
        return torch.sigmoid(y)[index]


GOOD = torch.eye(3), torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [((-torch.ones(3, 3), GOOD[1]), 12), ((GOOD[0], torch.tensor([0, 7])), 13)],
)
@pytest.mark.parametrize("executor", ["reference", "pytorch"])
def test_the_line_is_a_note_of_the_error(arguments: tuple[torch.Tensor, ...], line: int, executor: str) -> None:
    options = {"torch_executed_ops": {"aten.index"}} if executor == "reference" else {}
    compiled = tp.compile(Model(), GOOD, executor=executor, min_block_size=1, **options)
    with pytest.raises((RuntimeError, IndexError)) as eager:
        Model()(*arguments)
    with pytest.raises(eager.type) as caught:
        compiled(*arguments)
    assert str(caught.value) == str(eager.value)
    (note,) = caught.value.__notes__
    assert f"test_user_lines.py:{line} calls" in note


def test_errors_about_arguments_have_no_line() -> None:
    compiled = tp.compile(Model(), GOOD, executor="pytorch", min_block_size=1)
    with pytest.raises(tp.UserError) as caught:
        compiled(torch.eye(4), GOOD[1])
    assert not hasattr(caught.value, "__notes__")
