"""Where the GPU time of a model goes, by kind of kernel: the lines of benchmarks/kernels.py as rows of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peers_page_lines import MODELS, PEERS

KINDS: Mapping[str, str] = {
    "product_us": "matrix products",
    "convolution_us": "convolutions",
    "attention_us": "attention",
    "other_us": "the rest",
    "idle_us": "no kernel",
    "us": "in all",
}
"""Fields of a line, and what stands above their columns."""


def kernel_rows(path: Path) -> tuple[Sequence[str], list[list[str]]]:
    """The header, and a row for every model and peer; the models in the page's order, the newest line of each."""
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for text in path.read_text("utf-8").splitlines():
        line = json.loads(text)
        lines[line["model"], line["peer"]] = line
    ordered = [lines[model, peer] for model in MODELS for peer in PEERS if (model, peer) in lines]
    rows = [
        [MODELS[line["model"]], PEERS[line["peer"]], str(line["kernels"]), *(f"{line[field]:.0f}" for field in KINDS)]
        for line in ordered
    ]
    return ["model (µs)", "compiler", "kernels", *KINDS.values()], rows
