"""The lines that benchmarks/peers.py wrote, as a table of models and compilers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

Line = Mapping[str, Any]

MODELS: Mapping[str, str] = MappingProxyType(
    {
        "resnet50-b1": "ResNet-50 (1)",
        "resnet50-b32": "ResNet-50 (32)",
        "mobilenetv3-b8": "MobileNetV3 (8)",
        "efficientnet-b0-b8": "EfficientNet-B0 (8)",
        "convnext-t-b8": "ConvNeXt-T (8)",
        "vit-b16-b8": "ViT-B/16 (8)",
        "swin-t-b8": "Swin-T (8)",
        "bert-1x128": "BERT-base (1×128)",
        "bert-8x384": "BERT-base (8×384)",
        "gpt2-1x256": "GPT-2 (1×256)",
        "llama-1b-1x512": "Llama 1B (1×512)",
        "whisper-small-encoder": "Whisper-small encoder (1)",
        "sd15-unet-b2": "SD-1.5 UNet (2)",
    }
)
"""What the models of peers_models.py are called on the page, in its order."""

PEERS: Mapping[str, str] = MappingProxyType(
    {
        "eager": "eager",
        "compile": "torch.compile",
        "compile-reduce-overhead": "torch.compile, reduce-overhead",
        "compile-max-autotune": "torch.compile, max-autotune",
        "onnx-tensorrt-rtx": "ONNX, TensorRT-RTX's parser",
        "torch-tensorrt": "Torch-TensorRT",
        "trt-passes": "trt-passes",
        "trt-passes-cuda-graphs": "trt-passes, CUDA graphs",
    }
)
"""What the peers of peers.py are called on the page, in its order."""

SHORT: Mapping[str, str] = MappingProxyType(
    {
        "compile": "compile",
        "compile-reduce-overhead": "reduce-overhead",
        "compile-max-autotune": "max-autotune",
        "onnx-tensorrt-rtx": "ONNX parser",
        "trt-passes-cuda-graphs": "trt-passes, graphs",
    }
)
"""What peers are called above narrow columns, where that differs."""

PLAIN, GRAPHS = "trt-passes", "trt-passes-cuda-graphs"


@dataclass(frozen=True)
class Compiler:
    """A column of the tables: a peer with one version of TensorRT-RTX (None: without)."""

    peer: str
    label: str
    short: str
    tensorrt: str | None


@dataclass(frozen=True)
class Results:
    """What was measured: the newest line of every model and compiler, and why there is none."""

    models: tuple[str, ...]
    compilers: tuple[Compiler, ...]
    lines: Mapping[tuple[str, Compiler], Line]
    failures: Mapping[tuple[str, Compiler], str]

    def value(self, model: str, compiler: Compiler, quantity: str) -> float | None:
        """One figure; None where it was not measured."""
        found = self.lines.get((model, compiler), {}).get(quantity)
        return None if found is None else float(found)

    def of(self, peer: str) -> tuple[Compiler, ...]:
        """The columns of a peer, the newest TensorRT-RTX first."""
        return tuple(compiler for compiler in self.compilers if compiler.peer == peer)

    @property
    def current(self) -> tuple[Compiler, ...]:
        """One column of every peer: that with the newest TensorRT-RTX."""
        return tuple(compiler for compiler in self.compilers if compiler == self.of(compiler.peer)[0])

    def versions(self, compiler: Compiler) -> tuple[str, ...]:
        """Everything that took part in a compiler's lines, as `package version`."""
        found: dict[str, None] = {}
        for (_, other), line in self.lines.items():
            if other == compiler:
                found |= dict.fromkeys(f"{name} {version}" for name, version in line["versions"].items())
        return tuple(found)

    def every(self, field: str) -> tuple[str, ...]:
        """The different values of a field of all lines, such as `gpu` or `date`."""
        return tuple(sorted({str(line[field]) for line in self.lines.values() if field in line}))


def read(path: Path) -> Results:
    """The results in a file of lines; a later line replaces an earlier one of the same model, peer and TensorRT-RTX.

    A failure names no version: it is one of the newest, and counts only where that was not measured.

    Raises:
        ValueError: a line is no JSON object with a model and a peer of peers.py; the message names file and line.
    """
    lines = [_parsed(path, number, text) for number, text in enumerate(path.read_text("utf-8").splitlines(), 1)]
    measured = [line for line in lines if "failed" not in line]
    compilers = tuple(_compilers(lines, measured))
    by_key = {(compiler.peer, compiler.tensorrt): compiler for compiler in compilers}
    kept = {(line["model"], by_key[line["peer"], _tensorrt(line)]): line for line in measured}
    failures = {
        (line["model"], newest): str(line["failed"])
        for line in lines
        if "failed" in line
        and (line["model"], newest := next(one for one in compilers if one.peer == line["peer"])) not in kept
    }
    models = tuple(name for name in MODELS if any(line["model"] == name for line in lines))
    return Results(models, compilers, kept, failures)


def _parsed(path: Path, number: int, text: str) -> Line:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}, line {number} is not JSON: {error}") from error
    if not isinstance(line, dict) or line.get("model") not in MODELS or line.get("peer") not in PEERS:
        raise ValueError(f"{path.name}, line {number} has no model and peer that benchmarks/peers.py knows.")
    return line


def _tensorrt(line: Line) -> str | None:
    version: str | None = line["versions"].get("tensorrt_rtx")
    return version


def _compilers(lines: Sequence[Line], measured: Sequence[Line]) -> list[Compiler]:
    found = []
    for peer, label in PEERS.items():
        versions = {_tensorrt(line) for line in measured if line["peer"] == peer}
        newest, *older = sorted(versions, key=_numbers, reverse=True) or [None]
        if versions or any(line["peer"] == peer for line in lines):
            found.append(Compiler(peer, label, SHORT.get(peer, label), newest))
        for version in older:
            suffix = f"TensorRT-RTX {version or 'unknown'}"
            found.append(Compiler(peer, f"{label}, {suffix}", f"{SHORT.get(peer, label)}, {suffix}", version))
    return found


def _numbers(version: str | None) -> list[int]:
    return [int(part) for part in (version or "0").split(".")]


@dataclass(frozen=True)
class Quantity:
    """A figure of a line: its field, and how it is written."""

    field: str
    unit: str
    shown: Callable[[float], str]


def three_digits(value: float) -> str:
    """A positive figure to three significant digits, never in scientific notation."""
    if not math.isfinite(value):
        return str(value)
    value = float(f"{value:.3g}")
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def two_digits(value: float) -> str:
    """A figure such as 2.3e-3."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def whole(value: float) -> str:
    """A figure without decimals."""
    return f"{value:.0f}"


CALL = Quantity("call_ms", "ms", three_digits)
REPLAY = Quantity("replay_ms", "ms", three_digits)
HOST = Quantity("host_us", "µs", whole)
FIRST = Quantity("first_call_seconds", "seconds", three_digits)
ERROR = Quantity("error", "", two_digits)
MEMORY = Quantity("device_mb", "MB", whole)
ENGINES = Quantity("engines", "", whole)
