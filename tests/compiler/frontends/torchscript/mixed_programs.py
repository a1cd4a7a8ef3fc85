"""Thirty TorchScript programs by name, see `mixed.py` and `mixed_text.py`."""

from __future__ import annotations

from typing import Any

import torch
import trt_passes as tp
from torch import nn

from tests.compiler.frontends.torchscript import mixed, mixed_text
from tests.compiler.frontends.torchscript.mixed import Mixed, frozen, optimised, plain, rows, traced

PICTURE: dict[str, Any] = plain(3, 16, 16, wide=False)


def _edges(count: int) -> torch.Tensor:
    here = torch.arange(count)
    return torch.stack([here, (here + 1) % count])


def _lengths(count: int, most: int) -> torch.Tensor:
    return 1 + (torch.arange(count) * 7 + 2) % most


PROGRAMS: dict[str, Mixed] = {
    "detector": Mixed(mixed.Detector, **PICTURE),
    "voice": Mixed(mixed.Voice, lambda _: [rows(48), 16000], lambda count, _: (torch.randn(count, 48), 16000)),
    "recogniser": Mixed(mixed.Recogniser, lambda _: [torch.ones(2, 8, 10)], lambda _count, _: (torch.randn(2, 8, 10),)),
    "features": Mixed(mixed.Features, **plain(256, wide=False), whole=True),
    "heads": Mixed(mixed.Heads, **plain(), whole=True),
    "blocks": Mixed(mixed.Blocks, **plain(), whole=True),
    "coloured": Mixed(mixed.Coloured, **plain(), whole=True),
    "averages": Mixed(mixed.Averages, **plain(), whole=True),
    "named": Mixed(mixed.Named, **plain(), whole=True),
    "cells": Mixed(mixed.Cells, **plain(3), whole=True),
    "pyramid": Mixed(mixed.Pyramid, **PICTURE, whole=True),
    "script in a trace": Mixed(
        mixed.HoldsScript, **plain(), wrap=lambda m: traced(torch.ones(3, m.b.in_features))(m), whole=True
    ),
    "trace in a script": Mixed(mixed.HoldsTrace, **plain(), whole=True),
    "halves": Mixed(mixed.Halves, **plain(), whole=True),
    "frozen": Mixed(mixed.Heads, **plain(), wrap=frozen, whole=True),
    "optimised": Mixed(mixed.Pyramid, **PICTURE, wrap=optimised, whole=True),
    "tokens": Mixed(
        mixed_text.Tokens,
        lambda width: ["the cat sat on the mat", rows(width), True],
        lambda count, width: (f"the dog sat on {count} mats", torch.randn(count, width), count > 2),
    ),
    "beams": Mixed(mixed_text.Beam, **plain(), whole=True),
    "checked": Mixed(
        mixed_text.Checked,
        lambda width: [rows(width), 0.5, 2, "tanh"],
        lambda count, width: (torch.randn(count, width), 0.5, 2, "tanh"),
        whole=True,
    ),
    "nested": Mixed(
        mixed_text.Nested,
        lambda width: [{"b": rows(width), "a": rows(width)}, (rows(width), (rows(width), 2))],
        lambda count, width: (
            {"b": torch.randn(count, width), "a": torch.randn(count, width)},
            (torch.randn(count, width), (torch.randn(count, width), 2)),
        ),
        whole=True,
    ),
    "exchanged": Mixed(mixed_text.Exchanged, **plain(), whole=True),
    "encoder": Mixed(
        mixed_text.Encoder,
        lambda width: [rows(6, width), rows(dtype=torch.int64)],
        lambda count, width: (torch.randn(count, 6, width), _lengths(count, 6)),
    ),
    "decoder": Mixed(
        mixed_text.Decoder,
        lambda width: [rows(1, width), [(rows(5, width), rows(5, width)), (rows(5, width), rows(5, width))]],
        lambda count, width: (
            torch.randn(count, 1, width),
            [(torch.randn(count, 5, width), torch.randn(count, 5, width)) for _ in range(2)],
        ),
        whole=True,
    ),
    "path": Mixed(mixed_text.Path, **plain(5)),
    "messages": Mixed(
        mixed_text.Messages,
        lambda width: [
            rows(width),
            tp.Input(min_shape=(2, 1), opt_shape=(2, 3), max_shape=(2, 6), dtype=torch.int64),
        ],
        lambda count, width: (torch.randn(count, width), _edges(count)),
        whole=True,
    ),
    "exits": Mixed(mixed_text.Exits, **plain()),
    "waves": Mixed(mixed_text.Waves, **plain(32, wide=False), whole=True),
    "functions": Mixed(mixed_text.Functions, **plain(3), whole=True),
    "sorted": Mixed(
        mixed_text.Sorted,
        lambda width: [torch.randn(3, 5, width), _lengths(3, 5)],
        lambda count, width: (torch.randn(3, 5, width), _lengths(3, 5).flip(0)),
    ),
    "statistics": Mixed(mixed_text.Statistics, **plain()),
}


def scripted(program: Mixed, width: int = 8) -> Any:
    """A program as TorchScript, the same every time."""
    torch.manual_seed(0)
    model: nn.Module = program.make(width).eval()
    return program.wrap(model)
