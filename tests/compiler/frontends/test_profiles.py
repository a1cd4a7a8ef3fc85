"""`compile(…, profiles=…)` and `trt-passes run --profile`: the sizes of all inputs, once for each profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from click.testing import CliRunner
from torch import nn
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.frontends.profiles import with_profiles

TOKEN, PROMPT = (1, 4), ((1, 4), (2, 4), (3, 4))


class Weighted(nn.Module):
    """x f32[B,4], weight f32[B,1] and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, weight: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return self.linear(x) * weight * scale


BOTH = [tp.Input(shapes=[TOKEN, PROMPT]), tp.Input(shapes=[(1, 1), ((1, 1), (2, 1), (3, 1))])]

WAYS: dict[str, tuple[Any, Any, Any]] = {
    "lists of sizes": ([torch.ones(1, 4), torch.ones(1, 1)], None, [[TOKEN, (1, 1)], ["1..2..3x4", "1..2..3x1"]]),
    "names": (
        [torch.ones(1, 4), torch.ones(1, 1)],
        None,
        [{"x": TOKEN, "weight": (1, 1)}, {"x": PROMPT, "weight": ((1, 1), (2, 1), (3, 1))}],
    ),
    "no inputs": (None, None, [[torch.ones(1, 4), tp.Input((1, 1))], [BOTH[0].profile(1), BOTH[1].profile(1)]]),
}


@pytest.mark.parametrize(("inputs", "kwargs", "profiles"), WAYS.values(), ids=WAYS.keys())
def test_ways_to_say_it(inputs: Any, kwargs: Any, profiles: Any) -> None:
    assert with_profiles(Weighted(), inputs, kwargs, profiles) == (BOTH, {})


def test_what_a_profile_leaves_out_is_as_inputs_say() -> None:
    scale = torch.ones(())
    found, named = with_profiles(
        Weighted(), [tp.Input((2, 4)), torch.ones(2, 1)], {"scale": scale}, [{}, {"x": (5, 4)}]
    )
    assert found == [tp.Input(shapes=[(2, 4), (5, 4)]), tp.Input((2, 1))]
    assert named == {"scale": tp.Input(())}
    nested = with_profiles(lambda a: a, [{"a": torch.ones(1)}, 2.0], None, [[{"a": (1,)}, 2.0], [{"a": (3,)}, 2.0]])
    assert nested == ([{"a": tp.Input(shapes=[(1,), (3,)])}, 2.0], {})


def test_a_call_takes_the_profile_that_has_its_sizes() -> None:
    model = Weighted().eval()
    inputs, _, _ = WAYS["names"]
    profiles: list[Any] = [
        {"x": TOKEN, "weight": (1, 1)},
        {"x": ((2, 4), (2, 4), (3, 4)), "weight": ((2, 1), (2, 1), (3, 1))},
    ]
    compiled = tp.compile(model, inputs, profiles=profiles, min_block_size=1, executor="reference")
    (segment,) = compiled.segments.values()
    assert segment.spec.profiles == 2
    for batch in (1, 2, 3):
        given = torch.randn(batch, 4), torch.randn(batch, 1)
        torch.testing.assert_close(compiled(*given), model(*given))
    exported = torch.export.export(model, given, dynamic_shapes=({0: torch.export.Dim("b", max=9)},) * 2)
    own = tp.compile(exported, profiles=profiles, min_block_size=1, executor="pytorch")
    assert [segment.spec.profiles for segment in own.segments.values()] == [2]


SOURCE = """
import torch
def factory():
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()), torch.ones(1, 4)
"""


def test_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text(SOURCE)
    command = ["run", f"{path}:factory", "-o", str(tmp_path / "model.pt2"), "--set", "min_block_size=1"]
    done = CliRunner().invoke(main, [*command, "--profile", "1x4", "--profile", "input=2..4..8x4"])
    assert done.exit_code == 0, done.output
    (segment,) = tp.load(tmp_path / "model.pt2", executor="pytorch").segments.values()
    assert segment.spec.inputs[0].profiles == (((1, 4),) * 3, ((2, 4), (4, 4), (8, 4)))
    done = CliRunner().invoke(main, [*command, "--profile", "1x4,1x1"])
    assert done.exit_code == 1
    assert "--profile 1x4,1x1 has 2 inputs, and" in done.output


X = [torch.ones(1, 4), torch.ones(1, 1)]
MISTAKES: dict[str, tuple[Any, Any, str]] = {
    "no profiles": (X, [], "give a list with the sizes"),
    "one profile that is not in a list": (X, {"x": TOKEN}, "give a list with the sizes"),
    "an unknown name": (X, [{"wieght": (1, 1)}], "'wieght' that is none.*'weight'"),
    "too few inputs": (X, [[TOKEN]], "profile 0 has 1 positional inputs, and the model 2"),
    "no list": (X, [TOKEN, 3], "profile 1 is 3: give a list"),
    "another type": (X, [{"x": torch.ones(1, 4, dtype=torch.int64)}], "float32, and in a profile torch.int64"),
    "sizes only": (None, [[TOKEN, (1, 1)]], "no data types"),
    "another number": ([*X, 2.0], [[TOKEN, (1, 1), 3.0]], "2.0 is no tensor, and has other values"),
    "profiles twice": (BOTH, [[TOKEN, (1, 1)]], "has profiles of its own"),
    "several in one": (X, [{"x": BOTH[0]}], "several profiles, and is the input of one"),
    "sizes that shrink": (X, [{"x": ((3, 4), (2, 4), (1, 4))}], "grow from min to opt to max"),
}


@pytest.mark.parametrize(("inputs", "profiles", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(inputs: Any, profiles: Any, words: str) -> None:
    with pytest.raises(tp.UserError, match=words) as caught:
        tp.compile(Weighted().eval(), inputs, profiles=profiles)
    assert "\n" not in str(caught.value)
