"""How benchmarks/peers.py spreads its work, and what it keeps of a process that failed. Nothing is measured."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import peers
import pytest
from peers import Child, Limits, Place, Sharing, run

MODELS = ["resnet50-b1", "gpt2-1x256", "swin-t-b8"]


class Untried:
    """In place of a process that measures a pair."""

    def __init__(self, place: Place, name: str, peer: str, sharing: Sharing) -> None:
        self.place, self.name, self.peer = place, name, peer
        self.told: list[str] = []

    def measured(self, seconds: float) -> dict[str, Any]:
        self.told.append("measure")
        return {"model": self.name, "peer": self.peer, "failed": f"not tried for {seconds} s"}

    def close(self) -> None:
        self.told.append("close")


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Untried]:
    found: list[Untried] = []

    def child(place: Place, name: str, peer: str, sharing: Sharing) -> Untried:
        found.append(Untried(place, name, peer, sharing))
        return found[-1]

    monkeypatch.setattr(peers, "Child", child)
    return found


def lines(path: Path) -> list[tuple[str, str]]:
    return [(line["model"], line["peer"]) for line in map(json.loads, path.read_text().splitlines())]


def test_a_model_stays_on_its_gpu(children: list[Untried], tmp_path: Path) -> None:
    run(MODELS, ["eager", "compile"], tmp_path / "out.jsonl", Limits(2, math.inf, 9), None)
    assert sorted(lines(tmp_path / "out.jsonl")) == sorted((m, p) for m in MODELS for p in ("eager", "compile"))
    assert {(child.name, child.place.gpu) for child in children} == {(MODELS[0], 0), (MODELS[1], 1), (MODELS[2], 0)}
    assert all(child.place.gpus == 2 and child.told == ["measure", "close"] for child in children)


def test_an_interrupted_run_goes_on(children: list[Untried], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(MODELS[:1], ["eager"], out, Limits(1, math.inf, 9), None)
    run(MODELS[:2], ["eager"], out, Limits(1, math.inf, 9), None)
    assert [child.name for child in children] == MODELS[:2]


def test_what_failed_is_measured_again_if_asked_for(children: list[Untried], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text(
        '{"model": "resnet50-b1", "peer": "eager", "failed": "x"}\n{"model": "gpt2-1x256", "peer": "eager"}\n'
    )
    run(MODELS[:2], ["eager"], out, Limits(1, math.inf, 9), None)
    assert not children
    run(MODELS[:2], ["eager"], out, Limits(1, math.inf, 9), None, retry=True)
    assert [child.name for child in children] == MODELS[:1]
    out.write_text(out.read_text() + '{"model": "resnet50-b1", "peer": "eager"}\n')
    assert peers.measured_pairs(out, retry=True) == {("resnet50-b1", "eager"), ("gpt2-1x256", "eager")}


def test_pairs_that_share_a_gpu_have_cores_of_their_own_and_say_so(children: list[Untried], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    run(MODELS, ["eager", "compile"], out, Limits(1, math.inf, 9, at_once=2), None, Sharing(tmp_path / "lock"))
    assert sorted(lines(out)) == sorted((m, p) for m in MODELS for p in ("eager", "compile"))
    assert {(child.place.gpu, child.place.workers) for child in children} == {(0, 2)}
    assert all(json.loads(line)["at_once"] == 2 for line in out.read_text().splitlines())
    assert peers._arguments(Sharing(Path("a"), Path("b"), 9.0)) == [
        *("--lock", "a", "--tuning", "b", "--tune-seconds", "9.0"),
    ]


def test_nothing_starts_that_could_not_end_in_time(children: list[Untried], tmp_path: Path) -> None:
    run(MODELS, ["eager"], tmp_path / "out.jsonl", Limits(1, 10, 9), None)
    assert not children


def test_the_next_process_waits_and_is_ended_when_time_is_up(
    children: list[Untried], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0, 30)
    monkeypatch.setattr(peers.time, "monotonic", lambda: next(clock))
    run(MODELS, ["eager"], tmp_path / "out.jsonl", Limits(1, 55, 9), None)
    assert [(child.name, child.told) for child in children] == [
        (MODELS[0], ["measure", "close"]),
        (MODELS[1], ["close"]),
    ]


def test_only_torch_tensorrt_gets_other_packages(children: list[Untried], tmp_path: Path) -> None:
    other = tmp_path / "packages"
    run(MODELS[:1], ["torch-tensorrt", "trt-passes"], tmp_path / "out.jsonl", Limits(1, math.inf, 9), other)
    assert {child.peer: child.place.packages for child in children} == {"torch-tensorrt": other, "trt-passes": None}


def test_processes_share_neither_cores_nor_gpus_nor_caches() -> None:
    here, there = Place(0, 2, None), Place(1, 2, Path("packages"))
    cores = [{*place.cores().split(",")} - {""} for place in (here, there)]
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
    with contextlib.closing(Child(Place(0, 1, None), "gpt2-1x256", "compile", Sharing())) as child:
        line = child.measured(5 if "sleep" in last else 60)
    assert line.get("failed") == ("not finished after 5 s" if "sleep" in last else None)
    heartbeat.unlink(missing_ok=True)
    time.sleep(0.3)
    assert not heartbeat.exists()
