"""The page of performance: how lines are read, tables, where aims are missed, plots, and that it is up to date."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers
import peers_page
import pytest
from peers_page_lines import MODELS, PEERS, Results, read, three_digits, two_digits
from peers_page_plots import Plot, Series, digest_of, drawn, plots, write_plots
from peers_page_shortfalls import AIMS, verdict

CALL_AIM, REPLAY_AIM, FIRST_AIM, ERROR_AIM = AIMS
NEW, OLD = "1.6.1.120", "1.4.0.76"

Written = Callable[..., Results]


def line(peer: str, model: str = "resnet50-b1", tensorrt: str | None = None, **figures: Any) -> dict[str, Any]:
    known = {"first_call_seconds": 1.0, "call_ms": 1.0, "host_us": 9.0, "replay_ms": 1.0, "error": 1e-3}
    tensorrt = tensorrt or (NEW if "trt" in peer or "tensorrt" in peer else None)
    kept = {
        "engines": 1 if tensorrt else None,
        "peak_mb": 5.0,
        "device_mb": 6.0,
        "gpu": "GPU",
        "date": "2026-01-02",
    }
    versions = {"torch": "2.11.0", **({"tensorrt_rtx": tensorrt} if tensorrt else {})}
    return {"model": model, "peer": peer, **known, **kept, "versions": versions, **figures}


@pytest.fixture
def results(tmp_path: Path) -> Written:
    def written(*lines: dict[str, Any]) -> Results:
        path = tmp_path / "lines.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        return read(path)

    return written


def section(text: str, title: str) -> str:
    return text.partition(f"\n{title}\n")[2].partition("\n#")[0]


def cells(text: str, first: str) -> list[str]:
    row = next(row for row in text.splitlines() if row.startswith(f"| {first} |"))
    return [cell.strip() for cell in row.split("|")[1:-1]]


class TestLines:
    def test_models_and_peers_are_those_of_the_benchmark(self) -> None:
        import peers_models

        assert list(MODELS) == list(peers_models.MODELS)
        of_the_proof = ("trt-passes-exact", "trt-passes-tuned")  # benchmarks/proof.py has these
        assert [*PEERS, *of_the_proof] == list(peers.PEERS)
        assert set(peers_page.HOW) == set(PEERS)

    def test_a_later_line_replaces_an_earlier_one(self, results: Written) -> None:
        found = results(line("eager", call_ms=2.0), line("eager", call_ms=3.0))
        assert found.value("resnet50-b1", found.of("eager")[0], "call_ms") == 3.0

    def test_columns_are_in_the_order_of_the_benchmark(self, results: Written) -> None:
        found = results(line("trt-passes"), line("eager"), line("compile", model="gpt2-1x256"))
        assert [one.peer for one in found.compilers] == ["eager", "compile", "trt-passes"]
        assert found.models == ("resnet50-b1", "gpt2-1x256")

    def test_another_tensorrt_is_another_column(self, results: Written) -> None:
        found = results(line("trt-passes", tensorrt="1.10.0.1"), line("trt-passes", tensorrt=OLD, call_ms=2.0))
        assert [one.label for one in found.compilers] == ["trt-passes", f"trt-passes, TensorRT-RTX {OLD}"]
        newest, older = found.of("trt-passes")
        assert newest.tensorrt == "1.10.0.1"
        assert found.value("resnet50-b1", older, "call_ms") == 2.0
        assert found.current == (newest,)
        assert found.versions(older) == ("torch 2.11.0", f"tensorrt_rtx {OLD}")

    def test_one_version_alone_needs_no_suffix(self, results: Written) -> None:
        found = results(line("torch-tensorrt", tensorrt=OLD), line("trt-passes"))
        assert [one.label for one in found.compilers] == ["Torch-TensorRT", "trt-passes"]

    def test_a_failure_counts_only_without_a_result(self, results: Written) -> None:
        failed = {"peer": "eager", "failed": "no"}
        found = results({"model": "gpt2-1x256", **failed}, {"model": "resnet50-b1", **failed}, line("eager"))
        assert [model for model, _ in found.failures] == ["gpt2-1x256"]
        assert found.value("gpt2-1x256", found.of("eager")[0], "call_ms") is None

    def test_a_peer_that_only_failed_has_a_column(self, results: Written) -> None:
        found = results({"model": "resnet50-b1", "peer": "torch-tensorrt", "failed": "no"})
        assert [one.label for one in found.compilers] == ["Torch-TensorRT"]

    @pytest.mark.parametrize("text", ["{", "[]", '{"model": "resnet50-b1"}', '{"model": "resnet51", "peer": "eager"}'])
    def test_a_line_that_is_none_is_named(self, text: str, tmp_path: Path) -> None:
        path = tmp_path / "lines.jsonl"
        path.write_text(f"{json.dumps(line('eager'))}\n{text}\n")
        with pytest.raises(ValueError, match=re.escape("lines.jsonl, line 2 ")):
            read(path)

    @pytest.mark.parametrize(
        ("value", "shown"),
        [(0.4184, "0.418"), (0.42, "0.420"), (9.996, "10.0"), (35.13, "35.1"), (123.4, "123"), (5117.7, "5120")],
    )
    def test_three_digits(self, value: float, shown: str) -> None:
        assert three_digits(value) == shown

    def test_two_digits(self) -> None:
        assert [two_digits(value) for value in (0.00234, 0.0388, math.nan)] == ["2.3e-3", "3.9e-2", "nan"]


class TestShortfalls:
    def test_a_call_is_held_against_every_other(self, results: Written) -> None:
        graphs, plain = line("trt-passes-cuda-graphs", call_ms=1.0), line("trt-passes", call_ms=0.9)
        (found,) = verdict(results(graphs, plain, line("eager", call_ms=5.0)), CALL_AIM).missed
        assert (found.ours, found.other, found.by) == (1.0, 0.9, "trt-passes")
        assert found.ratio == pytest.approx(1 / 0.9)

    def test_the_fastest_call_is_no_shortfall(self, results: Written) -> None:
        found = verdict(results(line("trt-passes-cuda-graphs", call_ms=1.0), line("eager", call_ms=1.0)), CALL_AIM)
        assert (found.compared, found.missed) == (1, ())

    @pytest.mark.parametrize(("ours", "misses"), [(1.029, 0), (1.031, 1)])
    def test_gpu_time_has_three_percent(self, ours: float, misses: int, results: Written) -> None:
        lines = [line("trt-passes", replay_ms=ours), line("onnx-tensorrt-rtx", replay_ms=1.0)]
        assert len(verdict(results(*lines, line("torch-tensorrt", replay_ms=2.0)), REPLAY_AIM).missed) == misses

    def test_gpu_time_is_not_held_against_pytorch(self, results: Written) -> None:
        found = verdict(results(line("trt-passes", replay_ms=9.0), line("eager", replay_ms=1.0)), REPLAY_AIM)
        assert found.compared == 0

    def test_the_slower_of_our_first_calls_counts(self, results: Written) -> None:
        ours = [line("trt-passes", first_call_seconds=5.0), line("trt-passes-cuda-graphs", first_call_seconds=8.0)]
        theirs = line("torch-tensorrt", tensorrt=OLD, first_call_seconds=7.0)
        (found,) = verdict(results(*ours, theirs), FIRST_AIM).missed
        assert (found.ours, found.other) == (8.0, 7.0)

    @pytest.mark.parametrize(("ours", "misses"), [(1.9e-3, 0), (2.1e-3, 1), (math.nan, 1)])
    def test_an_error_may_be_twice_that_of_eager(self, ours: float, misses: int, results: Written) -> None:
        lines = [line("trt-passes", error=1e-3), line("trt-passes-cuda-graphs", error=ours), line("eager", error=1e-3)]
        assert len(verdict(results(*lines), ERROR_AIM).missed) == misses

    def test_without_a_reference_nothing_is_compared(self, results: Written) -> None:
        found = verdict(results(line("trt-passes"), line("eager", error=math.nan)), ERROR_AIM)
        assert (found.compared, found.missed) == (0, ())

    def test_an_older_tensorrt_of_ours_does_not_count(self, results: Written) -> None:
        lines = [line("trt-passes", tensorrt=OLD, replay_ms=9.0), line("trt-passes", replay_ms=1.0)]
        assert not verdict(results(*lines, line("onnx-tensorrt-rtx", replay_ms=1.0)), REPLAY_AIM).missed

    def test_the_worst_comes_first(self, results: Written) -> None:
        ours = {"resnet50-b1": 2.0, "gpt2-1x256": 4.0, "swin-t-b8": math.nan}
        lines = [line("trt-passes", name, error=error) for name, error in ours.items()]
        lines += [line("eager", name, error=0.5) for name in ours]
        assert [one.model for one in verdict(results(*lines), ERROR_AIM).missed] == [
            "swin-t-b8",
            "gpt2-1x256",
            "resnet50-b1",
        ]


class TestPage:
    def test_the_best_of_a_row_is_bold(self, results: Written) -> None:
        found = results(line("eager", call_ms=5.0), line("compile", call_ms=0.4001), line("trt-passes", call_ms=0.4))
        row = cells(section(peers_page.page(found, ""), "## Calls"), "ResNet-50 (1)")
        assert row == ["ResNet-50 (1)", "5.00", "**0.400**", "**0.400**"]

    def test_eager_stands_apart_where_compilers_compare(self, results: Written) -> None:
        found = results(line("eager", first_call_seconds=0.1), line("trt-passes", first_call_seconds=9.0))
        row = cells(section(peers_page.page(found, ""), "## First call"), "ResNet-50 (1)")
        assert row == ["ResNet-50 (1)", "0.100", "**9.00**"]

    def test_columns_without_a_figure_are_left_out(self, results: Written) -> None:
        found = results(line("eager"), line("trt-passes-cuda-graphs", replay_ms=None))
        assert cells(section(peers_page.page(found, ""), "## GPU time"), "model (ms)") == ["model (ms)", "eager"]

    def test_failures_and_gaps_are_told(self, results: Written) -> None:
        failed = {"model": "gpt2-1x256", "peer": "trt-passes", "failed": "exit code 1:\n `x` | y"}
        text = peers_page.page(results(line("trt-passes"), line("eager", "gpt2-1x256"), failed), "")
        assert cells(section(text, "## Calls"), "GPT-2 (1×256)") == ["GPT-2 (1×256)", "**1.00**", "failed"]
        assert "GPT-2 (1×256) with trt-passes;" in section(text, "### Models without a result")
        told = section(text, "## What is not measured")
        assert "- GPT-2 (1×256), trt-passes, failed: `exit code 1: 'x' | y`" in told
        assert "- torch.compile, not run: any model" in told
        missing = next(row for row in told.splitlines() if row.startswith("- trt-passes, not run"))
        assert "Swin-T (8)" in missing
        assert "GPT-2" not in missing
        assert "ResNet-50 (1)" not in missing

    def test_a_complete_run_has_no_gaps(self, results: Written) -> None:
        text = peers_page.page(results(*(line(peer, model) for peer in PEERS for model in MODELS)), "")
        assert "Nothing: every model ran with every compiler." in text
        assert "Models without a result" not in text
        assert "Every model became one engine" in text
        assert section(text, "### Errors more than twice eager's").strip().startswith("None of 13 models")

    def test_several_engines_are_listed(self, results: Written) -> None:
        found = results(line("eager"), line("trt-passes", engines=3), line("trt-passes", "gpt2-1x256"))
        told = section(peers_page.page(found, ""), "## Memory and engines").partition("Engines, of")[2]
        assert cells(told, "ResNet-50 (1)") == ["ResNet-50 (1)", "3"]
        assert "GPT-2" not in told

    def test_shortfalls_have_their_figures(self, results: Written) -> None:
        text = peers_page.page(results(line("trt-passes", error=3e-3), line("eager", error=1e-3)), "")
        told = section(text, "### Errors more than twice eager's")
        assert "1 of 1 model measured" in told
        assert cells(told, "ResNet-50 (1)") == ["ResNet-50 (1)", "3.0e-3", "1.0e-3", "eager", "3.00"]
        assert "Not known" in section(text, "### First calls slower than Torch-TensorRT's")
        assert cells(text, "the error is at most twice eager's")[1] == "0 of 1"
        assert cells(text, "the first call is no slower than Torch-TensorRT's")[1] == "not known"

    def test_means_are_geometric_over_models_of_both(self, results: Written) -> None:
        graphs = [line("trt-passes-cuda-graphs", name, call_ms=1.0) for name in ("resnet50-b1", "gpt2-1x256")]
        eager = [line("eager", "resnet50-b1", call_ms=2.0), line("eager", "gpt2-1x256", call_ms=8.0)]
        some = line("compile", "gpt2-1x256", call_ms=3.0)
        text = section(peers_page.page(results(*graphs, *eager, some), ""), "## At a glance")
        assert cells(text, "eager")[1] == "4.00"
        assert cells(text, "torch.compile")[1] == "3.00 (1 model)"

    def test_the_handwritten_part_is_kept(self, results: Written) -> None:
        assert section(peers_page.page(results(line("eager")), "Because.\n"), "## Why").strip() == "Because."


class TestPlots:
    def test_figures_are_multiples_of_the_reference(self, results: Written) -> None:
        ours, other = line("trt-passes-cuda-graphs", call_ms=2.0), line("eager", call_ms=6.0)
        call, _, first, _ = plots(results(ours, other, line("eager", "gpt2-1x256")))
        assert call.rows == ("ResNet-50 (1)",)
        assert call.series == (Series("eager", "eager", (3.0,)),)
        assert [one.values for one in first.series] == [(1.0, 1.0), (1.0, None)]

    def test_figures_that_are_none_are_left_out(self, results: Written) -> None:
        lines = [line("eager"), line("trt-passes", error=math.nan), line("trt-passes", "gpt2-1x256", error=math.nan)]
        *_, error = plots(results(*lines))
        assert (error.rows, error.series) == (("ResNet-50 (1)",), ())

    def test_digest_changes_with_a_figure(self) -> None:
        made = [
            Plot("x", "t", "s", ("row",), (Series("eager", "eager", (value,)),)).digest for value in (1.0, 1.0, 2.0)
        ]
        assert made[0] == made[1] != made[2]

    def test_drawing_is_deterministic_and_transparent(self, results: Written) -> None:
        pytest.importorskip("matplotlib", reason="needs matplotlib: pip install trt-passes[bench]")
        found = plots(results(*(line(peer, model) for peer in PEERS for model in ("resnet50-b1", "gpt2-1x256"))))
        text = drawn(found[0])
        assert text == drawn(found[0])
        assert digest_of(text) == found[0].digest
        assert "prefers-color-scheme:dark" in text
        assert "ONNX, TensorRT-RTX's parser" in text
        assert "fill: #ffffff" not in text

    def test_a_plot_without_figures_can_be_drawn(self) -> None:
        pytest.importorskip("matplotlib", reason="needs matplotlib: pip install trt-passes[bench]")
        assert "row" in drawn(Plot("x", "title", "seconds", ("row",), ()))

    def test_only_what_changed_is_drawn(self, results: Written, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib", reason="needs matplotlib: pip install trt-passes[bench]")
        plot = plots(results(line("eager"), line("trt-passes")))[2]
        write_plots([plot], tmp_path / "plots")
        path = tmp_path / "plots" / "first-call.svg"
        kept = path.read_text().replace("<title>", "<title>kept ")
        path.write_text(kept)
        write_plots([plot], tmp_path / "plots")
        assert path.read_text() == kept
        write_plots([plots(results(line("eager", first_call_seconds=3.0)))[2]], tmp_path / "plots")
        assert "kept" not in path.read_text()


@pytest.fixture(scope="module")
def committed() -> Results:
    return read(peers_page.LINES)


def test_the_page_is_current(committed: Results) -> None:
    text = peers_page.page(committed, peers_page.WHY.read_text("utf-8"))
    assert peers_page.PAGE.read_text("utf-8") == text, "run python benchmarks/peers_page.py"


def test_the_plots_are_current(committed: Results) -> None:
    drawn_from = {path.stem: digest_of(path.read_text("utf-8")) for path in peers_page.PLOTS.glob("*.svg")}
    assert drawn_from == {plot.name: plot.digest for plot in plots(committed)}, "run python benchmarks/peers_page.py"
