"""Finding the best variants; the GPU's clock is replaced, all else is real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from click.testing import CliRunner
from torch import nn
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.ir.tuning import TOO_DEAR, Measured, Tuning
from trt_passes.tuning import tune
from trt_passes.tuning.timing import _is_precise
from trt_passes.tuning.tune import known_tuning, tune_program, usual_program

from tests.marks import gpu

CPU = torch.device("cpu")
SETTINGS = tp.Settings(enabled_precisions={torch.float16}, executor="reference")
EMPTY = Tuning("a GPU", {"torch": "1"}, {}, border_us=0.0)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(8, 16, 1),
        nn.GELU(),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(16, 8, 1),
        nn.ReLU(),
    )
    return nn.Sequential(*layers, nn.Conv2d(8, 16, 1)).eval()


X = torch.randn(1, 8, 4, 4)


class Clock:
    """Times the last variant of all as the fastest; counts what was measured."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, calls: Sequence[Callable[[], Any]]) -> list[float]:
        for call in calls:
            call()
        self.asked.append(len(calls))
        return [float(10 * (len(calls) - index)) for index in range(len(calls))]


@pytest.fixture(autouse=True)
def not_whole(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only tests of that try prices of borders in the whole model."""
    if "whole_model" not in request.node.name:
        monkeypatch.setattr(tune, "with_best_border", lambda program, tuning, *rest: tuning)


def tuned(model: nn.Module, clock: Any, known: Tuning = EMPTY, **options: Any) -> Tuning:
    return tune_program(usual_program(model, [X], None), SETTINGS, known, clock, CPU, **options)


@pytest.mark.long
def test_every_pattern_is_measured_once_with_errors(tmp_path: Path) -> None:
    clock = Clock()
    tuning = tuned(network(), clock, output=tmp_path / "t.json")
    assert len(tuning.patterns) == 4
    assert sorted(clock.asked) == [3, 4, 5, 5, 5]  # one of them for borders
    for pattern, row in tuning.patterns.items():
        assert set(row) >= {"layer", "pytorch"}, pattern
        assert all(item.error is not None and 0 < item.error < 5e-3 for item in row.values())
    assert Tuning.load(tmp_path / "t.json").patterns.keys() == tuning.patterns.keys()


@pytest.mark.long
def test_borders_are_measured_and_taken_from_what_pytorch_takes() -> None:
    def clock(calls: Sequence[Callable[[], Any]]) -> list[float]:
        for call in calls:
            call()
        # Layers in one engine and in six, eight kernels of PyTorch, a copy.
        return [4.0, 39.0, 16.0, 2.0] if len(calls) == 4 and not done else [40.0] * len(calls)

    done: list[int] = []
    tuning = tuned(network(), lambda calls: (clock(calls), done.append(1))[0])
    assert (tuning.border_us, tuning.launch_us, tuning.bandwidth) == (7.0, 2.0, round(2 * (1 << 20) / 2e-6, -9))
    for row in tuning.patterns.values():
        assert 32.0 < row["pytorch"].us <= 33.0 < row["layer"].us == 40.0
    assert tuned(network(), Clock(), known=tuning).border_us == 7.0


@pytest.mark.long
def test_what_is_known_is_not_measured_again() -> None:
    first = tuned(network(), Clock())
    clock = Clock()
    again = tuned(network(), clock, known=first)
    assert clock.asked == []
    assert again.patterns == first.patterns
    other = nn.Sequential(network(), nn.Conv2d(16, 24, 1)).eval()
    tuned(other, clock, known=first)
    assert len(clock.asked) == 1


@pytest.mark.long
def test_the_budget_ends_it_and_the_file_can_be_continued(tmp_path: Path) -> None:
    seen: list[str] = []
    part = tuned(network(), Clock(), seconds=0.0, output=tmp_path / "t.json", progress=lambda *a: seen.append(a[0]))
    assert (part.patterns, seen) == ({}, [])
    assert (tmp_path / "t.json").is_file()
    whole = tuned(network(), Clock(), progress=lambda text, done, total: seen.append(f"{done}/{total}"))
    assert seen == ["0/4", "1/4", "2/4", "3/4", "4/4"]  # the last is the whole model
    assert len(whole.patterns) == 4


@pytest.mark.long
def test_a_border_costs_what_makes_the_whole_model_fastest() -> None:
    asked: list[int] = []

    def clock(best: int) -> Any:
        def times(calls: Sequence[Callable[[], Any]]) -> list[float]:
            asked.append(len(calls))
            if len(asked) == 1:
                return [4.0, 39.0, 16.0, 2.0]  # a border of 7 us
            if len(asked) < 6:
                return [60.0] * (len(calls) - 1) + [30.0]  # PyTorch's are the last
            return [1.0 if index == best else 2.0 for index in range(len(calls))]

        return times

    borders = []
    for best in range(2):
        asked.clear()
        borders.append(tuned(network(), clock(best)).border_us)
        assert asked[5:] == [2]
    assert borders == [7.0, TOO_DEAR]


def test_the_result_decides_a_compilation() -> None:
    model = network()
    tuning = tuned(model, Clock())  # PyTorch's is the last, and the fastest
    module = tp.compile(
        model, [X], enabled_precisions={torch.float16}, executor="reference", min_block_size=1, tuning=tuning
    )
    stays = {row.op for row in module.report.ledger if row.reasons and row.reasons[0].code == "TP305"}
    assert stays == {"aten.convolution", "aten.upsample_bilinear2d.vec"}
    torch.testing.assert_close(module(X), model(X), rtol=2e-2, atol=2e-2)


@pytest.mark.long
def test_a_variant_that_cannot_be_built_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from trt_passes.passes.convert import convolution

    def broken(*arguments: Any) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(convolution, "of_patches", broken)
    rows = tuned(network(), Clock()).patterns.values()
    assert not any("pixels-as-product" in row for row in rows)
    assert all("layer" in row for row in rows)


def test_files_of_another_gpu_are_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    old = Tuning("NVIDIA L4", {"torch": "1"}, {"p": {"layer": Measured(1.0)}})
    old.save(path)
    with pytest.raises(tp.UserError, match="was measured on NVIDIA L4, and this is NVIDIA H200"):
        known_tuning(path, "NVIDIA H200", {"torch": "1"})
    assert known_tuning(path, "NVIDIA L4", {"torch": "1"}).patterns == old.patterns
    assert known_tuning(path, "NVIDIA L4", {"torch": "2"}).patterns == {}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_says_so() -> None:
    for call in (lambda: tp.tune(network(), [X]), lambda: tp.compile(network(), [X], tune=True)):
        with pytest.raises(tp.UserError, match="tune measures on a GPU, and this machine has none"):
            call()
    with pytest.raises(tp.UserError, match=r"call tp\.tune on the model"):
        tp.compile(network(), ir="torch_compile", tune=True)
    models = Path(__file__).parents[1] / "compiler/cli/cli_models.py"
    result = CliRunner().invoke(main, ["tune", f"{models}:blocks"], catch_exceptions=False)
    assert result.exit_code == 1
    assert "this machine has none" in result.stderr


def test_ranges_are_tuned_for_their_usual_sizes() -> None:
    model = nn.Linear(16, 8).eval()
    program = usual_program(model, [tp.Input(min_shape=(1, 16), opt_shape=(4, 16), max_shape=(8, 16))], None)
    tuning = tune_program(program, SETTINGS, EMPTY, Clock(), CPU)
    assert list(tuning.patterns) == ["aten.linear(f16[4,16], const f16[8,16], const f16[8])"]
    ranged = tp.Input(min_shape=(1, 16), opt_shape=(4, 16), max_shape=(8, 16))
    options = {"enabled_precisions": {torch.float16}, "min_block_size": 1, "dryrun": True, "preset": "fast"}
    report = tp.compile(model, [ranged], **options, tuning=tuning).report
    assert {row.reasons[0].code for row in report.ledger if "linear" in row.node and row.reasons} == {"TP305"}


def test_repeats_end_once_three_percent_can_be_told_apart() -> None:
    assert _is_precise([100.0, 100.1, 99.9, 100.05, 99.95] * 2)
    assert not _is_precise([100.0, 120.0, 80.0, 110.0, 90.0] * 2)


@gpu
def test_tuning_on_a_gpu(tmp_path: Path) -> None:
    tuning = tp.tune(network(), [X], output=tmp_path / "t.json", enabled_precisions={torch.float16})
    assert len(tuning.patterns) == 4
    module = tp.compile(network(), [X], enabled_precisions={torch.float16}, tuning=tmp_path / "t.json")
    torch.testing.assert_close(module(X), network()(X), rtol=2e-2, atol=2e-2)
