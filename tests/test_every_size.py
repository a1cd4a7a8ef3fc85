"""Programs that compute with sizes and with values of tensors: right at every size that they are compiled for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp

from .every_size import check_every_size, compiled_for

SLICES: dict[str, Callable[[torch.Tensor], Any]] = {
    "from the end": lambda x: x[:, -(x.shape[1] // 2) :] * 2,
    "from the end or not": lambda x: x[:, 3 - x.shape[1] :] * 2,
    "from a remainder": lambda x: x[:, -(x.shape[1] % 3) :] * 2,
    "to before the end": lambda x: x[:, : 3 - x.shape[1]] * 2,
    "from a maximum": lambda x: x[:, max(0, x.shape[1] - 4) :] * 2,
    "element from the end": lambda x: x.select(1, -(x.shape[1] // 2) - 1) * 2,
    "element, as a difference": lambda x: x.select(1, x.shape[1] // 2 - x.shape[1]) * 2,
    "of a concatenation": lambda x: torch.cat([x, x], 1)[:, :4] * 2,
    "last of a concatenation": lambda x: torch.cat([x, x], 1)[:, -4:] * 2,
    "rolled": lambda x: x.roll(3 - x.shape[1], 1) * 2,
    "written": lambda x: torch.select_scatter(x, x[:, 0] * 3, 1, 1 - x.shape[1]) * 2,
}


@pytest.mark.parametrize("name", SLICES)
def test_where_a_slice_begins_is_computed_where_ranges_do_not_tell(name: str) -> None:
    check_every_size(SLICES[name], (2, "n"), {"n": (2, 5, 7)}, ir="torch_compile")


PADDED: dict[str, Callable[[torch.Tensor], Any]] = {
    "cut or not": lambda x: F.pad(x, (4 - x.shape[1], 1)) * 2,
    "circular": lambda x: F.pad(x[None], (x.shape[1] - 4, 1), mode="circular") * 2,
    "reflected": lambda x: F.pad(x[None], (x.shape[1] - 5, 1), mode="reflect") * 2,
    "diagonal": lambda x: torch.diagonal(x.T @ x, x.shape[1] - 5) * 2,
}


@pytest.mark.parametrize("name", PADDED)
def test_amounts_whose_sign_varies(name: str) -> None:
    check_every_size(PADDED[name], (2, "n"), {"n": (3, 6, 7)}, ir="torch_compile")


ARITHMETIC: dict[str, Callable[[torch.Tensor], Any]] = {
    "quotient": lambda x: x * (1 / x.shape[1]),
    "returned": lambda x: (x * 2, x.shape[1], x.shape[1] // 2, x.shape[1] / 2),
    "rounded up": lambda x: x * math.ceil(x.shape[1] / 2),
    "rounded": lambda x: x * round(x.shape[1] / 2),
    "rounded down": lambda x: x * math.floor(x.shape[1] * 0.3),
    "root": lambda x: x * x.shape[1] ** 0.5,
    "inverse root": lambda x: x / x.shape[1] ** -0.5,
    "filled": lambda x: torch.full((x.shape[1],), x.shape[1] / 2) + x,
    "smallest and largest": lambda x: x * min(x.shape[1], 5) / max(x.shape[1], 5),
    "shifted": lambda x: x * (1 << x.shape[1]) + (x.shape[1] >> 1),
    "remainder of a negative": lambda x: x * (-x.shape[1] % 4) + (-x.shape[1] // 2),
    "comparison": lambda x: x * (x.shape[1] > 4),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_on_sizes(name: str) -> None:
    check_every_size(ARITHMETIC[name], (2, "n"), {"n": (3, 5, 7)})


def test_arithmetic_on_sizes_outside_of_engines() -> None:
    def function(x: torch.Tensor) -> Any:
        n = x.shape[1]
        left = torch.linalg.svdvals(x.select(1, 3 - n)[None] * (1 / n))
        return left * 2, n + 1, torch.linalg.svdvals((x + n**0.5)[:, : math.ceil(n / 2)]) + round(n / 4)

    check_every_size(function, (2, "n"), {"n": (4, 5, 7)})


HOST_VALUES: dict[str, Callable[..., Any]] = {
    "truth as a place": lambda x: (x * 2)[((x * 2)[0, 0] > 0).long()],
    "place of the maximum": lambda x: (x + 1)[(x + 1)[:, 0].argmax()],
    "mean as a factor": lambda x: torch.relu(x) * (x * 2).mean().item(),
    "two statistics": lambda x: (x - (x * 2).mean().item()) / ((x * 2).std().item() + 1),
    "scale": lambda x: torch.round(x / ((x + 1).abs().max().item() / 127)) * ((x + 1).abs().max().item() / 127),
    "limit": lambda x: x.clamp(max=(x * 2).max().item() * 0.5),
    "truth as a factor": lambda x: x * ((x * 2).sum() > 0).item(),
    "count as a value": lambda x: torch.full((2, 2), (x * 2 > 0).sum().item()) + x.sum(),
    "rounded buffer as a shift": lambda x, three: torch.roll(x * 2, round(three.item()), 0),
    "rounded buffer as a factor": lambda x, three: x * round(three.item()) + 1,
}


@pytest.mark.parametrize("name", HOST_VALUES)
def test_values_that_python_reads(name: str) -> None:
    check_every_size(HOST_VALUES[name], ("n", 4), {"n": (4, 5, 6)}, inputs=2)


def test_values_that_python_reads_in_a_saved_model(tmp_path: Any) -> None:
    def function(x: torch.Tensor) -> Any:
        return torch.relu(x) * ((x * 2).mean().item() + round(x.shape[0] / 2)), x.shape[0] ** 0.5

    path = tmp_path / "model.pt2"
    compiled = compiled_for(function, ("n", 4), {"n": (2, 5, 6)})
    tp.save(compiled, path)
    x = torch.randn(3, 4)
    torch.testing.assert_close(tp.load(path)(x), function(x))


FOUND: dict[str, Callable[[torch.Tensor], Any]] = {
    "sum of what a mask finds": lambda x: (x[x > 0] * 2).sum(),
    "places": lambda x: torch.nonzero(x > -9) * 2,
    "selected": lambda x: torch.masked_select(x, x[:, :1] > -9) * 2,
    "rows": lambda x: x[x[:, 0] > 0].softmax(1),
    "first of several": lambda x: torch.cat([x[x > 0], x[x <= 0]])[:4] * 2,
    "of what was found": lambda x: (lambda y: y[y < 1] * 2)(x[x > 0]),
    "distinct": lambda x: torch.unique((x * 2).long()) * 2,
}


@pytest.mark.parametrize("name", FOUND)
def test_as_many_as_there_are_elements_can_be_found(name: str) -> None:
    check_every_size(FOUND[name], ("n", 4), {"n": (2, 5, 16)})


def test_an_engine_takes_no_size_without_limit() -> None:
    compiled = check_every_size(
        lambda x: x.repeat_interleave((x[:, 0] > 0).long() * 99, 0) * 2, ("n", 4), {"n": (2, 5, 6)}
    )
    (row,) = (row for row in compiled.report.ledger if row.op == "aten.mul.Tensor" and row.reasons)
    assert "no upper bound" in row.reasons[0].message


def test_nothing_found_is_written_nowhere() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[x > 9] = x[x > 9] * 2
        return y.masked_scatter(x > 8, (x * 3)[x > 8])

    check_every_size(function, ("n", 4), {"n": (2, 5, 6)})
