"""Sizes that torch.export did not look at: the graph is right for them, which a trial shows, or it is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp

from ...every_size import check_every_size, compiled_for
from ...subclasses import Quantized

FROM_ONE = {"n": (1, 4, 9)}
FROM_THREE = {"n": (3, 5, 9)}

RIGHT: dict[str, Callable[[torch.Tensor], Any]] = {
    "last half": lambda x: x[:, -(x.shape[1] // 2) :] * 2,
    "from the third but last": lambda x: x[:, x.shape[1] - 3 :] * 2,
    "between": lambda x: x[:, x.shape[1] // 3 : x.shape[1] // 2] * 2,
    "of a concatenation": lambda x: torch.cat([x, x], 1)[:, :4] * 2,
    "last of a concatenation": lambda x: torch.cat([x, x], 1)[:, -4:] * 2,
    "differences": lambda x: x[:, 1:] - x[:, :-1],
    "every second": lambda x: x[:, ::2] * 2,
    "halves": lambda x: torch.cat(x.split([x.shape[1] // 2, x.shape[1] - x.shape[1] // 2], 1)[::-1], 1) * 2,
    "convolution down to one": lambda x: F.conv1d(x[:, None], torch.ones(1, 1, 3), stride=2) * 2,
    "pooled down to one": lambda x: F.avg_pool1d(x, 3, 2, ceil_mode=True) * 2,
    "interpolated": lambda x: F.interpolate(x[None], scale_factor=0.5, mode="linear") * 2,
    "rounded up": lambda x: x[:, : math.ceil(x.shape[1] / 2)] * 2,
    "expanded": lambda x: x[:, None].expand(-1, x.shape[1] % 3 + 1, -1) * 2,
    "element whose place is 1 for the example": lambda x: x.select(1, x.shape[1] - 3) * 2,
}


@pytest.mark.parametrize("name", RIGHT)
def test_decisions_that_change_nothing_do_not_matter(name: str) -> None:
    check_every_size(RIGHT[name], (2, "n"), FROM_THREE)


def test_a_size_that_happens_to_be_one_for_the_usual_size() -> None:
    check_every_size(lambda x: F.pad(x, (0, 9 - x.shape[1])) + x.shape[1], (2, "n"), {"n": (3, 8, 9)})


WRONG_AT_ONE: dict[str, Callable[[torch.Tensor], Any]] = {
    "squeezed": lambda x: (x * 2).squeeze(),
    "a dimension squeezed": lambda x: (x * 2).squeeze(1),
    "a branch": lambda x: x * 2 if x.shape[1] == 1 else x * 3,
    "a number chosen": lambda x: x * (1 if x.shape[1] > 1 else 0) + 1,
    "last two": lambda x: x[:, -2:] * 2,
}


@pytest.mark.parametrize("name", WRONG_AT_ONE)
def test_what_a_model_does_at_size_one_only_is_refused(name: str) -> None:
    with pytest.raises(tp.UserError, match=r"not do the same for all declared sizes: for x.shape\[1\] = 1: .* there"):
        compiled_for(WRONG_AT_ONE[name], (2, "n"), FROM_ONE)


def test_a_number_that_is_returned_is_compared_too() -> None:
    message = r"for x.shape\[1\] = 3: the model returns 1 there, where the graph returns 2|it was exported where"
    with pytest.raises(tp.UserError, match=message):
        compiled_for(lambda x: (x * 2, int(x.shape[1] / 2)), (2, "n"), FROM_THREE)


def test_the_same_models_from_size_two() -> None:
    for function in WRONG_AT_ONE.values():
        check_every_size(function, (2, "n"), {"n": (2, 4, 5)})


def _length(x: torch.Tensor) -> torch.Tensor:
    return x * len(x)


def _root(x: torch.Tensor) -> torch.Tensor:
    return x / math.sqrt(x.shape[0])


def _three(x: torch.Tensor) -> torch.Tensor:
    return x[:3] + 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_length, r"fixes it to 4 \(\S+test_size_trial.py:\d+: return x \* len\(x\)\): .*write x.shape\[0\] there"),
        (_root, r"fixes it to 4 \(\S+test_size_trial.py:\d+: .*\): .*write n \*\* 0.5 there"),
        (_three, r"allows 3..9 \(\S+test_size_trial.py:\d+: return x\[:3\] \+ 1\): declare a range inside that"),
    ],
)
def test_limits_of_a_model_name_the_line_that_they_come_from(function: Any, message: str) -> None:
    with pytest.raises(tp.UserError, match=message):
        compiled_for(function, ("n", 2), FROM_ONE)


def test_a_tensor_as_a_whole_number() -> None:
    def function(x: torch.Tensor, three: torch.Tensor) -> Any:
        count = int((x > 0).sum())
        return x[: int(three)] * 2, x[:count] * 3, x + int(x.abs().sum().item()) % 3

    check_every_size(function, ("n", 4), {"n": (4, 5, 6)}, inputs=2)


def test_state_is_not_changed_by_a_trial() -> None:
    class Counting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.norm = torch.nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls.add_(1)
            return self.norm(x[:, : x.shape[1]]) * self.calls

    model = Counting().eval()
    declared = tp.Input(min_shape=(1, 4), opt_shape=(4, 4), max_shape=(9, 4))
    compiled = tp.compile(model, [declared], min_block_size=1, executor="reference")
    assert model.calls.item() == 0
    x = torch.randn(1, 4)
    torch.testing.assert_close(compiled(x), model.norm(x))


class Calls(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.squeeze() * 2,
        lambda x: x.squeeze(0).sum(0),
        lambda x: torch.squeeze(x[:, :1]),
        lambda x: x.mean(1, keepdim=True).squeeze(),
    ],
)
@pytest.mark.parametrize("least", [0, 1])
def test_an_exported_program_that_is_another_for_a_size_of_1_is_refused(function, least):
    """torch.export assumes that what varies is not 1, also where its range says otherwise."""
    rows = torch.export.Dim("rows", min=least, max=8)
    exported = torch.export.export(Calls(function), (torch.randn(4, 4),), dynamic_shapes={"x": {0: rows}})
    with pytest.raises(tp.UserError, match=r"x.shape\[0\] = 1: %squeeze.* \(.*test_size_trial.py:\d+\) has the shape"):
        tp.compile(exported, min_block_size=1)
    sizes = tp.Input(min_shape=(2, 4), opt_shape=(4, 4), max_shape=(8, 4))
    compiled = tp.compile(exported, [sizes], min_block_size=1, executor="reference")
    x = torch.randn(2, 4)
    torch.testing.assert_close(compiled(x), function(x))
    with pytest.raises(tp.UserError, match="takes 2 to 8"):
        compiled(torch.randn(1, 4))


def test_an_exported_program_that_is_the_same_for_a_size_of_1_is_taken():
    rows = torch.export.Dim("rows", min=1, max=8)

    def function(x):
        return x.flatten(1).mean(0, keepdim=True).expand_as(x) + x

    exported = torch.export.export(Calls(function), (torch.randn(4, 4),), dynamic_shapes={"x": {0: rows}})
    compiled = tp.compile(exported, min_block_size=1, executor="reference")
    for size in (1, 2, 8):
        x = torch.randn(size, 4)
        torch.testing.assert_close(compiled(x), function(x))


def test_a_size_that_the_model_raises_for_and_the_graph_does_not_is_refused():
    def function(x):
        torch._check(x.shape[0] % 2 == 0)
        return x * 2

    sizes = tp.Input(min_shape=(1, 4), opt_shape=(4, 4), max_shape=(8, 4))
    with pytest.raises(tp.UserError, match=r"the model raises RuntimeError: .* there, where the graph does not"):
        tp.compile(Calls(function), [sizes], min_block_size=1)


class LastPart(torch.nn.Module):
    """What a subclass among the weights makes of the graph are other operators than the model's, at every size."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(Quantized.of(torch.randn(8, 24)), requires_grad=False)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = torch.isin(z.int(), torch.tensor([0, 2]))
        return x.abs().split(2)[-1], torch.nn.functional.linear(z, self.weight), found


def test_results_of_other_shapes_tell_although_the_operators_are_never_the_same() -> None:
    inputs = [tp.Input(min_shape=(4,), opt_shape=(4,), max_shape=(13,)), tp.Input((2, 24))]
    with pytest.raises(tp.UserError, match="does not do the same for all declared sizes"):
        tp.trace(LastPart().eval(), inputs)


def test_a_model_that_reads_a_number_is_tried_by_the_shapes_of_its_graph() -> None:
    def function(x):
        least = float(x.amin())
        return torch.cat([x, x])[:4] + (least - least)

    with pytest.raises(tp.UserError, match=r"x.shape\[0\] = 1: %slice.* has the shape \[2, 4\] there"):
        tp.trace(Calls(function), [tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(3, 4))])


def test_sizes_that_depend_on_values_are_no_reason_not_to_try() -> None:
    def function(x):
        chosen = x[x > 0]
        return chosen.clone().expand(2, -1).sum(), torch.cat([x, x])[:4]

    with pytest.raises(tp.UserError, match=r"x.shape\[0\] = 1: %slice.* has the shape \[2, 4\] there"):
        tp.trace(Calls(function), [tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(3, 4))])


def test_windows_of_images_of_any_size() -> None:
    """Slices without an end, or to the end, are the same; Python leaves some out for some sizes."""

    def function(x):
        rows, columns = x.shape
        x = torch.nn.functional.pad(x, (0, -columns % 4, 0, -rows % 4))
        wide, high = rows + -rows % 4, columns + -columns % 4
        x = x.view(wide // 4, 4, high // 4, 4).transpose(1, 2).softmax(-1)
        return x.transpose(1, 2).reshape(wide, high)[:rows, :columns]

    spec = tp.Input(min_shape=(5, 7), opt_shape=(8, 8), max_shape=(9, 9))
    compiled = tp.compile(Calls(function), [spec], min_block_size=1, executor="reference")
    for shape in ((5, 7), (8, 8), (9, 9)):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), function(x))


def test_more_sizes_are_tried_than_a_few_where_a_condition_often_does_not_hold() -> None:
    def function(x):
        return (x * 2 if (x.shape[0] + 2 * x.shape[1]) % 4 == 3 else x + x).relu()

    def same(x):
        if (x.shape[0] + 2 * x.shape[1]) % 4 == 3:
            return (x * 2).relu()
        return (x * 2).relu()

    spec = tp.Input(min_shape=(2, 2), opt_shape=(4, 4), max_shape=(18, 18))
    compiled = tp.compile(Calls(same), [spec], min_block_size=1, executor="reference")
    for shape in ((2, 2), (3, 4), (18, 18)):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), same(x))
    with pytest.raises(tp.UserError, match=r"not so for .*: the model calls"):
        tp.trace(Calls(function), [spec])


def test_it_is_said_that_there_was_no_time_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trt_passes.compiler.frontends.size_guards._TRIAL_SECONDS", 0)
    monkeypatch.setattr("trt_passes.compiler.frontends.size_guards._TRIALS", 3)
    spec = tp.Input(min_shape=(2, 2), opt_shape=(4, 4), max_shape=(5, 5))

    def same(x):
        if (x.shape[0] + 2 * x.shape[1]) % 4 == 3:
            return x * 2
        return x * 2

    with pytest.raises(tp.UserError, match=r"not so for .*, and after 3 other sizes there was no time to try these"):
        tp.trace(Calls(same), [spec])
