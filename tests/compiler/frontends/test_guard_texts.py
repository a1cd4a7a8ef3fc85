"""Programs read from files hold for the sizes that torch.export wrote down, and their texts run nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.export import Dim
from trt_passes.compiler.frontends.guard_texts import conditions_in_texts, is_condition
from trt_passes.compiler.frontends.load_model import load_model


class Halves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        return x[: n // 2] + x[n - n // 2 :] if n % 2 == 0 else x[: n // 2] * 3


class NotSquare(nn.Module):
    def forward(self, x: Tensor, more: dict[str, list[Tensor]]) -> Tensor:
        (y,) = more["y"]
        return x * 2 if x.shape[0] != y.shape[0] else x + y


FIRST = {0: Dim.AUTO}
PROGRAMS: list[tuple[Any, ...]] = [
    (Halves(), (torch.ones(4, 3),), (FIRST,), "Mod"),
    (NotSquare(), (torch.ones(4, 3), {"y": [torch.ones(5, 3)]}), (FIRST, {"y": [FIRST]}), "Ne"),
]


def saved(model: nn.Module, inputs: Any, sizes: Any, path: Path) -> Path:
    torch.export.save(torch.export.export(model, inputs, dynamic_shapes=sizes), path)
    return path


@pytest.mark.parametrize(("model", "inputs", "sizes", "condition"), PROGRAMS)
def test_sizes_that_a_program_of_a_file_is_not_for(
    model: nn.Module, inputs: Any, sizes: Any, condition: str, tmp_path: Path
) -> None:
    path = saved(model, inputs, sizes, tmp_path / "program.pt2")
    for program in (torch.export.load(path), load_model(str(path)).module):
        with pytest.raises(tp.UserError, match=f"exported where .*{condition}"):
            tp.compile(program, min_block_size=1, executor="reference")


def test_conditions_that_hold_for_all_sizes(tmp_path: Path) -> None:
    class Small(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x) if x.shape[0] * 3 < 100 else x * 2

    path = saved(Small(), (torch.ones(4, 3),), (FIRST,), tmp_path / "program.pt2")
    compiled = tp.compile(torch.export.load(path), ["2..4..9x3"], min_block_size=1, executor="reference")
    for rows in (2, 9):
        assert compiled(torch.ones(rows, 3)).shape == (rows, 3)


def test_texts_as_pytorch_writes_them() -> None:
    program = torch.export.export(NotSquare(), PROGRAMS[1][1], dynamic_shapes=PROGRAMS[1][2])
    known = {
        guard.expr
        for guard in program.graph_module.graph.output_node().args[0][0].meta["val"].fake_mode.shape_env.guards
    }
    assert set(conditions_in_texts(program)) <= known
    assert list(conditions_in_texts(program))


@pytest.mark.parametrize(
    "text",
    [
        "L['x'].size()[0] == 4",
        "not (L['m']['a'][0].size()[1]*L['x'].size()[0] > 6) or L['x'].stride()[0] % 2 != 1",
        "max(L['x'].size()[0], 3) <= math.ceil(L['x'].size()[1] / 2) + L['x'].storage_offset()",
        "L['x'].size()[0]**2 >= -3.5",
        "L['x'].field.size()[0] == 4",
    ],
)
def test_conditions(text: str) -> None:
    assert is_condition(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "L['x'].__class__ == 3",
        "L['x'].size().__class__.__mro__[0] == 3",
        "L['x'].add_(1)[0] == 3",
        "[1 for _ in L['x']] == 3",
        "(lambda: 3)() == 3",
        "L['x'].size()[0] == 9**9**9",
        "L['x'].size()[0]",
        "3",
        "L['x'].size()[0] ==",
        "(" * 5000 + "1" + ")" * 5000 + " == 1",
        "L['x'].size()[0] == " + "1+" * 10_000 + "1",
        "print(1) == 1",
        "L['x'].size(print(1))[0] == 1",
        7,
    ],
)
def test_texts_that_are_no_conditions(text: Any, tmp_path: Path) -> None:
    assert not is_condition(text)


def test_a_file_with_a_text_that_does_something(tmp_path: Path) -> None:
    program = torch.export.export(nn.ReLU(), (torch.ones(4, 3),), dynamic_shapes=(FIRST,))
    program._guards_code = ["__import__('os').mkdir('made') or L['input'].size()[0] > 1"]
    path = tmp_path / "program.pt2"
    torch.export.save(program, path)
    with pytest.raises(tp.UserError, match="which is no condition on sizes; pass --trust"):
        load_model(str(path))
