"""The table over all models: what counts, from lines that were made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import proof


def line(model: str, peer: str, call: float, error: float = 1e-3, replay: float | None = None) -> dict[str, Any]:
    common = {"gpu": "a GPU", "date": "2026-11-30", "versions": {"torch": "2.11"}}
    return {"model": model, "peer": peer, "call_ms": call, "error": error, "replay_ms": replay, **common}


def test_aims_and_the_best_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    lines = [
        line("a", "eager", 9.0),
        line("a", "compile-reduce-overhead", 2.0),
        line("a", proof.OURS, 3.0, replay=1.5),
        line("a", proof.OURS, 1.9, error=1.9e-3, replay=2.04),
        line("b", "eager", 9.0),
        line("b", "compile-reduce-overhead", 2.0),
        {"model": "b", "peer": "onnx-tensorrt-rtx", "failed": "no"},
        line("b", proof.OURS, 2.1, error=3e-3, replay=2.5),
        line("c", proof.OURS, 1.0),
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    rows = proof.read([path])
    texts = proof.aims(rows, ["a", "b", "c"], proof.OURS)
    assert texts[0] == "the call is below every other compiler's on 1 of 2"
    assert "the best of them on 0 of 2, and at most 3 % above on 1" in texts[1]
    assert texts[2] == "the error is at most twice eager's on 1 of 2"
    assert "| a | 9 | 2 |  |  | **1.9** |  |" in proof.page(rows, ["a", "b"])
