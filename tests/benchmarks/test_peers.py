"""How benchmarks/peers.py spreads its work, and what it keeps of a process that failed. Nothing is measured."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import peers
import pytest
from peers import Child, Limits, run

MODELS = ["resnet50-b1", "gpt2-1x256", "swin-t-b8"]
Runs = list[tuple[str, str, Child]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found: Runs = []

    def measured(self: Child, name: str, peer: str, seconds: float) -> dict[str, Any]:
        found.append((name, peer, self))
        return {"model": name, "peer": peer, "failed": "not tried"}

    monkeypatch.setattr(Child, "measured", measured)
    return found


def lines(path: Path) -> list[tuple[str, str]]:
    return [(line["model"], line["peer"]) for line in map(json.loads, path.read_text().splitlines())]


def test_a_model_stays_on_its_gpu(runs: Runs, tmp_path: Path) -> None:
    run(MODELS, ["eager", "compile"], tmp_path / "out.jsonl", Limits(2, math.inf, 9), None)
    assert sorted(lines(tmp_path / "out.jsonl")) == sorted((m, p) for m in MODELS for p in ("eager", "compile"))
    assert {(name, child.gpu) for name, _, child in runs} == {(MODELS[0], 0), (MODELS[1], 1), (MODELS[2], 0)}
    assert all(child.gpus == 2 for _, _, child in runs)


def test_an_interrupted_run_goes_on(runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(MODELS[:1], ["eager"], out, Limits(1, math.inf, 9), None)
    run(MODELS[:2], ["eager"], out, Limits(1, math.inf, 9), None)
    assert [name for name, _, _ in runs] == MODELS[:2]


def test_nothing_starts_that_could_not_end_in_time(runs: Runs, tmp_path: Path) -> None:
    run(MODELS, ["eager"], tmp_path / "out.jsonl", Limits(1, 10, 9), None)
    assert not runs


def test_only_torch_tensorrt_gets_other_packages(runs: Runs, tmp_path: Path) -> None:
    other = tmp_path / "packages"
    run(MODELS[:1], ["torch-tensorrt", "trt-passes"], tmp_path / "out.jsonl", Limits(1, math.inf, 9), other)
    assert {peer: child.packages for _, peer, child in runs} == {"torch-tensorrt": other, "trt-passes": None}


def test_processes_share_neither_cores_nor_gpus_nor_caches() -> None:
    here, there = Child(0, 2, None), Child(1, 2, Path("packages"))
    cores = [{*child.cores().split(",")} - {""} for child in (here, there)]
    assert not cores[0] & cores[1]
    assert cores[0] | cores[1] == {str(core) for core in os.sched_getaffinity(0)}
    ours, theirs = here.environment("a"), there.environment("b")
    assert (ours["CUDA_VISIBLE_DEVICES"], theirs["CUDA_VISIBLE_DEVICES"]) == ("0", "1")
    assert ours["TORCHINDUCTOR_CACHE_DIR"] != theirs["TORCHINDUCTOR_CACHE_DIR"]
    assert theirs["PYTHONPATH"].split(os.pathsep)[0] == "packages"


@pytest.mark.parametrize(
    ("stderr", "kept"),
    [
        ("Traceback\n  File x\nValueError: no\n\nmore about it\n", "ValueError: no"),
        ("torch._dynamo.exc.Unsupported: a call\n  hint\nUse tlparse", "torch._dynamo.exc.Unsupported: a call"),
        ("killed\n", "killed"),
        ("", "no output"),
    ],
)
def test_a_failure_is_told_in_its_own_words(stderr: str, kept: str) -> None:
    assert peers._last_words(stderr) == kept


@pytest.mark.parametrize("last", ["sleep 60", 'echo \'{"model": "gpt2-1x256", "call_ms": 1.0}\''])
def test_nothing_outlives_a_measurement(last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python, heartbeat = tmp_path / "python", tmp_path / "heartbeat"
    busy = f'(mkdir -p "$TORCHINDUCTOR_CACHE_DIR"; while :; do date > {heartbeat}; sleep 0.02; done) > /dev/null 2>&1 &'
    python.write_text(f"#!/bin/sh\n{busy}\nwhile [ ! -s {heartbeat} ]; do sleep 0.02; done\n{last}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    line = Child(0, 1, None).measured("gpt2-1x256", "compile", 5 if "sleep" in last else 60)
    assert line.get("failed") == ("not finished after 5 s" if "sleep" in last else None)
    heartbeat.unlink(missing_ok=True)
    time.sleep(0.3)
    assert not heartbeat.exists()
