"""The models, and the rows of the table that one of them makes."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib import import_module
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

import torch
import trt_passes as tp
from case import Case
from measure import PRECISIONS, SIZES, autocast, original, run  # noqa: F401

MODELS: Mapping[str, str] = {
    "minilm": "sentences:case",
    "silero-vad": "speech_segments:case",
    "silero-vad-jit": "speech_segments:jit_case",
    "silero-vad-jit-8k": "speech_segments:jit_8k_case",
    "torchcrepe": "pitch_crepe:case",
    "pesto": "pitch_pesto:case",
    "torchfcpe": "pitch_fcpe:case",
    "mtcnn": "faces:case",
    "resemblyzer": "speakers:case",
    "transnetv2": "scenes:case",
}
"""The file and the function that make each model's case."""


def measure(name: str, precisions: Sequence[str], sizes: Sequence[str], executor: str) -> dict[str, Any]:
    """A model's rows, made in this process."""
    torch.set_num_threads(1)
    file, _, function = MODELS[name].partition(":")
    made: Callable[[], Case] = getattr(import_module(file), function)
    case = made()
    expected, recorded = original(case)
    print(f"{name:15} PyTorch: {expected.words}", flush=True)
    rows = {}
    for precision in precisions:
        for kind in sizes:
            try:
                row = run(case, expected, recorded, precision, kind, executor)
            except tp.UserError as error:
                row = {"refused": " ".join(str(error).split())}
            except Exception as error:
                traceback.print_exc()
                row = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"}
            rows[f"{precision} {kind}"] = row
            print(f"{name:15} {precision} {kind:6} {summary(row)}", flush=True)
    by_autocast = {precision: autocast(case, expected, precision) for precision in precisions if precision != "fp32"}
    return {
        "package": case.package,
        "version": version(case.package),
        "task": case.task,
        "tolerance": case.tolerance,
        "unit": case.unit,
        "note": case.note,
        "result": expected.words,
        "date": str(date.today()),
        "executor": executor,
        "autocast": by_autocast,
        "rows": rows,
    }


def summary(row: Mapping[str, Any]) -> str:
    """A row on one line."""
    if "refused" in row or "failed" in row:
        return str(row.get("refused", row.get("failed")))
    return (
        f"{row['trt']}/{row['nodes']} nodes in {row['engines']} engine(s) of {row['compiled']} module(s), "
        f"error {row['error']}, result off by {row['deviation']}, loaded {row['loaded']}, "
        f"{row['megabytes']} MB, {row['seconds']} s"
    )


def answer(pipe: Connection, *args: Any) -> None:
    """`measure` in a process of its own."""
    pipe.send(measure(*args))
