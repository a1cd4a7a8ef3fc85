"""Tuples with names that TorchScript takes and gives: the fields are there, in the result and after saving."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::DeprecationWarning")


class Place(NamedTuple):
    at: Tensor
    rows: int


class Found(NamedTuple):
    score: Tensor
    parts: list[Tensor]
    place: Place
    places: list[Place]
    by_name: dict[str, Place]
    missing: Tensor | None
    pair: tuple[Tensor, float]
    word: str


class Finds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Found:
        y = torch.relu(self.a(x))
        places = [Place(y, x.size(0)), Place(y * 3, 2)]
        return Found(y, [y * 2, y + 1], Place(y - 1, 3), places, {"k": Place(y, 1)}, None, (y, 0.5), "word")


class Takes(nn.Module):
    def forward(self, place: Place, x: Tensor) -> Place:
        return Place(torch.relu(place.at) * place.rows + x, place.rows + 1)


ROWS = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4))


def same(found: Any, expected: Any) -> None:
    """Assert that two values are alike, with the same names of classes and fields."""
    assert getattr(found, "_fields", ()) == getattr(expected, "_fields", ())
    assert type(found).__name__ == type(expected).__name__
    if isinstance(expected, tuple | list):
        for ours, theirs in zip(found, expected, strict=True):
            same(ours, theirs)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, Tensor):
        torch.testing.assert_close(found, expected)
    else:
        assert found == expected


@torch.no_grad()
def test_results_have_their_names(tmp_path: Path) -> None:
    script = torch.jit.script(Finds().eval())
    compiled = tp.compile(script, [ROWS], executor="pytorch", min_block_size=1, dump_dir=str(tmp_path / "dump"))
    assert not hasattr(compiled.report, "whole")
    buffer = io.BytesIO()
    torch.jit.save(compiled, buffer)
    buffer.seek(0)
    for result in (compiled, torch.jit.load(buffer)):
        for count in (3, 1, 6):
            x = torch.randn(count, 4)
            same(result(x), script(x))


@torch.no_grad()
def test_arguments_with_names() -> None:
    script = torch.jit.script(Takes().eval())
    compiled = tp.compile(script, [Place(ROWS, 3), ROWS], executor="pytorch", min_block_size=1)
    place = Place(torch.randn(2, 4), 3)
    same(compiled(place, torch.ones(2, 4)), script(place, torch.ones(2, 4)))


def test_a_module_that_returns_one_is_dumped(tmp_path: Path) -> None:
    class Named(nn.Module):
        def forward(self, x: Tensor) -> Place:
            return Place(torch.relu(x), 2)

    compiled = tp.compile(Named(), [torch.ones(2, 3)], dump_dir=str(tmp_path), dryrun=True)
    assert (tmp_path / "00-input" / "program.pt2").exists()
    assert compiled(torch.ones(2, 3)).rows == 2
