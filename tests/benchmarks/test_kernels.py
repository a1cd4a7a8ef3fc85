"""Where GPU time goes: calls told apart in a trace, kinds of kernels, what differs between two calls, the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kernels import PAUSE, Kernel, Trace, differences, line, traces_of
from peers_page import KERNELS
from peers_page_kernels import kernel_rows

ENGINE = [("__myl_Add", 2.0), ("cudnn_matMul_knob_1", 10.0), ("_gemm_mha_v2", 5.0)]
OTHER = [("__myl_Add", 2.0), ("cudnn_matMul_knob_2", 7.0), ("_gemm_mha_v2", 6.0), ("__myl_Mul", 1.0)]


def events(*calls: list[tuple[str, float]], gap: float = 1.0) -> list[dict[str, Any]]:
    """The events of calls one after the other, the kernels of each `gap` microseconds apart."""
    found, now = [{"cat": "cpu_op", "ts": 0.0, "dur": 1e9, "name": "aten::add"}], 0.0
    for call in calls:
        now += PAUSE * 1e6
        for name, us in call:
            found.append({"cat": "kernel", "ts": now, "dur": us, "name": name})
            now += us + gap
    return found


def test_calls_are_told_apart_by_the_pauses_and_medians_taken() -> None:
    slow = [(name, us + 6) for name, us in ENGINE]
    ours, other = traces_of(events(ENGINE, OTHER, slow, OTHER, ENGINE, OTHER), ["ours", "other"], 3)
    assert [kernel.us for kernel in ours.kernels] == [2, 10, 5]
    assert (ours.peer, ours.us, ours.idle_us, sum(ours.by_kind().values())) == ("ours", 19, 2, 17)
    assert [kernel.name for kernel in other.kernels] == [name for name, _ in OTHER]


def test_overlapping_kernels_leave_nothing_idle() -> None:
    (trace,) = traces_of(events(ENGINE, gap=-1.0), ["ours"], 1)
    assert trace.idle_us == 0
    assert trace.us < sum(trace.by_kind().values())


@pytest.mark.parametrize(("calls", "replays"), [([ENGINE, OTHER], 2), ([ENGINE, ENGINE], 1)])
def test_a_trace_of_other_calls_is_refused(calls: list[list[tuple[str, float]]], replays: int) -> None:
    with pytest.raises(ValueError, match=r"calls were found|kernels\."):
        traces_of(events(*calls), ["ours"], replays)


def test_kinds_are_read_from_names() -> None:
    kinds = [Kernel(name, 1.0).kind for name in ("_gemm_mha_v2_0x1", "cudnn_convFwd_x", "cudnn_matMul_x", "__myl_Mul")]
    assert kinds == ["attention", "convolution", "product", "other"]
    (trace,) = traces_of(events(ENGINE), ["ours"], 1)
    expected = {"kernels": 3, "us": 19, "idle_us": 2, "attention_us": 5, "convolution_us": 0, "product_us": 10}
    assert line("gpt2-1x256", trace) == {"model": "gpt2-1x256", "peer": "ours", **expected, "other_us": 2}


def test_what_differs_comes_by_size() -> None:
    ours, other = (
        Trace(peer, tuple(Kernel(*one) for one in call), 0.0, 0.0)
        for peer, call in (("ours", ENGINE), ("other", OTHER))
    )
    found = [(item.names, item.other_names, item.more_us) for item in differences(ours, other)]
    assert found[0] == (("cudnn_matMul_knob_1",), ("cudnn_matMul_knob_2",), 3)
    assert {item[1:] for item in found[1:3]} == {(("_gemm_mha_v2",), -1), (("__myl_Mul",), -1)}
    assert found[3][2] == 0


def test_the_newest_line_of_a_model_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "kernels.jsonl"
    (trace,) = traces_of(events(ENGINE), ["trt-passes"], 1)
    old, new = {**line("gpt2-1x256", trace), "kernels": 9}, line("gpt2-1x256", trace)
    path.write_text("".join(json.dumps(one) + "\n" for one in (old, line("swin-t-b8", trace), new)))
    header, rows = kernel_rows(path)
    assert rows[1] == ["GPT-2 (1×256)", "trt-passes", "3", "10", "0", "5", "2", "2", "19"]
    assert [row[0] for row in rows] == ["Swin-T (8)", "GPT-2 (1×256)"]
    assert len(header) == len(rows[0])


def test_both_compilers_are_kept_of_every_model() -> None:
    _, rows = kernel_rows(KERNELS)
    models = [row[0] for row in rows]
    assert all(models.count(model) == 2 for model in models)
